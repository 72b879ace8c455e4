-- Takes units of one key whose past the caller knows, all or none: what `take_window` does for a
-- whole call that comes alone, for half as long. Nearly every question of a quiet limit is one.
--
-- KEYS[1]         count of the present step
-- ARGV[1]         length of a step in microseconds
-- ARGV[2]         the present step, which is the time in steps since 1970
-- ARGV[3]         milliseconds that a count lives
-- ARGV[4]         most that the present step may hold; with one more, times the length of a step,
--                 2^53 at most
-- ARGV[5]         units, more than 0; 1 where it is not given
--
-- Reply           one number, which is made and read sooner than any list: the count before it, times
--                 the length of a step, and the microseconds that the present step is old. Where
--                 nothing was taken, since another step is the present one or there is no room, the
--                 time in microseconds since 1970, less than zero. WRONGTYPE where the key holds
--                 something else.

local FOREIGN = 'WRONGTYPE not a count'

local call, argv, key = redis.call, ARGV, KEYS[1]
local time, length, units = call('TIME'), argv[1] + 0, argv[5] or 1
local now = time[1] * 1000000 + time[2]
local age = now - argv[2] * length
if age < 0 or age >= length then
  return -now
end

local count = units == 1 and redis.pcall('INCR', key) or redis.pcall('INCRBY', key, units)
if type(count) == 'table' then
  local is_foreign = string.find(count.err, 'not an integer', 1, true)
    or string.find(count.err, 'would overflow', 1, true)
  return is_foreign and redis.error_reply(FOREIGN) or count
end
local before = count - units
if before == 0 then
  call('PEXPIRE', key, argv[3])
elseif before < 0 then
  return redis.error_reply(FOREIGN)
end
if count > argv[4] + 0 then
  call('DECRBY', key, units)
  return -now
end
return before * length + age
