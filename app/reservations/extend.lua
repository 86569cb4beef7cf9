#!lua
-- Let a live reservation end later.
return answer_once(function()
  local reservation = fetch_own()
  if not reservation then
    return {code = 'UNKNOWN_RESERVATION'}
  end
  if not is_live(reservation) then
    return ended(reservation)
  end
  local expires_at = math.max(reservation.expires_at, now + args.hold_s)
  if expires_at > reservation.created_at + args.max_total_hold_s then
    return {code = 'HOLD_OUT_OF_RANGE'}
  end
  reservation.expires_at = expires_at
  save(reservation)
  return {reservation = reservation}
end)
