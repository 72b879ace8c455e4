-- Prolongs a lock, where the owner still has it.
--
-- KEYS[1]   the lock: its owner, while it has one
-- ARGV[1]   owner: 1 to 64 bytes that nobody else uses
-- ARGV[2]   time to live of the lock from now, in milliseconds: 1 to 86 400 000
--
-- Reply     1: prolonged; 0: the lock is another's or nobody's

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
