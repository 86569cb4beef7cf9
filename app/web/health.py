"""Whether the process lives, whether its start is complete, and whether it can answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson
from starlette.types import Receive, Scope, Send

from app.errors import ChargegraphError
from app.web.http import JSON, send_bytes
from app.web.lifecycle import Checks, Lifecycle

CHECK_TIMEOUT_S = 5.0
"""How long all of them have, side by side, to answer."""

logger = logging.getLogger("chargegraph.health")

Answer: TypeAlias = tuple[int, dict[str, Any]]


async def answer_checks(checks: Checks) -> dict[str, bool]:
    """Return which parts answered in time."""
    answers = await asyncio.gather(*[_is_answered(name, check) for name, check in checks.items()])
    return dict(zip(checks, answers, strict=True))


async def _livez(_lifecycle: Lifecycle) -> Answer:
    return 200, {"alive": True}


async def _startupz(lifecycle: Lifecycle) -> Answer:
    return 200 if lifecycle.started else 503, {"started": lifecycle.started}


async def _readyz(lifecycle: Lifecycle) -> Answer:
    if not lifecycle.started or lifecycle.draining:
        return 503, {"ready": False, "started": lifecycle.started, "draining": lifecycle.draining}
    found = await answer_checks(lifecycle.checks())
    ready = all(found.values())
    return 200 if ready else 503, {"ready": ready, "checks": found}


PAGES: Final[Mapping[str, Callable[[Lifecycle], Awaitable[Answer]]]] = {
    "/livez": _livez,  # the process answers
    "/startupz": _startupz,  # 503 until every store was opened and loaded
    "/readyz": _readyz,  # 503 unless every part answers in time, and from the signal to end on
}


async def send_health(lifecycle: Lifecycle, scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a request for one of PAGES; 405 unless it only looks."""
    if scope["method"] not in {"GET", "HEAD"}:
        await send_bytes(send, 405, b'{"error": "use GET"}', JSON, ((b"allow", b"GET, HEAD"),))
        return
    status, body = await PAGES[scope["path"]](lifecycle)
    await send_bytes(send, status, orjson.dumps(body), JSON)


async def _is_answered(name: str, check: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check
    except (ChargegraphError, TimeoutError):
        return False
    except Exception:
        logger.exception("the check of %s broke", name)
        return False
    return True
