-- Ends a generation, one way or another.
--
-- KEYS and ARGV[1] to ARGV[3] as in filter.lua
-- ARGV[4]   "commit": the generation that is being built is asked from now on
--           "abandon": it is given up
--           "lose": the generation that is asked is no good, since parts of it are gone
-- ARGV[5]   the generation that is meant
--
-- Reply     { 1, generation }   done; the generation that nobody needs any more, "" for none
--           { 0, "" }           it was not so any more: nothing was done

local filter, wrong = open()
if wrong then
  return wrong
end
local field = ARGV[4] == 'lose' and 'current' or 'staged'
if filter[field] ~= ARGV[5] then
  return { 0, '' }
end
redis.call('HDEL', FILTER, field)
if ARGV[4] == 'commit' then
  redis.call('HSET', FILTER, 'current', ARGV[5])
  return { 1, filter.current }
end
return { 1, ARGV[5] }
