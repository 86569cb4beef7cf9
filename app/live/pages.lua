#!lua flags=no-writes
-- The keys and values of pages ARGV[1] up to and without ARGV[2].
local found = {}
for page = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  for _, part in ipairs(redis.call('HGETALL', 'chargegraph:{live}:page:' .. page)) do
    found[#found + 1] = part
  end
end
return found
