"""Readiness names what is away, and nothing else."""

import asyncio
from collections.abc import Awaitable

import httpx
import pytest

from app.errors import UnavailableError
from app.web.admin import AdminApp
from app.web.health import PAGES
from app.web.lifecycle import Lifecycle


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


async def answers(client: httpx.AsyncClient) -> dict[str, int]:
    return {path: (await client.get(path)).status_code for path in PAGES}


async def test_a_process_lives_while_it_starts_and_is_not_ready_again_once_it_drains() -> None:
    lifecycle = Lifecycle()
    app = AdminApp(lifecycle)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
        assert await answers(client) == {"/livez": 200, "/startupz": 503, "/readyz": 503}
        lifecycle.start(lambda: {"one": fine()})
        assert await answers(client) == {"/livez": 200, "/startupz": 200, "/readyz": 200}
        assert (await client.post("/readyz")).status_code == 405
        lifecycle.drain()
        assert await answers(client) == {"/livez": 200, "/startupz": 200, "/readyz": 503}
        assert (await client.get("/")).status_code == 404


async def test_what_is_away_broken_or_silent_is_named_and_all_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.health.CHECK_TIMEOUT_S", 0.05)
    lifecycle = Lifecycle()
    app = AdminApp(lifecycle)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
        lifecycle.start(checks)
        answer = await client.get("/readyz")
        alive = await client.get("/livez")
    said = {"one": True, "away": False, "broken": False, "silent": False, "other": True}
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "checks": said})
    assert alive.status_code == 200
