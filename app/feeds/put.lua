#!lua
-- Keep a value, ARGV a feed, the value, and the names that it goes by.
for name = 3, #ARGV do
  redis.call('HSET', 'chargegraph:{feeds}:' .. ARGV[1], ARGV[name], ARGV[2])
end
