-- Begins to build a generation, unless another process is building one.
--
-- KEYS and ARGV[1] to ARGV[3] as in filter.lua
-- ARGV[4]   the generation, whose partitions exist and are empty
-- ARGV[5]   milliseconds without a sign of life after which a builder is given up
--
-- Reply     { log, last, given up }   begun; the generation of a builder that was given up, or ""
--           { "", 0, "" }             another process is building

local filter, wrong = open()
if wrong then
  return wrong
end
local now = milliseconds()
if filter.staged ~= '' then
  local seen = tonumber(redis.call('HGET', FILTER, 'seen') or 0)
  -- A clock that was set back must not keep a dead builder alive.
  if math.abs(now - seen) < tonumber(ARGV[5]) then
    return { '', 0, '' }
  end
end
redis.call('HSET', FILTER, 'staged', ARGV[4], 'seen', now)
return { filter.log, filter.last, filter.staged }
