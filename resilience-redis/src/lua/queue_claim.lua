-- Takes over messages that a consumer was given and has not acknowledged for too long. One that
-- was given too often becomes a dead letter instead.
--
-- ARGV[1]   group
-- ARGV[2]   consumer that takes over
-- ARGV[3]   milliseconds after which a message is abandoned: 1 to 86 400 000
-- ARGV[4]   id to go on from: the first, or the one of the last reply
-- ARGV[5]   messages to take over at most: 1 to 1000
-- ARGV[6]   times that a message is given out at most: 1 to 2^31
-- ARGV[7]   dead letters that are kept at most: 1 to 2^53 - 1
-- ARGV[8]   milliseconds for which dead letters are kept: 1 to 31 536 000 000
--
-- Reply     { next, messages, buried, stuck, lost }
--   next       where to go on; '0-0' after the last one
--   messages   { id, fields, deliveries } of each that was taken over
--   buried     messages that became dead letters
--   stuck      messages that should be dead letters, for which there is no room
--   lost       messages that somebody deleted before they were done

local group, consumer = ARGV[1], ARGV[2]
local most_deliveries, most_dead, keep = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

-- JUSTID counts no delivery: what is given out is counted below, one by one.
local claimed = redis.call('XAUTOCLAIM', STREAM, group, consumer, ARGV[3], ARGV[4],
  'COUNT', ARGV[5], 'JUSTID')
local messages, buried, stuck = {}, 0, 0
-- Redis 7.0 takes deleted messages off by itself, and tells of them.
local lost = claimed[3] and #claimed[3] or 0

for _, id in ipairs(claimed[2]) do
  local message, deliveries = message_at(STREAM, id), deliveries_of(group, id)
  if not message then
    redis.call('XACK', STREAM, group, id)
    lost = lost + 1
  elseif deliveries >= most_deliveries then
    if bury(group, message, deliveries, 'deliveries', most_dead, keep) then
      buried = buried + 1
    else
      stuck = stuck + 1
    end
  else
    redis.call('XCLAIM', STREAM, group, consumer, 0, id)
    messages[#messages + 1] = { id, message[2], deliveries + 1 }
  end
end
return { claimed[1], messages, buried, stuck, lost }
