"""HttpSource against real servers on loopback that misbehave in every way we could think of."""

import asyncio
import contextlib
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FeedError, FeedProtocolError, FeedUnreachableError
from indexers.http_source import EXCHANGE_FACTOR, HttpSource, feed_error

Talk = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
MOST_BYTES = 100_000


@contextlib.asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[str]:
    """Serve on loopback; ``talk`` gets the head of each request on a connection that stays open while it likes."""
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                await talk(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def asking(
    *, requests_per_s: float = 10_000, in_flight: int = 4, timeout_s: float = 0.3, max_body_bytes: int = MOST_BYTES
) -> AsyncIterator[HttpSource]:
    source = HttpSource(
        requests_per_s=requests_per_s, in_flight=in_flight, timeout_s=timeout_s, max_body_bytes=max_body_bytes
    )
    try:
        yield source
    finally:
        await source.close()


def answering(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> Talk:
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return talk


async def fetch(talk: Talk, **limits: float) -> tuple[int, dict[str, str], bytes]:
    async with serving(talk) as url, asking(**limits) as source:  # type: ignore[arg-type]
        answer = await source.request("GET", url + "/list", headers={})
        return answer.status, answer.headers, answer.body


async def test_status_headers_and_body_come_back_whatever_the_status_is():
    status, headers, body = await fetch(answering(b"gone", "X-Total-COUNT: 7", status="404 Not Found"))
    assert (status, headers["x-total-count"], body) == (404, "7", b"gone")


async def test_what_we_send_is_what_was_asked_for_and_our_name():
    heard: list[bytes] = []

    async def talk(head: bytes, writer: asyncio.StreamWriter) -> None:
        heard.append(head)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(talk) as url, asking() as source:
        await source.request("POST", url + "/a?b=c", headers={"Authorization": "Token x"}, content=b"")
    head = heard[0].decode().lower()
    assert head.startswith("post /a?b=c http/1.1\r\n")
    assert "\r\nauthorization: token x\r\n" in head
    assert "\r\nuser-agent: chargegraph\r\n" in head


async def test_redirects_are_answers_and_cookies_are_forgotten():
    heard: list[bytes] = []

    async def talk(head: bytes, writer: asyncio.StreamWriter) -> None:
        heard.append(head)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with serving(talk) as url, asking() as source:
        assert (await source.request("GET", url, headers={})).status == 302
        await source.request("GET", url, headers={})
    assert len(heard) == 2
    assert b"cookie" not in heard[1].lower()


async def test_connections_are_kept():
    ports: set[int] = set()

    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(talk) as url, asking() as source:
        for _ in range(10):
            await source.request("GET", url, headers={})
    assert len(ports) == 1


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity", ""])
async def test_bodies_are_decompressed(encoding: str):
    plain = "电".encode() * 5_000
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(plain[:6_000], mtime=0) + gzip.compress(plain[6_000:]),  # members may follow one another
        "x-gzip": gzip.compress(plain, mtime=0),
        "deflate": zlib.compress(plain),
        "raw deflate": raw.compress(plain) + raw.flush(),
    }.get(encoding, plain)
    header = [f"Content-Encoding: {encoding.removeprefix('raw ')}"] if encoding else []
    assert (await fetch(answering(packed, *header)))[2] == plain


async def test_an_endless_page_is_left_at_the_limit():
    sent = 0

    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _piece in range(20_000):  # more than 1 GB
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()
            sent += 65_536

    with pytest.raises(FeedProtocolError, match="larger than 100000 bytes"):
        await fetch(talk, timeout_s=5)
    assert sent < 50_000_000


async def test_a_stated_length_beyond_the_limit_is_not_read():
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")

    with pytest.raises(FeedProtocolError, match="states 1000000000 bytes"):
        await fetch(talk)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_bomb_is_unpacked_no_further_than_the_limit(pack: Callable[[bytes], bytes]):
    bomb = pack(bytes(50_000_000))
    encoding = "gzip" if pack is gzip.compress else "deflate"
    talk = answering(bomb, f"Content-Encoding: {encoding}")
    tracemalloc.start()
    try:
        with pytest.raises(FeedProtocolError, match="when decompressed"):
            await fetch(talk, timeout_s=5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"plain", "gzip"), (gzip.compress(b"x" * 1000, mtime=0)[:-12], "gzip"), (b"x", "br"), (b"x", "gzip, gzip")],
)
async def test_an_encoding_that_cannot_be_undone_is_refused(body: bytes, encoding: str):
    with pytest.raises(FeedProtocolError):
        await fetch(answering(body, f"Content-Encoding: {encoding}"))


