-- Counts what waits, for each group.
--
-- Reply      { messages, dead, groups }
--   groups   { name, consumers, pending, lag } of each; lag is -1 where the server does not know

local groups = {}
for _, info in ipairs(infos_of_groups() or {}) do
  local group = table_of(info)
  groups[#groups + 1] = { group.name, group.consumers, group.pending, group.lag or -1 }
end
return { redis.call('XLEN', STREAM), redis.call('XLEN', DEAD), groups }
