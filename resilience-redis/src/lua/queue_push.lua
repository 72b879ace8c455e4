-- Appends a message, unless the queue is full or has had the message before.
--
-- KEYS[3]        what the message is known by, if it is: its id in the stream, for ARGV[3]
-- ARGV[1]        messages that the queue holds at most: 1 to 2^53 - 1
-- ARGV[2]        payload
-- ARGV[3]        milliseconds for which KEYS[3] is remembered: 1 to 2 592 000 000
-- ARGV[4], ...   groups: 1 to 16
--
-- Reply          { 'now', id }, { 'before', id } or { 'full', '' }

local known = KEYS[3] and redis.call('GET', KEYS[3])
if known then
  return { 'before', known }
end
if is_full(tonumber(ARGV[1]), { unpack(ARGV, 4) }) then
  return { 'full', '' }
end
local id = redis.call('XADD', STREAM, '*', 'd', ARGV[2])
if KEYS[3] then
  redis.call('SET', KEYS[3], id, 'PX', ARGV[3])
end
return { 'now', id }
