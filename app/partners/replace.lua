#!lua
-- Change one thing: ARGV the name of what holds all of its kind, its id, what it was and what it is to be: 1, or 0 where
-- it is another by now.
if redis.call('HGET', 'chargegraph:{partners}:' .. ARGV[1], ARGV[2]) ~= ARGV[3] then
  return 0
end
redis.call('HSET', 'chargegraph:{partners}:' .. ARGV[1], ARGV[2], ARGV[4])
return 1
