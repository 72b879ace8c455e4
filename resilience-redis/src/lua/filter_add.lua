-- Adds keys to a filter: to the generation that is asked, to the one that is being built, and to
-- the log by which all processes hear of them. All of it or nothing; done twice, it changes nothing.
-- Keys of another seed can be in no filter of this one: no generation is asked or built any more, so
-- that they pass with all others.
--
-- KEYS[1] and KEYS[2] and ARGV[1] to ARGV[3] as in filter.lua
-- KEYS[i]   partitions that hold bits of the keys: first those of the generation that is asked
-- ARGV[4]   name of the log that the caller knows
-- ARGV[5]   the generation that is asked, as far as the caller knows, "" for none
-- ARGV[6]   the generation that is being built, "" for none
-- ARGV[7]   how many of KEYS belong to the generation that is asked
-- ARGV[8]   most records that the log keeps, about
-- ARGV[9]   the record: 16 bytes for each key
-- ARGV[10]  then for each bit, the number of its key in KEYS and its offset there
--
-- Reply     { log, current, staged, number }
--   number  of the record; 0 where the caller does not know how the filter stands, which is what
--           the rest says, and nothing was done

local filter, wrong = open()
if wrong then
  redis.call('HDEL', FILTER, 'current', 'staged')
  return wrong
end
local known = ARGV[4] == filter.log and ARGV[5] == filter.current and ARGV[6] == filter.staged
if known then
  for i = 3, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then
      -- A partition that was evicted would come back with these bits alone.
      local generation = i - 2 <= tonumber(ARGV[7]) and 'current' or 'staged'
      redis.call('HDEL', FILTER, generation)
      filter[generation] = ''
      known = false
    end
  end
end
if not known then
  return { filter.log, filter.current, filter.staged, 0 }
end
for i = 10, #ARGV, 2 do
  redis.call('SETBIT', KEYS[tonumber(ARGV[i])], ARGV[i + 1], 1)
end
local number = redis.call('HINCRBY', FILTER, 'last', 1)
redis.call('XADD', LOG, 'MAXLEN', '~', ARGV[8], string.format('%.0f-0', number), 'k', ARGV[9])
redis.call('PEXPIRE', LOG, ARGV[3])
return { filter.log, filter.current, filter.staged, number }
