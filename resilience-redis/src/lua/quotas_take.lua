-- Takes units for many callers at once, each from all quotas of one key or from none of them.
--
-- KEYS       for each call and quota a key; of a window the last step that is named, and so on
--            backwards: as many as may be the present one, then the counts of the past that the
--            caller asks for. All KEYS of a call have one hash tag
-- ARGV[1]    how many steps of a window may be the present one, beside the last that is named
-- ARGV[2]    number of quotas, then for each its kind, limit, and
--   window   length of a step in microseconds; the last step that may be the present one: the time
--            in steps since 1970; 0
--   log      length in microseconds; 1 where all times are to be told if not all are granted, else 0;
--            milliseconds that the list lives
--   cells    length in microseconds; most units at once; 0
-- ARGV       then for each call: for each window how many counts of the past are asked for, and
--            units in the rest of the past; number of runs; cost and number of callers of each
--            run, who come in this order and stand or fall one by one. A number less than 0 is of
--            callers who hold up those behind: once one of them has no room nobody gets units
-- Limits and costs are 0 to 2^52, and so is the product of length and most units of cells.
--
-- Reply      packed as MessagePack: { now } where the present step of a window may not be so: nothing
--            was taken. Else { now, then for each call and quota what stood before it:
--   window   count of the present step, and the past asked for
--   log      units; time of the oldest, 0 where there is none; number of runs of which not all were
--            granted, and for each the time of the unit that must go for the next, 0 for none; where
--            all times are to be told and there are such runs, number of units after the call, and
--            the time of each, the oldest first
--   cells    level }
--            In place of a call one of whose keys holds something else stands false, and nothing
--            was taken for it.

local reply = { now }
local window, log, cells = {}, {}, {}
local kinds = { window = window, log = log, cells = cells }

local quotas, spare, at = {}, tonumber(argv[1]), 3
for i = 1, tonumber(argv[2]) do
  local length, third = tonumber(argv[at + 2]), tonumber(argv[at + 3])
  local quota = { kind = kinds[argv[at]], limit = tonumber(argv[at + 1]), length = length, lives = argv[at + 4] }
  if quota.kind == window then
    quota.step = math.floor(now / length)
    quota.ahead = third - quota.step
    if quota.ahead < 0 or quota.ahead > spare then
      return cmsgpack.pack(reply)
    end
  else
    quota.burst, quota.tells = third, third > 0
  end
  quotas[i] = quota
  at = at + 5
end

-- `look` reads what stands and sets `room`; it is false where the key holds something else. `take`
-- writes. `tell` adds to the reply.

function window.look(quota, state)
  local present = read('GET', state.key)
  local count = present ~= nil and whole(present)
  if not count then
    return false
  end
  state.counts, state.room = { count }, quota.limit - state.known - count
  if state.asked > 0 then
    local past = call('MGET', unpack(keys, state.index + 1, state.index + state.asked))
    for i = 1, state.asked do
      count = whole(past[i])
      if not count then
        return false
      end
      state.counts[i + 1], state.room = count, state.room - count
    end
  end
  return true
end

-- When the count of a step goes, in milliseconds since 1970: see window_take.lua, which counts there too.
local function gone_at(step, length)
  local after = (step + 11) * length
  return integer((after - after % 1000) / 1000 + 2)
end

function window.take(quota, state, units)
  if call('INCRBY', state.key, integer(units)) == units then
    call('PEXPIREAT', state.key, gone_at(quota.step, quota.length))
  end
end

