-- Drops a group that nobody reads for any more, and deletes what only it still needed.
--
-- ARGV[1]        group
-- ARGV[2], ...   groups that stay: 1 to 16
--
-- Reply          1; 0 where there is no such group

local exists = redis.call('EXISTS', STREAM) == 1
local dropped = exists and redis.call('XGROUP', 'DESTROY', STREAM, ARGV[1]) or 0
trim({ unpack(ARGV, 2) })
return dropped
