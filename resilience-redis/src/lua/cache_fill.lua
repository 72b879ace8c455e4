-- Stores what was loaded under a lease, unless that has ended, and ends it.
--
-- KEYS[1]   the entry
-- KEYS[2]   the lease, as cache_claim.lua has it; both KEYS share one hash tag
-- ARGV[1]   token of the lease
-- ARGV[2]   the entry: any bytes
-- ARGV[3]   its time to live in milliseconds: 1 to 2^53
-- ARGV[4]   channel that tells those who wait
-- ARGV[5]   what it tells them
--
-- Reply     1   stored
--           0   the lease has ended: the key was put or removed meanwhile, or the load took too long
--
-- KEYS[1] lives for ARGV[3].

local lease = redis.call('GET', KEYS[2])
if lease ~= ARGV[1] and lease ~= ARGV[1] .. '!' then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', KEYS[2])
if lease ~= ARGV[1] then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 1
