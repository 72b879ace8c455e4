-- Takes units from all quotas of one key at once, or from none of them: strict sliding windows.
--
-- A window is cut into 10 steps. A key holds the count of the newest step and of the 10 before it,
-- and all 11 are counted whole: a window of the full length touches no more than 11 steps, so none
-- ever holds more than the limit, wherever it begins. In return a unit comes back up to a step late.
--
-- KEYS[i]        counts of quota i; all KEYS share one hash tag
-- ARGV[1]        cost: 0 to the smallest limit; 0 looks and takes nothing
-- ARGV[2i]       limit of quota i: 1 to 2^53
-- ARGV[2i + 1]   step of quota i in microseconds: 1 to 2^52 / 10
--
-- Reply          { now, wait, refusing, used_1, used_2, ... }
--   now          the server's time of this decision, microseconds
--   wait         0: taken; else microseconds after which this call succeeds, if nobody else takes
--   refusing     0: taken; else the i of the quota that sets the wait
--   used_i       units of quota i in its window, this call's included
--
-- A key holds    "number of the newest step, its count, the count a step older, ..., 10 steps older"
-- and lives for 12 steps after its last change.

local PAST = 10
local FORMAT = '%.0f' .. string.rep(' %.0f', PAST + 1)
local FOREIGN = 'WRONGTYPE the key holds something else than the counts of a quota'

local cost = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local reply = { now, 0, 0 }
local quotas = {}

for i = 1, #KEYS do
  local limit, step = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local newest = math.floor(now / step)
  local counts, used, set_back = {}, 0, false
  for age = 0, PAST do
    counts[age] = 0
  end

  local stored = redis.pcall('GET', KEYS[i])
  if type(stored) == 'table' then
    return stored
  elseif stored then
    local numbers = {}
    for digits in string.gmatch(stored, '%d+') do
      numbers[#numbers + 1] = tonumber(digits)
    end
    if #numbers ~= PAST + 2 then
      return redis.error_reply(FOREIGN)
    end
    -- A clock that was set back leaves counts of steps to come. How long ago they really were is
    -- lost, so they all count as younger than they are and age from here on: never too much.
    set_back = numbers[1] > newest
    local shift = set_back and 0 or newest - numbers[1]
    for age = shift, PAST do
      counts[age] = numbers[age - shift + 2]
      used = used + counts[age]
    end
  end

  -- Not `used + cost > limit`: that sum can pass 2^53, where numbers stop being exact.
  local missing = used - (limit - cost)
  if missing > 0 then
    local age = PAST
    while counts[age] < missing do
      missing = missing - counts[age]
      age = age - 1
    end
    local wait = (newest - age + PAST + 1) * step - now
    if wait > reply[2] then
      reply[2], reply[3] = wait, i
    end
  end
  quotas[i] = { step = step, newest = newest, counts = counts, used = used, set_back = set_back }
end

local taken = reply[2] == 0 and cost or 0
for i = 1, #KEYS do
  local quota = quotas[i]
  reply[3 + i] = quota.used + taken
  if taken > 0 or quota.set_back then
    quota.counts[0] = quota.counts[0] + taken
    local counts = string.format(FORMAT, quota.newest, unpack(quota.counts, 0, PAST))
    local ttl = math.ceil((PAST + 2) * quota.step / 1000) + 1
    redis.call('SET', KEYS[i], counts, 'PX', ttl)
  end
end
return reply
