-- Ends reservations whose time is over, and forgets orders that are over for long enough.
--
-- ARGV[1]   orders to look at, at most: 1 to 1000
-- ARGV[2]   milliseconds for which an order that is over is remembered: 1 to 2 592 000 000
--
-- Reply     { expired, more }   more: 1 where others may be due already

local now, steps = milliseconds(), tonumber(ARGV[1])
local expired = reap(now, steps, tonumber(ARGV[2]))
local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 1)
return { expired, #due }
