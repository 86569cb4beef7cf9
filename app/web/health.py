"""Whether the process lives, and whether it can answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson
from fastapi import APIRouter, Response

from app.errors import ChargegraphError
from app.web.http import JSON

Checks: TypeAlias = Mapping[str, Awaitable[object]]
"""A question to each part of the service, by name; one that is not ready raises a ChargegraphError."""

CHECK_TIMEOUT_S = 5.0
"""How long all of them have, side by side, to answer."""

logger = logging.getLogger("chargegraph.health")


def health_router(ready: Callable[[], Checks]) -> APIRouter:
    """Return ``/livez`` (the process answers) and ``/readyz`` (503 unless every part answers in time)."""
    router = APIRouter()

    @router.get("/livez")
    async def livez() -> Response:
        return _answer(200, {"alive": True})

    @router.get("/readyz")
    async def readyz() -> Response:
        checks = ready()
        answers = await asyncio.gather(*[_is_answered(name, check) for name, check in checks.items()])
        found = dict(zip(checks, answers, strict=True))
        return _answer(200 if all(answers) else 503, {"ready": all(answers), "checks": found})

    return router


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


def _answer(status: int, body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type=JSON, headers={"cache-control": "no-store"})
