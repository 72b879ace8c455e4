-- Opens a group at the first message there is, and forgets its consumers that are long gone.
--
-- ARGV[1]   group
-- ARGV[2]   milliseconds after which a consumer that did nothing and owes nothing is forgotten
--
-- Reply     consumers forgotten

local made = redis.pcall('XGROUP', 'CREATE', STREAM, ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  return made
end
local forgotten = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', STREAM, ARGV[1])) do
  local consumer = table_of(info)
  -- With messages of its own it is kept: they would go with it.
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', STREAM, ARGV[1], consumer.name)
    forgotten = forgotten + 1
  end
end
return forgotten
