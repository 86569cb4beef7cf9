"""Whether the process lives, and whether it can answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import orjson
from fastapi import APIRouter, Response

from app.web.http import JSON

ReadyChecks: TypeAlias = Callable[[], Awaitable[dict[str, bool]]]
"""Tells for each part of the service, by name, whether it answers."""

CHECK_TIMEOUT_S = 5.0

logger = logging.getLogger("chargegraph.health")


def health_router(ready: ReadyChecks) -> APIRouter:
    """Return ``/livez`` (the process answers) and ``/readyz`` (503 unless every check holds)."""
    router = APIRouter()

    @router.get("/livez")
    async def livez() -> Response:
        return _answer(200, {"alive": True})

    @router.get("/readyz")
    async def readyz() -> Response:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                checks = await ready()
        except Exception:
            logger.exception("the readiness checks failed")
            checks = {"checks": False}
        is_ready = all(checks.values())
        return _answer(200 if is_ready else 503, {"ready": is_ready, "checks": checks})

    return router


def _answer(status: int, body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type=JSON, headers={"cache-control": "no-store"})
