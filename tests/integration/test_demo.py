"""The demo as a newcomer runs it: one command, what it prints is pasted, Ctrl-C ends everything."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

STATIONS = 240
READY_S = 60.0
STOPPED_S = 15.0
PUSHED_S = 90.0


@asynccontextmanager
async def demo(repository: Path, data: Path, port: int) -> AsyncIterator[tuple[Process, str]]:
    """Run the demo until it has said all; give its process and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "demo", "--stations", str(STATIONS),
        cwd=repository, stdout=PIPE, stderr=PIPE,
        env={**os.environ, "CHARGEGRAPH_DATA_DIR": str(data), "CHARGEGRAPH_PORT": str(port)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            printed = (await process.stdout.readuntil(b"Ctrl-C stops everything.")).decode()
        yield process, printed
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def pasted(printed: str) -> tuple[str, dict[str, str], str]:
    """The URL, headers and body of the curl command that was printed."""
    command = re.search(r"^curl .*?'$", printed, re.MULTILINE | re.DOTALL)
    assert command is not None
    words = shlex.split(command[0])
    headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    return words[2], headers, words[words.index("-d") + 1]


async def is_listening(url: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            await client.get(url)
    except httpx.TransportError:
        return False
    return True


async def test_what_is_printed_works_and_ctrl_c_ends_everything(
    repository: Path, tmp_path: Path, free_port: int
) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        async with demo(repository, tmp_path, free_port) as (process, printed):
            assert f"Port {free_port} is taken; using " in printed
            url, headers, body = pasted(printed)
            sandbox = re.search(r"your own client against: +(http://127\.0\.0\.1:\d+)/", printed)
            assert sandbox is not None
            async with httpx.AsyncClient() as client:
                answer = (await client.post(url, headers=headers, content=body)).json()
                ide = await client.get(url, headers={"Accept": "text/html"})
                look = re.search(r"on a map, in a browser.*?(http://\S+/)#key=(\S+)", printed)
                assert look is not None and headers["Authorization"] == f"Bearer {look[2]}"
                start = await client.get(look[1], headers={"Accept": "text/html"})
                paths = [*linked(ide.text), *linked(start.text)]
                pages = [await client.get(httpx.URL(url).join(path)) for path in paths]
                pushed = await wait_for_pushes(client, sandbox[1])
            assert "errors" not in answer
            assert answer["data"]["nearbyStations"]["totalCount"] > 0
            statuses = {evse["status"] for evse in evses(answer)}
            assert "AVAILABLE" in statuses
            assert linked(start.text) and {page.status_code for page in pages} == {200}
            assert pushed > 0
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(STOPPED_S):
                _, complaints = await process.communicate()
            assert process.returncode == 0
            assert complaints == b""
            assert not await is_listening(url)
            assert not await is_listening(sandbox[1])


async def test_a_second_start_answers_and_a_killed_demo_takes_its_operators_along(
    repository: Path, tmp_path: Path, free_port: int
) -> None:
    keys = []
    for _ in range(2):
        async with demo(repository, tmp_path, free_port) as (process, printed):
            url, headers, body = pasted(printed)
            keys.append(headers["Authorization"])
            async with httpx.AsyncClient() as client:
                answer = (await client.post(url, headers=headers, content=body)).json()
                assert answer["data"]["nearbyStations"]["totalCount"] > 0
                old = await client.post(url, headers={**headers, "Authorization": keys[0]}, content=body)
                assert old.status_code == (200 if keys[0] == keys[-1] else 401)
            process.kill()
            await process.wait()
            sandbox = re.search(r"your own client against: +(http://127\.0\.0\.1:\d+)/", printed)
            assert sandbox is not None
            async with asyncio.timeout(STOPPED_S):
                while await is_listening(sandbox[1]):  # noqa: ASYNC110 - nothing tells when another process ends
                    await asyncio.sleep(0.05)
    assert keys[0] != keys[1]


def linked(page: str) -> list[str]:
    """What the page loads; nothing of it may come from elsewhere."""
    assert not re.search(r"""(?:src|href)=["'](?:\w+:)?//""", page)
    return re.findall(r"""(?:src|href)=["'](/[^"']+)["']""", page)


def evses(
    answer: dict[str, dict[str, dict[str, list[dict[str, dict[str, list[dict[str, str]]]]]]]],
) -> list[dict[str, str]]:
    return [evse for edge in answer["data"]["nearbyStations"]["edges"] for evse in edge["node"]["evses"]]


async def wait_for_pushes(client: httpx.AsyncClient, sandbox: str) -> int:
    async with asyncio.timeout(PUSHED_S):
        while True:
            operators = json.loads((await client.get(f"{sandbox}/control/pushes")).content)["operators"]
            accepted = sum(counts.get("accepted", 0) for counts in operators.values())
            if accepted:
                return int(accepted)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("words", [(), ("demo",), ("serve",), ("index",), ("keys",), ("keys", "create"), ("sandbox",)])
async def test_every_command_explains_itself(repository: Path, words: tuple[str, ...]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", *words, "--help", cwd=repository, stdout=PIPE, stderr=PIPE
    )
    printed, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    assert b"--help" in printed
