#!lua flags=no-writes
-- A partner's reservations, in no order: all that are live, or the newest `first` from `before` on. What was made at
-- exactly `before` comes in addition; the caller knows which of these it has had.
if args.live_only then
  return list(redis.call('ZRANGE', PREFIX .. 'live:' .. args.partner_id, string.format('(%.17g', now), '+inf', 'BYSCORE'))
end
local history = PREFIX .. 'history:' .. args.partner_id
local oldest = now - args.listed_s
local newest = '+inf'
local ids = {}
if args.before then
  newest = string.format('(%.17g', args.before)
  if args.before >= oldest then
    ids = redis.call('ZRANGE', history, args.before, args.before, 'BYSCORE')
  end
end
for _, id in ipairs(redis.call('ZRANGE', history, newest, oldest, 'BYSCORE', 'REV', 'LIMIT', 0, args.first)) do
  ids[#ids + 1] = id
end
return list(ids)
