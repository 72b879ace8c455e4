-- Says how a filter stands, and which keys were added since one last asked.
--
-- KEYS and ARGV[1] to ARGV[3] as in filter.lua
-- ARGV[4]   name of the log that the caller knows, "" for none
-- ARGV[5]   number of the last record of it that the caller knows: 0 to 2^53
-- ARGV[6]   for a log that the caller does not know, how many records to begin with: 0 to 2^53
-- ARGV[7]   most records to return: 1 to 1000
-- ARGV[8]   the generation that the caller is building, "" for none: this is its sign of life
--
-- Reply     { log, current, staged, last, from, { number, keys, number, keys, ... } }
--   from    number of the record after which those that are returned should begin; where they do
--           not, some are missing

local filter, wrong = open()
if wrong then
  return wrong
end
local from = tonumber(ARGV[5])
if ARGV[4] ~= filter.log then
  from = math.max(filter.last - ARGV[6], 0)
end
if ARGV[8] ~= '' and ARGV[8] == filter.staged then
  redis.call('HSET', FILTER, 'seen', milliseconds())
end
local records = {}
if from < filter.last then
  local first = string.format('%.0f-0', from + 1)
  for _, record in ipairs(redis.call('XRANGE', LOG, first, '+', 'COUNT', ARGV[7])) do
    records[#records + 1] = tonumber(string.match(record[1], '^%d+'))
    records[#records + 1] = record[2][2]
  end
end
return { filter.log, filter.current, filter.staged, filter.last, from, records }
