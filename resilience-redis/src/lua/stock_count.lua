-- Corrects the count of one item, where there are counts.
--
-- ARGV[1]   'add': so many more; 'cap': no more than so many; 'set': so many
-- ARGV[2]   item, no blanks
-- ARGV[3]   units: 0 to 2^53 - 1
--
-- Reply     units left, at most 2^53 - 1; -1 where nothing is known of the item

local item, units = ARGV[2], tonumber(ARGV[3])
local left = number_of(item)
if ARGV[1] == 'set' then
  if redis.call('HEXISTS', COUNTS, '#') == 0 then
    return -1
  end
  left = units
elseif not left then
  return -1
elseif ARGV[1] == 'add' then
  left = math.min(left + units, MOST)
else
  left = math.min(left, units)
end
redis.call('HSET', COUNTS, item, string.format('%.0f', left))
return left
