-- Ends a lease without an entry.
--
-- KEYS[1]   the lease, as cache_claim.lua has it
-- ARGV[1]   token of the lease
-- ARGV[2]   milliseconds for which nobody need wait for anybody: 0 to 86 400 000; 0 lets the next
--           process load for all
-- ARGV[3]   channel that tells those who wait
-- ARGV[4]   what it tells them
--
-- Reply     1   ended
--           0   it had ended before
--
-- KEYS[1] lives for ARGV[2].

local lease = redis.call('GET', KEYS[1])
if lease ~= ARGV[1] and lease ~= ARGV[1] .. '!' then
  return 0
end
if ARGV[2] == '0' then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('SET', KEYS[1], '-', 'PX', ARGV[2])
end
if lease ~= ARGV[1] then
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return 1
