-- What the scripts of a queue have in common; it stands in front of each of them.
--
-- KEYS[1]   stream: the messages, each with its payload in the field 'd'. Without a life: it holds
--           work that was accepted
-- KEYS[2]   dead letters: a stream of messages that nobody could do anything with; gone a while
--           after the last of them
--
-- All KEYS share one hash tag. No script trims by length: what is deleted is what every group is
-- done with, so no message is lost that somebody still needs.

local STREAM, DEAD = KEYS[1], KEYS[2]
local LENGTHS = 4
-- Messages that are deleted in one go: those behind one that is done at last may be many.
local STEP = 1000

-- The pairs of a flat reply, as a table.
local function table_of(flat)
  local pairs = {}
  for i = 1, #flat, 2 do
    pairs[flat[i]] = flat[i + 1]
  end
  return pairs
end

local function parts_of(id)
  local time, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time), tonumber(sequence)
end

local function is_before(one, other)
  local time, sequence = parts_of(one)
  local other_time, other_sequence = parts_of(other)
  return time < other_time or time == other_time and sequence < other_sequence
end

-- The first message that a group still needs: the oldest that it was given and has not acknowledged,
-- or the one behind the last that it was given.
local function first_needed(group)
  if group.pending > 0 then
    return redis.call('XPENDING', STREAM, group.name)[2]
  end
  local time, sequence = parts_of(group['last-delivered-id'])
  return string.format('%.0f-%.0f', time, sequence + 1)
end

-- What is known of each group; nothing where the queue is not there. Any other error is raised as ever.
local function infos_of_groups()
  local infos = redis.pcall('XINFO', 'GROUPS', STREAM)
  if not infos.err then
    return infos
  elseif not string.find(infos.err, 'no such key', 1, true) then
    return redis.call('XINFO', 'GROUPS', STREAM)
  end
end

-- Deletes what all groups are done with. `groups` have to be there: one that was never opened needs
-- every message. Returns how many messages some group still needs at most, where that is known.
local function trim(groups)
  local infos = infos_of_groups()
  if not infos then
    return
  end
  local missing, first, pending, lag = {}, nil, 0, 0
  for _, name in ipairs(groups) do
    missing[name] = true
  end
  for _, info in ipairs(infos) do
    local group = table_of(info)
    missing[group.name] = nil
    local needed = first_needed(group)
    if not first or is_before(needed, first) then
      first = needed
    end
    -- What one group was not given yet holds what another was not given; what they were given and
    -- are not done with may be different messages.
    pending = pending + group.pending
    lag = lag and group.lag and math.max(lag, group.lag)
  end
  if first and not next(missing) then
    -- Whole nodes first, and the rest where it is not more than is left of one.
    local trimmed = redis.call('XTRIM', STREAM, 'MINID', '~', first, 'LIMIT', STEP)
    if trimmed < STEP / 2 then
      redis.call('XTRIM', STREAM, 'MINID', first)
    end
    return lag and pending + lag
  end
end

-- Whether there is no room for one more message, as far as it takes room: what is done with counts
-- no more, though a message in front of it that is not keeps it, up to `LENGTHS` times the capacity.
local function is_full(capacity, groups)
  if redis.call('XLEN', STREAM) < capacity then
    return false
  end
  local needed = trim(groups) or math.huge
  local length = redis.call('XLEN', STREAM)
  return length >= capacity and (needed >= capacity or length >= LENGTHS * capacity)
end

-- Moves a message that `group` was given to the dead letters, with at most 500 of its fields.
-- Returns false where there is no room for it: then it stays where it is.
local function bury(group, message, deliveries, reason, most, keep)
  if redis.call('XLEN', DEAD) >= most then
    local time = redis.call('TIME')
    local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - keep
    redis.call('XTRIM', DEAD, 'MINID', string.format('%.0f', math.max(oldest, 0)))
    if redis.call('XLEN', DEAD) >= most then
      return false
    end
  end
  local id, fields = message[1], message[2]
  redis.call('XADD', DEAD, '*', 'group', group, 'id', id, 'deliveries', deliveries,
    'reason', reason, unpack(fields, 1, math.min(#fields, 1000)))
  redis.call('PEXPIRE', DEAD, keep)
  redis.call('XACK', STREAM, group, id)
  return true
end

local function message_at(stream, id)
  return redis.call('XRANGE', stream, id, id)[1]
end

-- How often a message was given to the group and not acknowledged; nil where it is not pending.
local function deliveries_of(group, id)
  local pending = redis.call('XPENDING', STREAM, group, id, id, 1)[1]
  return pending and pending[4]
end
