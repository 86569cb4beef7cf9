#!lua
-- Change a key, ARGV its id, what it was and what it is to be: 1, or 0 where it is another by now.
if redis.call('HGET', 'chargegraph:{partners}:keys', ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', 'chargegraph:{partners}:keys', ARGV[1], ARGV[3])
return 1
