#!lua flags=no-writes
-- One thing: ARGV the name of what holds all of its kind, and its id.
return redis.call('HGET', 'chargegraph:{partners}:' .. ARGV[1], ARGV[2])
