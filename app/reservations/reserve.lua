#!lua
-- Hold an Evse, unless somebody holds it or the partner holds as many as it may.
return answer_once(function()
  local latest = redis.call('HGET', EVSES, args.evse_id)
  local fence = 0
  if latest then
    local id
    fence, id = unpack(cmsgpack.unpack(latest))
    local holder = fetch(id)
    if holder and is_live(holder) then
      return {code = 'ALREADY_RESERVED'}
    end
  end
  local live_of, history = PREFIX .. 'live:' .. args.partner_id, PREFIX .. 'history:' .. args.partner_id
  redis.call('ZREMRANGEBYSCORE', LIVE, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', live_of, '-inf', now)
  local live = redis.call('ZCARD', live_of)
  if live >= args.max_live then
    return {code = 'TOO_MANY_RESERVATIONS', detail = live}
  end
  local reservation = {
    id = args.id,
    evse_id = args.evse_id,
    partner_id = args.partner_id,
    state = 'HELD',
    guarantee = args.guarantee,
    fence = fence + 1,
    created_at = now,
    expires_at = now + args.hold_s,
  }
  redis.call('HSET', EVSES, args.evse_id, cmsgpack.pack({reservation.fence, reservation.id}))
  redis.call('ZREMRANGEBYSCORE', history, '-inf', now - args.listed_s)
  redis.call('ZADD', history, now, reservation.id)
  redis.call('EXPIRE', history, args.reservations_kept_s)
  save(reservation)
  return {reservation = reservation}
end)
