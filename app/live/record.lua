#!lua
-- Take records where they are newer than what is stored, and tell everyone these; ARGV: records (SLOT of
-- app/live/_board.py), the texts that their `raw` points to, and what is passed on as it is.
local PREFIX = 'chargegraph:{live}:'
local SIZE, RECEIVED_AT, RAW = 38, 17, 33
local STREAM, STREAM_LENGTH = PREFIX .. 'changes', 2048

local records, texts = ARGV[1], cmsgpack.unpack(ARGV[2])
local taken = {}
for first = 1, #records, SIZE do
  local record = string.sub(records, first, first + SIZE - 1)
  local key, value = string.sub(record, 1, 8), string.sub(record, 9)
  -- 65,536 pages: small hashes, which Redis packs. By the last bits of the key: boards look it up by its first bits,
  -- and a load page by page would crowd one corner of their table.
  local page = PREFIX .. 'page:' .. struct.unpack('<I2', key)
  local known = redis.call('HGET', page, key)
  if not known or struct.unpack('<d', record, RECEIVED_AT) > struct.unpack('<d', known, RECEIVED_AT - 8) then
    redis.call('HSET', page, key, value .. texts[struct.unpack('<I4', record, RAW) + 1])
    taken[#taken + 1] = record
  end
end
if #taken > 0 then
  tell(STREAM, STREAM_LENGTH, 'records', table.concat(taken), 'texts', ARGV[2], 'newest', ARGV[3])
end
