-- What the scripts of a stock have in common; it stands in front of each of them.
--
-- KEYS[1]   counts: a hash of the units left of each item, and in the field '#' the generation:
--           microseconds since 1970 at which the counts were written
-- KEYS[2]   orders: a hash of "STATE GENERATION ITEM UNITS ITEM UNITS ..." of each order, where STATE
--           is R (reserved), C (confirmed), B (given back) or X (expired)
-- KEYS[3]   due: a sorted set of orders by the millisecond at which they expire or are forgotten
--
-- All KEYS share one hash tag. KEYS[1] lives for as long as it was given when it was written, and
-- is not prolonged: it is believed no longer without a word from whoever knows. KEYS[2] and
-- KEYS[3] outlive it, so that no reservation is forgotten whose units a count still lacks.
--
-- Numbers of units are 0 to 2^53 - 1, so Lua's doubles hold them and their differences exactly.

local COUNTS, ORDERS, DUE = KEYS[1], KEYS[2], KEYS[3]
local MOST = 9007199254740991
-- About 1 ms of the server's time, in which nobody else is answered.
local STEP = 250

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What a field of the counts says, where that is a number of ours: what somebody else wrote there is
-- no count, and the truth is asked.
local function number_of(field)
  local text = redis.call('HGET', COUNTS, field)
  local number = text and string.match(text, '^%d+$') and tonumber(text)
  return number and number <= MOST and number or nil
end

-- The state, generation and items of an order; nothing where there is none.
local function read(order)
  local record = redis.call('HGET', ORDERS, order)
  if record then
    return string.match(record, '^(%u) (%d+) (.+)$')
  end
end

local function write(order, state, generation, items, due)
  redis.call('HSET', ORDERS, order, state .. ' ' .. generation .. ' ' .. items)
  redis.call('ZADD', DUE, due, order)
end

-- Lets orders live for so many milliseconds more at least: whoever asked for longer has it still.
local function outlive(milliseconds)
  for _, key in ipairs({ ORDERS, DUE }) do
    if redis.call('PTTL', key) < milliseconds then
      redis.call('PEXPIRE', key, milliseconds)
    end
  end
end

-- Changes the counts by the units of items, in one direction, within their bounds. Counts that
-- were written anew since then have these units already, or never missed them.
local function change(sign, generation, items)
  if redis.call('HGET', COUNTS, '#') ~= generation then
    return
  end
  for item, units in string.gmatch(items, '(%S+) (%d+)') do
    local left = number_of(item)
    if left then
      left = math.max(0, math.min(MOST, left + sign * units))
      redis.call('HSET', COUNTS, item, string.format('%.0f', left))
    end
  end
end

-- Looks after up to `steps` orders that are due: reservations expire, and what is over for long
-- enough is forgotten. An order has up to 100 items, so that not more orders are begun after
-- `STEP` of both. Returns how many expired.
local function reap(now, steps, remember)
  local expired, done = 0, 0
  for _, order in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, steps)) do
    if done >= STEP then
      break
    end
    local state, generation, items = read(order)
    done = done + 1
    if state == 'R' then
      local _, separators = string.gsub(items, ' ', ' ')
      done = done + (separators + 1) / 2
      change(1, generation, items)
      write(order, 'X', generation, items, now + remember)
      expired = expired + 1
    else
      redis.call('HDEL', ORDERS, order)
      redis.call('ZREM', DUE, order)
    end
  end
  return expired
end
