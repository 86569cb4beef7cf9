#!lua flags=no-writes
-- The time, and a partner's reservation where one is asked for.
return answer({reservation = args.id and fetch_own() or nil})
