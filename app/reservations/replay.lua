#!lua flags=no-writes
-- What was answered under a key.
return answer(replay() or {})
