-- What every script of ours may use; app/redis.py puts it before each of them.

-- Append one entry to a stream that is followed without gaps: ids are epoch-0, epoch-1, ... within one life of the stream.
local function tell(stream, length, ...)
  local epoch = redis.call('GET', stream .. ':epoch')
  if not epoch then
    local time = redis.call('TIME')
    epoch = string.format('%s%06d', time[1], time[2])
    redis.call('SET', stream .. ':epoch', epoch)
  end
  redis.call('XADD', stream, 'MAXLEN', '~', length, epoch .. '-*', ...)
end
