#!lua flags=no-writes
-- A key by its id.
return redis.call('HGET', 'chargegraph:{partners}:keys', ARGV[1])
