-- Reserves units of all items of an order, or of none of them.
--
-- ARGV[1]        order: 1 to 512 bytes
-- ARGV[2]        milliseconds after which the reservation expires: 1 to 86 400 000
-- ARGV[3]        milliseconds for which an order that is over is remembered: 1 to 2 592 000 000
-- ARGV[4]        milliseconds for which the reservations outlive this call: at least the life of the
--                counts, ARGV[2] and ARGV[3] together
-- ARGV[2i + 3]   item i, 1 to 100 of them in ascending order, each once, no blanks
-- ARGV[2i + 4]   its units: 1 to 2^53 - 1
--
-- Reply          how many reservations of others expired by this call, and then
--                'now'                  reserved
--                'before'               was reserved by an earlier call; expires after ARGV[2] from now
--                'confirmed', 'released', 'expired'   what became of it since then
--                'conflict'             the order was for other items
--                'unknown'              nobody has written any counts, or they are too old
--                'unknown', i           the counts say nothing of item i
--                'sold out', i, left

local ENDS = { C = 'confirmed', B = 'released', X = 'expired' }
local order, remember = ARGV[1], tonumber(ARGV[3])
local items = table.concat(ARGV, ' ', 5)
local now = milliseconds()

local state, generation, ordered = read(order)
if state and ordered ~= items then
  return { 0, 'conflict' }
elseif state == 'R' then
  write(order, 'R', generation, items, now + ARGV[2])
  outlive(tonumber(ARGV[4]))
  return { 0, 'before' }
elseif state then
  return { 0, ENDS[state] }
end

local function missing()
  for i = 5, #ARGV, 2 do
    local left = number_of(ARGV[i])
    if not left then
      return { 'unknown', (i - 3) / 2 }
    elseif left < tonumber(ARGV[i + 1]) then
      return { 'sold out', (i - 3) / 2, left }
    end
  end
end

generation = number_of('#') and redis.call('HGET', COUNTS, '#')
if not generation then
  return { 0, 'unknown' }
end
-- Each order is due twice, so two a call keep up with those that come in.
local expired = reap(now, 2, remember)
local refusal = missing()
if refusal and refusal[3] then
  local more = reap(now, 100, remember)
  if more > 0 then
    expired, refusal = expired + more, missing()
  end
end
if refusal then
  return { expired, unpack(refusal) }
end

change(-1, generation, items)
write(order, 'R', generation, items, now + ARGV[2])
outlive(tonumber(ARGV[4]))
return { expired, 'now' }
