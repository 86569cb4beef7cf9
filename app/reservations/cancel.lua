#!lua
-- End a live reservation; one that is cancelled already stays as it stands.
return answer_once(function()
  local reservation = fetch_own()
  if not reservation then
    return {code = 'UNKNOWN_RESERVATION'}
  end
  if reservation.state == 'CANCELLED' then
    return {reservation = reservation}
  end
  if not is_live(reservation) then
    return ended(reservation)
  end
  reservation.state = 'CANCELLED'
  reservation.ended_at = now
  save(reservation)
  return {reservation = reservation}
end)
