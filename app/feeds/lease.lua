#!lua
-- Take or renew a feed's lease, ARGV the feed, its owner and milliseconds: the fence, or nil while another has it.
local lease = 'chargegraph:{leases}:' .. ARGV[1]
local owner = redis.call('GET', lease)
if owner and owner ~= ARGV[2] then
  return nil
end
redis.call('SET', lease, ARGV[2], 'PX', ARGV[3])
if owner then
  return tonumber(redis.call('GET', lease .. ':fence'))
end
return redis.call('INCR', lease .. ':fence')
