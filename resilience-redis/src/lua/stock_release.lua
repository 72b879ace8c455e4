-- Gives the units of a reservation back.
--
-- ARGV[1]   order: 1 to 512 bytes
-- ARGV[2]   milliseconds for which the order is remembered: 1 to 2 592 000 000
--
-- Reply     'now', 'before' (released or expired), 'confirmed', or 'not reserved'

local order = ARGV[1]
local state, generation, items = read(order)
if not state then
  return 'not reserved'
elseif state == 'C' then
  return 'confirmed'
elseif state ~= 'R' then
  return 'before'
end
change(1, generation, items)
write(order, 'B', generation, items, milliseconds() + ARGV[2])
outlive(tonumber(ARGV[2]))
return 'now'
