#!lua
-- Keep a new key: ARGV its id and itself.
redis.call('HSET', 'chargegraph:{partners}:keys', ARGV[1], ARGV[2])
redis.call('RPUSH', 'chargegraph:{partners}:order', ARGV[1])
