#!lua
-- Move a live reservation on, where the message is not of the past: 1, or 0 with nothing changed.
local reservation = fetch(args.id)
if
  not reservation
  or reservation.fence ~= args.fence
  or reservation.state ~= args.expected
  or not is_live(reservation)
then
  return 0
end
reservation.state = args.state
if args.is_final then
  reservation.ended_at = now
end
save(reservation)
return 1
