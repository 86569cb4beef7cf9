"""Readiness names what is away, and nothing else."""

import asyncio
from collections.abc import Awaitable

import httpx
import pytest
from fastapi import FastAPI

from app.errors import UnavailableError
from app.web.health import health_router


async def fine() -> int:
    return 1


async def away() -> None:
    raise UnavailableError("away")


async def broken() -> None:
    raise KeyError("broken")


async def silent() -> None:
    await asyncio.Event().wait()


def checks() -> dict[str, Awaitable[object]]:
    return {"one": fine(), "away": away(), "broken": broken(), "silent": silent(), "other": fine()}


async def test_what_is_away_broken_or_silent_is_named_and_all_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.health.CHECK_TIMEOUT_S", 0.05)
    app = FastAPI()
    app.include_router(health_router(checks))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
        answer = await client.get("/readyz")
        alive = await client.get("/livez")
    said = {"one": True, "away": False, "broken": False, "silent": False, "other": True}
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "checks": said})
    assert alive.status_code == 200
