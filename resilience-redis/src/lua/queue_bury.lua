-- Makes a message that a group was given a dead letter.
--
-- ARGV[1]   group
-- ARGV[2]   id
-- ARGV[3]   reason
-- ARGV[4]   dead letters that are kept at most: 1 to 2^53 - 1
-- ARGV[5]   milliseconds for which dead letters are kept: 1 to 31 536 000 000
--
-- Reply     'now'; 'before': it was acknowledged, buried or deleted; 'full': there is no room

local group, id = ARGV[1], ARGV[2]
local deliveries = deliveries_of(group, id)
if not deliveries then
  return 'before'
end
local message = message_at(STREAM, id)
if not message then
  redis.call('XACK', STREAM, group, id)
  return 'before'
end
local buried = bury(group, message, deliveries, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
return buried and 'now' or 'full'
