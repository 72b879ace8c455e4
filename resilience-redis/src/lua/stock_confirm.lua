-- Confirms a reservation: its units are sold.
--
-- Not a question: whoever keeps the truth has sold them already. Where the reservation expired
-- before that was told here, its units are taken once more, down to none.
--
-- ARGV[1]   order: 1 to 512 bytes
-- ARGV[2]   milliseconds for which the order is remembered: 1 to 2 592 000 000
--
-- Reply     'now', 'before', 'late' (it had expired), 'released', or 'not reserved'

local order = ARGV[1]
local state, generation, items = read(order)
if not state then
  return 'not reserved'
elseif state == 'C' then
  return 'before'
elseif state == 'B' then
  return 'released'
end
if state == 'X' then
  change(-1, generation, items)
end
write(order, 'C', generation, items, milliseconds() + ARGV[2])
outlive(tonumber(ARGV[2]))
return state == 'X' and 'late' or 'now'
