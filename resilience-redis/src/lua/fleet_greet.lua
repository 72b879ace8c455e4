-- Says that a node is there, and asks how many are.
--
-- KEYS[1]    when each node was last heard of: a sorted set, microseconds
-- ARGV[1]    the node
-- ARGV[2]    microseconds for which a node that is silent counts, 1000 to 2^52
--
-- Reply      number of nodes, this one included

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
return redis.call('ZCARD', KEYS[1])
