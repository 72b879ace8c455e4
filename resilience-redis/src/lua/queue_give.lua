-- Counts one delivery more of messages that a consumer took over and is about to give out.
--
-- ARGV[1]        group
-- ARGV[2]        consumer
-- ARGV[3], ...   ids: 1 to 64
--
-- Reply          deliveries of each, this one included; 0 where the message is not the consumer's
--                any more: it is done, or somebody else has it

local group, consumer = ARGV[1], ARGV[2]
local deliveries = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', STREAM, group, id, id, 1, consumer)[1]
  local times = pending and pending[4] + 1 or 0
  if pending then
    redis.call('XCLAIM', STREAM, group, consumer, 0, id, 'RETRYCOUNT', times, 'JUSTID')
  end
  deliveries[#deliveries + 1] = times
end
return deliveries
