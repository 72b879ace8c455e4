-- Adds bits to a partition of the generation that is being built.
--
-- KEYS[1] and KEYS[2] and ARGV[1] to ARGV[3] as in filter.lua
-- KEYS[3]   the partition
-- KEYS[4]   a name for the bits on their way
-- ARGV[4]   the generation
-- ARGV[5]   the bits: as many bytes as the partition has
--
-- Reply     1   done
--           0   the generation was given up, or the partition is gone: nothing was done

local filter, wrong = open()
if wrong then
  return wrong
end
if filter.staged ~= ARGV[4] or redis.call('STRLEN', KEYS[3]) ~= #ARGV[5] then
  return 0
end
redis.call('SET', KEYS[4], ARGV[5], 'PX', ARGV[3])
redis.call('BITOP', 'OR', KEYS[3], KEYS[3], KEYS[4])
redis.call('UNLINK', KEYS[4])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return 1
