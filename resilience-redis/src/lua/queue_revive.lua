-- Appends a dead letter to the queue again, for all groups.
--
-- ARGV[1]        messages that the queue holds at most: 1 to 2^53 - 1
-- ARGV[2]        id of the dead letter
-- ARGV[3], ...   groups: 1 to 16
--
-- Reply          { 'now', id }, { 'gone', '' } or { 'full', '' }

local letter = message_at(DEAD, ARGV[2])
if not letter then
  return { 'gone', '' }
end
if is_full(tonumber(ARGV[1]), { unpack(ARGV, 3) }) then
  return { 'full', '' }
end
-- Behind what was noted at the burial.
local id = redis.call('XADD', STREAM, '*', unpack(letter[2], 9))
redis.call('XDEL', DEAD, ARGV[2])
return { 'now', id }
