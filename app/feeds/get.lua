#!lua flags=no-writes
-- What is kept of a feed under a name.
return redis.call('HGET', 'chargegraph:{feeds}:' .. ARGV[1], ARGV[2])