async def test_an_encoded_answer_without_a_body_is_empty():
    assert (await fetch(answering(b"", "Content-Encoding: gzip")))[2] == b""


async def silence(_: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def silence_after_the_head(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    await writer.drain()
    await asyncio.sleep(3600)


async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def reset(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hang_up_midway(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("talk", [silence, silence_after_the_head, drip, reset, hang_up, hang_up_midway])
async def test_silence_drips_and_broken_lines_end_in_time_as_unreachable(talk: Talk):
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(FeedUnreachableError):
        await fetch(talk, timeout_s=0.2)
    assert loop.time() - begin < 0.2 * EXCHANGE_FACTOR + 2


async def test_nobody_at_home_is_unreachable(free_port: int):
    async with asking() as source:
        with pytest.raises(FeedUnreachableError):
            await source.request("GET", f"http://127.0.0.1:{free_port}/", headers={})


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://", "http://[::1/", "nonsense", "http://127.0.0.1:99999/"])
async def test_an_address_that_is_none_is_a_protocol_error(url: str):
    async with asking() as source:
        with pytest.raises(FeedError):
            await source.request("GET", url, headers={})


async def test_a_header_that_cannot_be_sent_is_a_protocol_error_and_sends_nothing():
    async with serving(answering(b"")) as url, asking() as source:
        for value in ("密", "a\r\nX: y"):
            with pytest.raises(FeedProtocolError):
                await source.request("GET", url, headers={"X-Secret": value})


async def test_one_bad_answer_harms_no_other():
    async def talk(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/bad" in head:
            writer.write(b"\x00\xff garbage\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(talk) as url, asking(in_flight=2) as source:
        calls = [source.request("GET", f"{url}/{'bad' if n % 2 else 'good'}", headers={}) for n in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, FeedProtocolError) for answer in answers[1::2])
    assert [answer.body for answer in answers[::2] if not isinstance(answer, BaseException)] == [b"ok"] * 10


async def test_the_rate_and_the_calls_in_flight_are_kept():
    now = most = 0
    starts: list[float] = []
    loop = asyncio.get_running_loop()

    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        starts.append(loop.time())
        await asyncio.sleep(0.1)
        now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serving(talk) as url, asking(requests_per_s=50, in_flight=3, timeout_s=5) as source:
        await asyncio.gather(*(source.request("GET", url, headers={}) for _ in range(9)))
    assert most <= 3
    assert starts[-1] - starts[0] >= 8 / 50 * 0.9


@given(noise=st.binary(max_size=400), head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_whatever_bytes_a_server_sends_it_is_an_answer_or_our_error(noise: bytes, head: bytes):
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head + noise)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with serving(talk) as url, asking(timeout_s=1) as source:
            with contextlib.suppress(FeedError):
                answer = await source.request("GET", url, headers={})
                assert len(answer.body) <= MOST_BYTES

    asyncio.run(scenario())


def _library_errors() -> list[type[Exception]]:
    found: list[type[Exception]] = [httpx.InvalidURL]
    ahead: list[type[Exception]] = [httpx.HTTPError, httpx.StreamError]
    while ahead:
        error = ahead.pop()
        found.append(error)
        ahead.extend(error.__subclasses__())
    return [error for error in found if error.__module__.startswith("httpx")]


@pytest.mark.parametrize("error", _library_errors(), ids=lambda error: error.__name__)
def test_every_error_of_the_client_library_has_a_meaning(error: type[Exception]):
    request = httpx.Request("GET", "https://example.com/secret-in-the-address")
    made: Exception
    if issubclass(error, httpx.HTTPStatusError):
        made = error("busy", request=request, response=httpx.Response(503))
    elif issubclass(error, httpx.StreamConsumed | httpx.StreamClosed | httpx.ResponseNotRead | httpx.RequestNotRead):
        made = error()
    else:
        made = error("went wrong")
    meaning = feed_error(made, "GET")
    assert isinstance(meaning, FeedUnreachableError if issubclass(error, _WORTH_ANOTHER_TRY) else FeedProtocolError)
    assert "secret-in-the-address" not in str(meaning)


_WORTH_ANOTHER_TRY = (httpx.TimeoutException, httpx.NetworkError, httpx.ProxyError)


def test_a_broken_line_under_encryption_is_unreachable():
    assert isinstance(feed_error(ssl.SSLError("broken"), "GET"), FeedUnreachableError)
