#!lua flags=no-writes
-- Every key, oldest first.
local found = {}
for _, id in ipairs(redis.call('LRANGE', 'chargegraph:{partners}:order', 0, -1)) do
  found[#found + 1] = redis.call('HGET', 'chargegraph:{partners}:keys', id)
end
return found
