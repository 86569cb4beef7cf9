-- What the scripts of the ledger share. ARGV[1] is one MessagePack map; `key` in it is a partner's idempotency key.
--
--   reservation:ID    a packed reservation: a map with the fields of app.model.reservation.Reservation
--   evses             hash, Evse -> packed {fence, id of the latest reservation}; the fences stay for ever
--   live              sorted set, id by expires_at, of all that have not ended (those past their end are dead)
--   live:PARTNER      the same, of one partner
--   history:PARTNER   sorted set, id by created_at, of all that are still kept
--   answer:KEY        packed: the fingerprint, and what was answered
--   changes           stream of every reservation that was written
--   latest            the latest time at which anything was written
--
-- One hash tag: the ledger is one shard. Times to live only tidy up; what is dead is told by the clock.
-- Numbers go to commands as they are (Redis writes 17 digits), never through `..`, which keeps 14.

local PREFIX = 'chargegraph:{reservations}:'
local EVSES, LIVE, LATEST = PREFIX .. 'evses', PREFIX .. 'live', PREFIX .. 'latest'
local CHANGES, CHANGES_KEPT = PREFIX .. 'changes', 10000
local MGET_AT_ONCE = 1000

local args = cmsgpack.unpack(ARGV[1])

-- The server's clock, which never runs backwards here: not over a step, a restart or a fail-over. `latest` is the
-- latest time that the process which asks has told anybody.
local function read_clock()
  local now = args.now
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1e6
  end
  return math.max(now, args.latest, tonumber(redis.call('GET', LATEST) or 0))
end

local now = read_clock()

local function fetch(id)
  local packed = redis.call('GET', PREFIX .. 'reservation:' .. id)
  return packed and cmsgpack.unpack(packed)
end

local function fetch_own()
  local reservation = fetch(args.id)
  return reservation and reservation.partner_id == args.partner_id and reservation
end

local function is_live(reservation)
  return not reservation.ended_at and now < reservation.expires_at
end

local function save(reservation)
  local packed = cmsgpack.pack(reservation)
  local live_of = PREFIX .. 'live:' .. reservation.partner_id
  redis.call('SET', PREFIX .. 'reservation:' .. reservation.id, packed, 'EX', args.reservations_kept_s)
  if reservation.ended_at then
    redis.call('ZREM', LIVE, reservation.id)
    redis.call('ZREM', live_of, reservation.id)
  else
    redis.call('ZADD', LIVE, reservation.expires_at, reservation.id)
    redis.call('ZADD', live_of, reservation.expires_at, reservation.id)
  end
  redis.call('SET', LATEST, now)
  tell(CHANGES, CHANGES_KEPT, 'reservation', packed)
end

local function answer(fields)
  fields.now = now
  return cmsgpack.pack(fields)
end

local function ended(reservation)
  return {code = 'RESERVATION_ENDED', detail = reservation.ended_at and reservation.state or 'EXPIRED'}
end

-- What was answered under the key, nil when it is new.
local function replay()
  local packed = redis.call('GET', PREFIX .. 'answer:' .. args.key)
  if not packed then
    return nil
  end
  local known = cmsgpack.unpack(packed)
  if known.fingerprint ~= args.fingerprint then
    return {code = 'IDEMPOTENCY_KEY_REUSED'}
  end
  return {
    reservation = known.id and fetch(known.id) or nil,
    code = known.code,
    detail = known.detail,
    replayed = true,
  }
end

-- Decide once for each key, and remember the answer in the same script.
local function answer_once(decide)
  local decided = replay()
  if not decided then
    decided = decide()
    local known = {
      fingerprint = args.fingerprint,
      id = decided.reservation and decided.reservation.id,
      code = decided.code,
      detail = decided.detail,
    }
    redis.call('SET', PREFIX .. 'answer:' .. args.key, cmsgpack.pack(known), 'EX', args.answers_kept_s)
    redis.call('SET', LATEST, now)
  end
  return answer(decided)
end

-- The time, and then each reservation as it was written.
local function list(ids)
  local found = {cmsgpack.pack(now)}
  for first = 1, #ids, MGET_AT_ONCE do
    local keys = {}
    for at = first, math.min(first + MGET_AT_ONCE - 1, #ids) do
      keys[#keys + 1] = PREFIX .. 'reservation:' .. ids[at]
    end
    for _, packed in ipairs(redis.call('MGET', unpack(keys))) do
      found[#found + 1] = packed or nil
    end
  end
  return found
end