function window.tell(_, state)
  for i = 1, state.asked + 1 do
    reply[#reply + 1] = state.counts[i]
  end
end

function log.look(quota, state)
  local key = state.key
  local used = read('LLEN', key)
  if not used or used > longest_log then
    return false
  end
  local newest = whole(call('LINDEX', key, -1))
  if newest and newest > now then
    -- The clock was set back. How long ago this was is lost: all count as of now, never too few.
    local times = call('LRANGE', key, 0, -1)
    for i = 1, used do
      local time = whole(times[i])
      if not time then
        return false
      end
      times[i] = integer(math.min(time, now))
    end
    call('DEL', key)
    call('RPUSH', key, unpack(times))
    call('PEXPIRE', key, quota.lives)
  end
  local gone, oldest = over(key, used, now - quota.length)
  if not newest or not gone then
    return false
  end
  if gone > 0 then
    call('LTRIM', key, gone, -1)
  end
  state.used, state.oldest = used - gone, oldest
  state.room = quota.limit - state.used
  return true
end

function log.take(quota, state, units)
  local times, text = {}, integer(now)
  for i = 1, units do
    times[i] = text
  end
  call('RPUSH', state.key, unpack(times))
  call('PEXPIRE', state.key, quota.lives)
end

function log.tell(quota, state, short)
  reply[#reply + 1] = state.used
  reply[#reply + 1] = state.oldest
  reply[#reply + 1] = #short
  for i = 1, #short do
    local excess = state.used + short[i] - quota.limit
    local last = excess > 0 and call('LINDEX', state.key, excess - 1)
    -- Who waits for what is no time of ours waits for as long as for any.
    reply[#reply + 1] = whole(last) or now
  end
  if quota.tells and #short > 0 then
    local times = call('LRANGE', state.key, 0, -1)
    reply[#reply + 1] = #times
    for i = 1, #times do
      reply[#reply + 1] = whole(times[i]) or now
    end
  end
end

function cells.look(quota, state)
  local text = read('GET', state.key)
  local level = 0
  if text == nil then
    return false
  elseif text then
    local since, parts = string.match(text, '^(%d+) (%d+)$')
    since, level = whole(since or ''), whole(parts or '')
    if not since or not level then
      return false
    end
    if since > now then
      -- The clock was set back. How long ago this was is lost: the level drains from here on.
      call('SET', state.key, integer(now) .. ' ' .. parts, 'KEEPTTL')
      since = now
    end
    local passed = now - since
    level = passed < level / quota.limit and level - passed * quota.limit or 0
  end
  state.level = level
  state.room = math.floor((quota.burst * quota.length - level) / quota.length)
  return true
end

function cells.take(quota, state, units)
  local level = state.level + units * quota.length
  local lives = math.ceil(level / quota.limit / 1000) + 1
  call('SET', state.key, integer(now) .. ' ' .. integer(level), 'PX', integer(lives))
end

function cells.tell(_, state)
  reply[#reply + 1] = state.level
end

local index = 1
while index <= #keys do
  local states, room, ours = {}, math.huge, true
  for i, quota in ipairs(quotas) do
    local state = { index = index }
    states[i] = state
    if quota.kind == window then
      state.index = index + quota.ahead
      state.asked, state.known = tonumber(argv[at]), tonumber(argv[at + 1])
      at, index = at + 2, index + spare + state.asked
    end
    state.key = keys[state.index]
    index = index + 1
    ours = ours and quota.kind.look(quota, state)
    room = ours and math.min(room, state.room)
  end

  local taken, short = 0, {}
  local last = at + 2 * argv[at]
  at = at + 1
  while at <= last do
    local cost, callers = tonumber(argv[at]), tonumber(argv[at + 1])
    at = at + 2
    if ours then
      local all = callers < 0 and -callers or callers
      local granted = all
      if cost > 0 then
        granted = math.max(0, math.min(all, math.floor((room - taken) / cost)))
      end
      taken = taken + granted * cost
      if granted < all then
        short[#short + 1] = taken + cost
        room = callers < 0 and taken or room
      end
    end
  end

  if not ours then
    reply[#reply + 1] = false
  end
  for i, quota in ipairs(ours and quotas or {}) do
    if taken > 0 then
      quota.kind.take(quota, states[i], taken)
    end
    quota.kind.tell(quota, states[i], short)
  end
end
return cmsgpack.pack(reply)
