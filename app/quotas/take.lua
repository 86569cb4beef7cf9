#!lua flags=allow-oom
-- Take an amount from a partner's windows, or nothing where one of them does not hold it any more (GCRA).
-- Also where memory is short: what a mutation did before is told again then, and this is a key of some bytes a partner.
-- ARGV: the partner; what was taken already and has to be counted in any case; the amount; then for each window its
-- period in seconds and its limit. Answers how long to wait ('0': taken), then how far ahead each window is, in seconds.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local key = 'chargegraph:{quotas}:' .. ARGV[1]
local debt, amount = tonumber(ARGV[2]), tonumber(ARGV[3])
local wait, kept_s = 0, 0
local before, after = {}, {}
for i = 4, #ARGV, 2 do
  local period, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local pace = period / limit
  local arrival = tonumber(redis.call('HGET', key, ARGV[i]) or 0)
  -- A debt counts once over at most, also when the clock was set back.
  local ahead = math.min(math.max(arrival - now, 0) + math.min(debt, limit) * pace, 2 * period)
  before[#before + 1] = {ARGV[i], ahead}
  ahead = ahead + math.min(amount, limit) * pace
  after[#after + 1] = {ARGV[i], ahead}
  wait = math.max(wait, ahead - period)
end
local taken = wait <= 1e-6
local answer = {taken and '0' or string.format('%.6f', wait)}
for _, window in ipairs(taken and after or before) do
  answer[#answer + 1] = string.format('%.6f', window[2])
  if debt > 0 or (taken and amount > 0) then
    redis.call('HSET', key, window[1], string.format('%.6f', now + window[2]))
    kept_s = math.max(kept_s, window[2])
  end
end
if kept_s > 0 then
  redis.call('PEXPIRE', key, math.ceil(kept_s * 1000) + 1000)
end
return answer
