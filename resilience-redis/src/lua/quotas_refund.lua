-- Gives units back for many callers at once, to each quota of a key: never more than stand there, and
-- nothing that is over comes to life again.
--
-- KEYS       for each call and quota its keys: of a window the counts to take from, in this order.
--            All KEYS of a call have one hash tag
-- ARGV[1]    number of quotas, then for each its kind and its length in microseconds
-- ARGV       then for each call: units, 1 to 2^52; the time when they were taken in microseconds, 0
--            where nobody knows, and then the oldest that count are meant; and for each quota how
--            many keys, and where the oldest are meant which step the first of them is of
--
-- Kinds and what their keys hold: see quotas.lua. A key that holds something else is left.
--
-- Reply      number of calls

local function from_window(units, first, last, step, length)
  local present = math.floor(now / length)
  for i = first, last do
    local age = step and present - (step + i - first) or 0
    local count = age >= 0 and age <= 10 and read('GET', keys[i])
    count = count and whole(count) or 0
    local back = math.min(units, count)
    if back > 0 then
      call('DECRBY', keys[i], integer(back))
      units = units - back
    end
  end
end

local function from_log(units, taken, key, length)
  local used = read('LLEN', key)
  if not used or used > longest_log then
    return
  elseif taken ~= '0' then
    call('LREM', key, '-' .. units, taken)
    return
  end
  local gone = over(key, used, now - length)
  if gone and gone < used then
    call('LTRIM', key, integer(gone + units), -1)
  end
end

local function from_cells(units, key, length)
  local since, level = string.match(read('GET', key) or '', '^(%d+) (%d+)$')
  local lives = since and call('PTTL', key) or 0
  if lives > 0 then
    level = math.max(0, level - units * length)
    call('SET', key, since .. ' ' .. integer(level), 'PX', lives)
  end
end

local quotas, at = {}, 2
for i = 1, tonumber(argv[1]) do
  quotas[i] = { kind = argv[at], length = tonumber(argv[at + 1]) }
  at = at + 2
end

local calls, index = 0, 1
while at <= #argv do
  local units, taken = tonumber(argv[at]), argv[at + 1]
  at = at + 2
  for _, quota in ipairs(quotas) do
    local last, step = index + argv[at] - 1, nil
    if taken == '0' then
      at = at + 1
      step = tonumber(argv[at])
    end
    if quota.kind == 'window' then
      from_window(units, index, last, step, quota.length)
    elseif quota.kind == 'log' then
      from_log(units, taken, keys[index], quota.length)
    else
      from_cells(units, keys[index], quota.length)
    end
    index, at = last + 1, at + 1
  end
  calls = calls + 1
end
return calls
