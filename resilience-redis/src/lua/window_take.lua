-- Takes units for many callers at once, each from the strict sliding window of one key.
--
-- A window is cut into 10 steps. Each step of a key has a count of its own, and the present step and
-- the 10 before it are counted whole: a window of the full length touches no more than 11 steps, so
-- none ever holds more than the limit, wherever it begins. Nobody writes to a step that is over. A
-- caller who knows the past therefore names one key and what the present step may hold.
--
-- One whole call that comes alone, of a caller who knows the past, takes all its units or none. It is
-- told in one word and answered with one number, since nearly every question of a quiet limit is one
--   KEYS[1]       count of the present step
--   ARGV[1]       four whole numbers of 8 bytes, the lowest first: length of a step in microseconds; the
--                 step that may be the present one; most that it may hold; units, more than 0
-- Reply           the count before it, times the length of a step, and the microseconds that the
--                 present step is old: a list of the time in microseconds since 1970 and that count,
--                 where the number would not be exact. Where nothing was taken, since another step is
--                 the present one or there is no room, the time less than zero. WRONGTYPE where the
--                 key holds something else.
--
-- Whole calls, of callers who know the past, take all their units or none
--   KEYS          count of the present step
-- They come in groups, so that calls that are alike are told of once, in these ARGV from the 5th on
--                 units of each call, more than 0; most that the present step may hold; number of calls
-- Other calls, one after the other
--   KEYS          count of the last step that is named, and so on backwards: as many as may be the
--                 present one, then the counts of the past that the caller asks for
--   ARGV          how many of the past; limit less the known past; number of runs; cost and number of
--                 callers of each run, who come in this order and stand or fall one by one. A number
--                 less than 0 is of callers who hold up those behind: once one of them has no room
--                 nobody gets units
--
-- ARGV[1]         length of a step in microseconds, 1 to 2^52 / 10
-- ARGV[2]         the last step that may be the present one, which is the time in steps since 1970
-- ARGV[3]         how many before it may be so too; there are no whole calls then
-- ARGV[4]         number of groups
-- A count goes a millisecond or two after the last instant at which it counts, which PTTL therefore
-- tells the distance of.
-- Limits and costs are 0 to 2^52, what the present step may hold may be less than 0. All KEYS of a
-- call have one hash tag.
--
-- Reply           packed as MessagePack, since a list is parsed for longer than all else takes:
--                 { now } where none of these is the present step: nothing was taken. Else { now, then
--                 for each whole call its count, were it granted, and for each other call the count
--                 before it and the past asked for }. A call whose key holds something else has
--                 false for a count, and took nothing.

local FOREIGN = 'WRONGTYPE not a count'

local argv, keys, call = ARGV, KEYS, redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

-- A key that holds something else is its own callers' trouble. Any other error comes with the first
-- write of all, before anything was taken.
local function is_foreign(text)
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'not an integer', 1, true)
    or string.find(text, 'would overflow', 1, true)
end

-- When the count of a step goes, in milliseconds since 1970.
local function gone_at(step, length)
  local after = (step + 11) * length
  return string.format('%.0f', (after - after % 1000) / 1000 + 2)
end

if keys[1] and not argv[2] then
  local key = keys[1]
  local length, step, most, units = struct.unpack('<I8I8I8I8', argv[1])
  local age = now - step * length
  if age < 0 or age >= length then
    return -now
  end
  local text = units > 1 and string.format('%.0f', units)
  local count = text and redis.pcall('INCRBY', key, text) or redis.pcall('INCR', key)
  if type(count) == 'table' then
    return is_foreign(count.err) and redis.error_reply(FOREIGN) or count
  end
  local before = count - units
  if before == 0 then
    call('PEXPIREAT', key, gone_at(step, length))
  elseif before < 0 then
    call('DECRBY', key, text or 1)
    return redis.error_reply(FOREIGN)
  end
  if count > most then
    call('DECRBY', key, text or 1)
    return -now
  end
  local told = before * length + age
  return told < 9007199254740992 and told or { now, before }
end

local reply = { now }
local spare = tonumber(argv[3])
local length = tonumber(argv[1])
local step = math.floor(now / length)
local ahead = argv[2] - step
if ahead < 0 or ahead > spare then
  return cmsgpack.pack(reply)
end

local gone, at = gone_at(step, length), 5

-- Of a count that is the first of its step, or more than there may be, or not one of ours.
local function settle(key, count, units, most)
  if count == units then
    call('PEXPIREAT', key, gone)
  end
  if count > most or count < units then
    call('DECRBY', key, string.format('%.0f', units))
  end
end

-- The reply says how many were served before.
local function take_whole(last, text, units, most)
  local keys, reply, call = keys, reply, call
  for i = #reply, last do
    local key = keys[i]
    local count = text and call('INCRBY', key, text) or call('INCR', key)
    if count <= units or count > most then
      settle(key, count, units, most)
    end
    reply[i + 1] = count
  end
end

local whole = 0
for _ = 1, argv[4] do
  local units, most = tonumber(argv[at]), tonumber(argv[at + 1])
  local text = units > 1 and argv[at]
  whole = whole + argv[at + 2]
  -- One protected call for all, since one for each costs more than what it protects.
  while #reply <= whole do
    local done, problem = pcall(take_whole, whole, text, units, most)
    if not done then
      problem = type(problem) == 'table' and problem.err or tostring(problem)
      if not is_foreign(problem) then
        return redis.error_reply(problem)
      end
      reply[#reply + 1] = false
    end
  end
  at = at + 3
end

local key = whole + 1 + ahead
while key <= #keys do
  local present, past = keys[key], tonumber(argv[at])
  local room, runs = tonumber(argv[at + 1]), tonumber(argv[at + 2])
  local counts = call('MGET', unpack(keys, key, key + past))
  local foreign = false
  for i = 1, past + 1 do
    local count = tonumber(counts[i] or 0)
    foreign = foreign or not count or count < 0 or count % 1 ~= 0
    counts[i] = count or false
    room = room - (count or 0)
  end

  local taken = 0
  for run = 1, runs do
    local cost, callers = tonumber(argv[at + 1 + 2 * run]), tonumber(argv[at + 2 + 2 * run])
    local all = callers < 0 and -callers or callers
    local granted = all
    if cost > 0 then
      granted = math.max(0, math.min(all, math.floor(room / cost)))
    end
    taken = taken + granted * cost
    room = granted < all and callers < 0 and 0 or room - granted * cost
  end
  if taken > 0 and not foreign then
    local count = redis.pcall('INCRBY', present, string.format('%.0f', taken))
    if count == taken then
      call('PEXPIREAT', present, gone)
    elseif type(count) == 'table' then
      if not is_foreign(count.err) then
        return count
      end
      counts[1] = false
    end
  end
  for i = 1, past + 1 do
    reply[#reply + 1] = counts[i]
  end
  key = key + past + 1 + spare
  at = at + 3 + 2 * runs
end
return cmsgpack.pack(reply)
