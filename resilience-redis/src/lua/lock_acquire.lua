-- Takes a lock for one owner, or says for how long another has it.
--
-- The owner that has it already takes it once more: the reply to its first call was lost.
--
-- KEYS[1]   the lock: its owner, while it has one
-- KEYS[2]   the fence: the largest number that was handed out; both KEYS share one hash tag
-- ARGV[1]   owner: 1 to 64 bytes that nobody else uses
-- ARGV[2]   time to live of the lock in milliseconds: 1 to 86 400 000
-- ARGV[3]   a number that the fence must pass: 0 to 2^53 - 2
--
-- Reply     { fence, 0 }   taken; fence is larger than every one before it
--           { 0, wait }    another has it, for wait milliseconds at most
--
-- KEYS[1] lives for ARGV[2]. KEYS[2] lives for 30 days: after them, and after a FLUSHALL or a
-- failover, the server's clock alone makes the next fence larger than the last.

local FENCE_TTL = 2592000000
local LARGEST = 9007199254740992
local FOREIGN = 'WRONGTYPE the key holds something else than the fence of a lock'

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  -- A lock that an operator set by hand may have no end.
  return { 0, left < 0 and tonumber(ARGV[2]) or left }
end

local last = redis.call('GET', KEYS[2]) or '0'
if not string.match(last, '^%d+$') then
  return redis.error_reply(FOREIGN)
end
local time = redis.call('TIME')
local fence = math.max(tonumber(last) + 1, ARGV[3] + 1, time[1] * 1000000 + time[2])
if fence >= LARGEST then
  return redis.error_reply(FOREIGN)
end
-- Not `tostring` nor `..`: they write 14 digits.
redis.call('SET', KEYS[2], string.format('%.0f', fence), 'PX', FENCE_TTL)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { fence, 0 }
