-- Gives a lock back, where the owner still has it.
--
-- KEYS[1]   the lock: its owner, while it has one
-- ARGV[1]   owner: 1 to 64 bytes that nobody else uses
--
-- Reply     1: given back; 0: the lock is another's or nobody's, and was left alone

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
return 0
