#!lua
-- Give a feed's lease back, ARGV the feed and its owner.
local lease = 'chargegraph:{leases}:' .. ARGV[1]
if redis.call('GET', lease) == ARGV[2] then
  redis.call('DEL', lease)
end
