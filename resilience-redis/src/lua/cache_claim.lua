-- Grants the load of one key to one process, or says for how long another has it.
--
-- KEYS[1]   the lease: the token of the process that loads, and "!" behind it where others wait
-- ARGV[1]   token: 1 to 64 bytes that nobody else uses, without "!" and not "-"
-- ARGV[2]   time to live of the lease in milliseconds: 1 to 86 400 000
--
-- Reply     0      granted
--           -1     values of this key are not for all: nobody need wait
--           else   another loads; the lease ends after so many milliseconds at the latest
--
-- KEYS[1] lives for ARGV[2] at most.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
local lease = redis.call('GET', KEYS[1])
if lease == ARGV[1] then
  return 0
elseif lease == '-' then
  return -1
elseif string.sub(lease, -1) ~= '!' then
  redis.call('APPEND', KEYS[1], '!')
end
local left = redis.call('PTTL', KEYS[1])
-- A lease that an operator set by hand may have no end.
return left > 0 and left or 1
