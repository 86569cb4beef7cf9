#!lua flags=no-writes
-- Every live reservation.
return list(redis.call('ZRANGE', LIVE, string.format('(%.17g', now), '+inf', 'BYSCORE'))
