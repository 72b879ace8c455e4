-- What the scripts of a filter have in common; it stands in front of each of them.
--
-- KEYS[1]   filter: a hash of
--             server    what tells the memory of this server from every other's
--             seed      what tells the seed of the fleet from others
--             log       the name of the log
--             last      number of the last record in the log
--             current   the generation that is asked, where there is one
--             staged    the generation that is being built, where there is one
--             seen      when its builder gave a sign of life, in milliseconds since 1970
-- KEYS[2]   log: a stream of the keys that were added, named by the numbers of their records, each
--           with 16 bytes for each key in the field 'k'
-- ARGV[1]   name for a new log: 1 to 64 bytes that nobody else uses
-- ARGV[2]   what tells the seed of the caller from others: 1 to 64 bytes
-- ARGV[3]   time to live in milliseconds: 1 to 2^53
--
-- Error     SEED   the keys of the filter were made with another seed
--
-- All KEYS share one hash tag. A filter that another server wrote is none: what is here may be an
-- older state of it, restored from a file or copied by a replica that had not heard of everything.
-- So it is as if nothing were here: a new log begins, and no generation is asked. The same holds of
-- one that lacks what belongs to it.
--
-- KEYS[1] and KEYS[2] live for ARGV[3] after each call, which is a write each time: a server that
-- may not write, because others have taken over, answers nobody.

local FILTER, LOG = KEYS[1], KEYS[2]
-- Numbers of records, which Lua's doubles hold exactly.
local MOST = 9007199254740992

local function milliseconds()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- The process, and the history of its data, which changes when another takes over.
local function this_server()
  local process = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return process .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end

-- The filter as it stands, or an error.
local function open()
  local server = this_server()
  local fields = redis.call('HMGET', FILTER, 'server', 'seed', 'log', 'last', 'current', 'staged')
  local last = string.match(fields[4] or '', '^%d+$') and tonumber(fields[4])
  if fields[1] ~= server or not fields[2] or not fields[3] or not last or last >= MOST then
    redis.call('UNLINK', FILTER, LOG)
    redis.call('HSET', FILTER, 'server', server, 'seed', ARGV[2], 'log', ARGV[1], 'last', 0)
    fields, last = { server, ARGV[2], ARGV[1], '0', false, false }, 0
  end
  if fields[2] ~= ARGV[2] then
    return nil, redis.error_reply('SEED the keys of the filter were made with another seed')
  end
  redis.call('PEXPIRE', FILTER, ARGV[3])
  redis.call('PEXPIRE', LOG, ARGV[3])
  return {
    log = fields[3], last = last,
    current = fields[5] or '', staged = fields[6] or '',
  }
end
