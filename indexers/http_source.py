"""Polite, bounded HTTP: what every feed asks its operator's platform with.

Nothing that a platform sends can cost more than it was allowed to: a rate, calls in flight, a silence, a whole
exchange, the bytes of a body before and after decompression. Nothing is followed (no redirects) and nothing is kept
(no cookies), and the environment (proxies, .netrc) is not read.
"""

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx
import msgspec

from app.errors import FeedError, FeedProtocolError, FeedUnreachableError
from app.telemetry import metrics, tracing

USER_AGENT = "chargegraph"
EXCHANGE_FACTOR = 3
"""A whole exchange may take this many times the longest silence that is allowed."""

_AUTO_WINDOW = zlib.MAX_WBITS | 32  # gzip or zlib, as the first bytes say
_RAW_WINDOW = -zlib.MAX_WBITS
_BREAKS = ("Server disconnected", "peer closed connection")


class HttpAnswer(msgspec.Struct, frozen=True):
    """What the platform answered, whatever its status: header names in lower case, the body decompressed."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpSource:
    """One platform's door. Connections are kept alive; one object serves any number of concurrent calls."""

    def __init__(
        self,
        *,
        requests_per_s: float,
        in_flight: int,
        timeout_s: float,
        max_body_bytes: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Bound the traffic: ``timeout_s`` is the longest silence while connecting, writing or reading; a whole
        exchange gets ``EXCHANGE_FACTOR`` times that. ``max_body_bytes`` holds before and after decompression.
        """
        self._interval_s = 1.0 / requests_per_s
        self._next_start_s = 0.0
        self._places = asyncio.Semaphore(in_flight)
        self._exchange_s = timeout_s * EXCHANGE_FACTOR
        self._max_body_bytes = max_body_bytes
        limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight, keepalive_expiry=30.0)
        self._client = httpx.AsyncClient(
            transport=transport or httpx.AsyncHTTPTransport(verify=_trusted(), limits=limits, trust_env=False),
            timeout=httpx.Timeout(timeout_s),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> HttpAnswer:
        """Return the answer, whatever its status, once it is this call's turn.

        Raises FeedUnreachableError (no connection, time-out, broken off) and FeedProtocolError (not HTTP, too large,
        an encoding that cannot be undone, an address that is none).
        """
        async with self._places:
            await self._pace()
            try:
                with metrics.engine_call("operator", method.lower(), **{"server.address": _host(url)}) as span:
                    async with (
                        asyncio.timeout(self._exchange_s),
                        self._client.stream(
                            method, url, headers=dict(tracing.carry(headers)), content=content
                        ) as response,
                    ):
                        span.set("http.response.status_code", response.status_code)
                        body = await self._read(response)
                        return HttpAnswer(response.status_code, dict(response.headers), body)
            except TimeoutError as error:
                raise FeedUnreachableError(f"{method}: not finished after {self._exchange_s:g} s") from error
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError, ExceptionGroup) as error:
                raise feed_error(error, method) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _pace(self) -> None:
        now_s = asyncio.get_running_loop().time()
        start_s = max(now_s, self._next_start_s)
        self._next_start_s = start_s + self._interval_s
        if start_s > now_s:
            await asyncio.sleep(start_s - now_s)

    async def _read(self, response: httpx.Response) -> bytes:
        most = self._max_body_bytes
        stated = response.headers.get("content-length", "")
        if stated.isascii() and stated.isdigit() and int(stated[:20]) > most:
            raise FeedProtocolError(f"the answer states {stated[:20]} bytes; at most {most} are read")
        body = bytearray()
        unpack = _unpacker(response.headers.get("content-encoding", ""), most)
        received = 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
            if received > most:
                raise FeedProtocolError(f"the answer is larger than {most} bytes")
            if unpack is None:
                body += chunk
            else:
                unpack.feed(chunk, body)
        if unpack is not None and received:
            unpack.finish()
        return bytes(body)


def _host(url: str) -> str:
    """Return what may be told of an address, which may carry a key."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@cache
def _trusted() -> ssl.SSLContext:
    """Read the certificates that we trust once: it takes longer than all else that a feed needs to begin."""
    return httpx.create_ssl_context(trust_env=False)


def feed_error(error: Exception, method: str) -> FeedError:
    """Return what a failure of the client library means to us.

    The address is left out of the message, because it may carry a key in its query.
    """
    text = f"{method}: {type(error).__name__}: {error}"
    broken_off = isinstance(error, httpx.RemoteProtocolError) and str(error).startswith(_BREAKS)
    if broken_off or isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.ProxyError | OSError):
        return FeedUnreachableError(text)
    return FeedProtocolError(text)


def _unpacker(encoding: str, most: int) -> "_Unpacker | None":
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name in {"gzip", "x-gzip", "deflate"}:
        return _Unpacker(most)
    raise FeedProtocolError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")


class _Unpacker:
    """Undoes gzip and deflate (with or without zlib's frame) piece by piece, and never beyond the limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._engine = zlib.decompressobj(_AUTO_WINDOW)
        self._started = False

    def feed(self, chunk: bytes, body: bytearray) -> None:
        try:
            while chunk:
                if self._engine.eof:  # gzip members may follow one another
                    self._engine = zlib.decompressobj(_AUTO_WINDOW)
                body += self._step(chunk, self._most - len(body) + 1)
                if len(body) > self._most:
                    raise FeedProtocolError(f"the answer is larger than {self._most} bytes when decompressed")
                chunk = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
        except zlib.error as error:
            raise FeedProtocolError(f"the answer is not compressed as it says: {error}") from error

    def finish(self) -> None:
        if not self._engine.eof:
            raise FeedProtocolError("the compressed answer breaks off")

    def _step(self, chunk: bytes, most: int) -> bytes:
        try:
            unpacked = self._engine.decompress(chunk, most)
        except zlib.error:
            if self._started:
                raise
            self._engine = zlib.decompressobj(_RAW_WINDOW)  # what some servers send as "deflate"
            unpacked = self._engine.decompress(chunk, most)
        self._started = True
        return unpacked
