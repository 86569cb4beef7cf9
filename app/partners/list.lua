#!lua flags=no-writes
-- Everything of a kind, oldest first: ARGV the names of what holds all of it, and of the list of their ids.
local found = {}
for _, id in ipairs(redis.call('LRANGE', 'chargegraph:{partners}:' .. ARGV[2], 0, -1)) do
  found[#found + 1] = redis.call('HGET', 'chargegraph:{partners}:' .. ARGV[1], id)
end
return found
