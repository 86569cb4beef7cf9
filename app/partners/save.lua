#!lua
-- Keep something new: ARGV the names of what holds all of its kind and of the list of their ids, its id and itself.
redis.call('HSET', 'chargegraph:{partners}:' .. ARGV[1], ARGV[3], ARGV[4])
redis.call('RPUSH', 'chargegraph:{partners}:' .. ARGV[2], ARGV[3])
