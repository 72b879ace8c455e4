-- Ends messages for a group, and deletes what all groups are done with.
--
-- ARGV[1]            group
-- ARGV[2]            number of groups: 1 to 16
-- ARGV[3], ...       groups
-- ARGV[..], ...      ids: 1 to 1000
--
-- Reply              messages that were not acknowledged before

local ids = 3 + ARGV[2]
local done = redis.call('XACK', STREAM, ARGV[1], unpack(ARGV, ids))
trim({ unpack(ARGV, 3, ids - 1) })
return done
