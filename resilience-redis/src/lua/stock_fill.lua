-- Writes the counts of items, as whoever keeps the truth knows them.
--
-- ARGV[1]        'absent': only where there are none; 'anew': in place of those that there are;
--                else the generation to add these items to
-- ARGV[2]        milliseconds for which the counts are believed: 1 to 86 400 000
-- ARGV[2i + 1]   item i, up to 500 of them, no blanks
-- ARGV[2i + 2]   its units: 0 to 2^53 - 1
--
-- Reply          the generation that these counts are of; '' where nothing was written

local mode = ARGV[1]
local generation = number_of('#') and redis.call('HGET', COUNTS, '#')
if mode == 'absent' and generation then
  return ''
end
if mode == 'absent' or mode == 'anew' then
  local time = redis.call('TIME')
  local fresh = math.max(time[1] * 1000000 + time[2], (number_of('#') or 0) + 1)
  -- Not `tostring` nor `..`: they write 14 digits.
  mode = string.format('%.0f', fresh)
  redis.call('DEL', COUNTS)
  redis.call('HSET', COUNTS, '#', mode)
  redis.call('PEXPIRE', COUNTS, ARGV[2])
elseif mode ~= generation then
  return ''
end
for i = 3, #ARGV, 2 do
  redis.call('HSET', COUNTS, ARGV[i], ARGV[i + 1])
end
return mode
