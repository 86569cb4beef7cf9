"""The header fields that say what is left of a partner's quota (draft-ietf-httpapi-ratelimit-headers)."""

import math
from functools import lru_cache

from app.model.quota import Verdict, Windows
from app.web.http import Headers


def rate_limit_headers(windows: Windows, verdict: Verdict) -> Headers:
    """Return ``RateLimit-Policy``, ``RateLimit`` and, where nothing may be used now, ``Retry-After``."""
    if not windows:
        return ()
    policy, state = _fields(windows)
    values = [number for left in verdict.left for number in (left.remaining, math.ceil(left.whole_in_s))]
    told = (policy, (b"ratelimit", state % tuple(values)))
    if verdict.retry_after_s is None:
        return told
    return (*told, (b"retry-after", b"%d" % math.ceil(verdict.retry_after_s)))


@lru_cache(maxsize=256)
def _fields(windows: Windows) -> tuple[tuple[bytes, bytes], bytes]:
    """Return what never changes of a policy: its field, and the other field's form."""
    stated = ", ".join(f'"{each.period_s}s";q={each.limit};qu="cost";w={each.period_s}' for each in windows)
    state = ", ".join(f'"{each.period_s}s";r=%d;t=%d' for each in windows)
    return (b"ratelimit-policy", stated.encode()), state.encode()
