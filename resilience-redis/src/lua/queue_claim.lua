-- Takes over messages that a consumer was given and has not acknowledged for too long.
--
-- Their ids alone, and no delivery is counted: an answer that nobody hears, or too late, costs a
-- message nothing but the time until it is abandoned again.
--
-- ARGV[1]   group
-- ARGV[2]   consumer that takes over
-- ARGV[3]   milliseconds after which a message is abandoned: 1 to 86 400 000
-- ARGV[4]   id to go on from: the first, or the one of the last reply
-- ARGV[5]   messages to take over at most: 1 to 64
--
-- Reply     { next, messages, lost }
--   next       where to go on; '0-0' after the last one
--   messages   { id, deliveries } of each that was taken over
--   lost       messages that somebody deleted before they were done

local group, consumer = ARGV[1], ARGV[2]
local claimed = redis.call('XAUTOCLAIM', STREAM, group, consumer, ARGV[3], ARGV[4],
  'COUNT', ARGV[5], 'JUSTID')
local messages = {}
for i, id in ipairs(claimed[2]) do
  messages[i] = { id, deliveries_of(group, id) }
end
-- Redis 7.0 takes deleted messages off by itself, and tells of them.
return { claimed[1], messages, claimed[3] and #claimed[3] or 0 }
