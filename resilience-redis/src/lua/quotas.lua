-- What the scripts of several quotas have in common; it stands in front of each of them.
--
-- A quota is of one of these kinds
--   window   strict sliding window. Each step of a tenth of it has a count; the present step and the
--            10 before it are counted whole, and nobody writes to those before
--   log      the time of each unit in microseconds, oldest first: a list
--   cells    generic cell rate algorithm: a level of which `length` parts make a unit, and `limit`
--            parts drain in a microsecond. A string of the time in microseconds and the level then

local argv, keys, call = ARGV, KEYS, redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
-- No log has a larger limit.
local longest_log = 1000

local function integer(number)
  return string.format('%.0f', number)
end

-- What the reading command `name` says of `key`; nothing where that holds something else, which is its
-- own callers' trouble. Any other error is raised as ever; it comes with the first key of all.
local function read(name, key)
  local reply = redis.pcall(name, key)
  if type(reply) ~= 'table' then
    return reply
  elseif not string.find(reply.err, 'WRONGTYPE', 1, true) then
    return call(name, key)
  end
end

-- What a count or a time says, 0 where there is none; nothing where it is none of ours. Lua takes for
-- a number what no command of the server does, such as 0x10.
local function whole(text)
  local number = tonumber(text or 0)
  return number and number >= 0 and number < 2 ^ 53 and (not text or integer(number) == text) and number
end

-- How many of the `used` units of a log were taken by `time`, and when the next one was, 0 where none
-- is left; nothing where one is none of ours. Found in ever longer strides and then by halves: mostly
-- it is none or one, and of many to look at each would take too long.
local function over(key, used, time)
  local low, high, stride, oldest = 0, used + 1, 1, 0
  while high - low > 1 do
    local probe = math.min(low + stride, math.floor((low + high) / 2))
    local taken = whole(call('LINDEX', key, probe - 1))
    if not taken then
      return
    elseif taken <= time then
      low, stride = probe, 2 * stride
    else
      high, oldest = probe, taken
    end
  end
  return low, oldest
end
