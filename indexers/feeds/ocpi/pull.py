"""Pulling an OCPI list: page after page by Link, of the same origin only, or from a file."""

import asyncio
import base64
import gzip
import io
import json
import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit
from uuid import uuid4

import msgspec
import orjson

from app.errors import FeedProtocolError, FeedUnreachableError
from app.model.clock import Instant, to_datetime
from indexers.feeds.ocpi.profile import FILE_PREFIX, Limits, OcpiProfile, TokenEncoding
from indexers.http_source import HttpAnswer, HttpSource

DELTA_OVERLAP_S = 60.0
_LIST_KEYS = ("data", "items", "locations")
_FIRST_SUCCESS, _FIRST_ERROR = 1_000, 2_000
_GZIP_MAGIC = b"\x1f\x8b"
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]*))*)')
_RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)
_OTHER: dict[TokenEncoding, TokenEncoding] = {"raw": "base64", "base64": "raw"}
_REFUSALS = frozenset({401, 403})
_LONGEST_WAIT_S = 30.0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some Locations as they were sent. ``expected_total`` is what the party says that there are in all."""

    locations: list[Any]
    expected_total: int | None = None
    incomplete: str | None = None


def read_envelope(body: bytes) -> tuple[list[Any], str | None]:
    """Return the list in an answer, and why it may not be all of it.

    Understood are OCPI's envelope (with nothing in it where there is nothing to tell), an object with only the list
    under ``data``, ``items`` or ``locations``, one Location alone, and a bare array. Raises FeedProtocolError
    for an OCPI status code from 2000 and for all else.
    """
    root = _parse(body)
    if isinstance(root, list):
        return root, None
    if not isinstance(root, dict):
        raise FeedProtocolError(f"the answer is a JSON {type(root).__name__}, not a list of locations")
    code = root.get("status_code")
    if isinstance(code, str) and code.strip().isascii() and code.strip().isdigit():
        code = int(code.strip()[:6])
    if isinstance(code, int) and not isinstance(code, bool) and code >= _FIRST_ERROR:
        raise FeedProtocolError(f"OCPI status {code}: {str(root.get('status_message') or '')[:200]}")
    for key in _LIST_KEYS:
        held = root.get(key)
        if isinstance(held, dict):
            held = next((held[inner] for inner in _LIST_KEYS if isinstance(held.get(inner), list)), [held])
        if isinstance(held, list):
            more = "the answer names a next page in a way that OCPI does not know" if root.get("next") else None
            return held, more
    if "id" in root and ("coordinates" in root or "evses" in root):
        return [root], None
    if isinstance(code, int) and _FIRST_SUCCESS <= code < _FIRST_ERROR and root.get("data") is None:
        return [], None
    raise FeedProtocolError("the answer holds no list of locations")


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as strict:
        try:  # NaN, raw control characters, broken UTF-8, UTF-16: one bad field must not lose a page
            text = body.decode(json.detect_encoding(body), errors="replace")
            lenient = json.loads(text, strict=False, parse_constant=lambda _: None)
            return orjson.loads(json.dumps(lenient, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError, orjson.JSONEncodeError):
            raise FeedProtocolError(f"the answer is not JSON: {strict}") from strict


async def read_file(profile: OcpiProfile) -> Page:
    """Return what a file holds. Raises FeedUnreachableError where it cannot be read."""
    path = Path(unquote(profile.url.removeprefix(FILE_PREFIX).removeprefix("//")))
    body = await asyncio.to_thread(_read_bounded, path, profile.limits.max_body_bytes)
    locations, incomplete = read_envelope(body)
    return Page(locations=locations, incomplete=incomplete)


def _read_bounded(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(most + 1)
        if body.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
                body = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FeedUnreachableError(f"{path.name} cannot be read: {told}") from error
    if len(body) > most:
        raise FeedProtocolError(f"{path.name} is larger than {most} bytes")
    return body


class Puller:
    """One party's list over HTTP. It remembers which encoding of the token the party took."""

    def __init__(self, profile: OcpiProfile, source: HttpSource) -> None:
        """Ask nothing yet."""
        self._profile = profile
        self._source = source
        self._encoding = profile.first_encoding

    async def pages(self, since: Instant | None) -> AsyncIterator[Page]:
        """Return the pages of one crawl.

        Raises FeedUnreachableError and FeedProtocolError. A crawl that ends before the end (a link elsewhere or to a
        page seen before, too many pages or empty ones, a total that shrank) says so in its last page.
        """
        limits = self._profile.limits
        url: str | None = self._first_url(since)
        seen: set[str] = set()
        empty = received = 0
        total: int | None = None
        while url is not None:
            seen.add(url)
            answer = await self._get(url)
            locations, incomplete = read_envelope(answer.body)
            received += len(locations)
            empty = 0 if locations else empty + 1
            before, total = total, _whole_number(answer.headers.get("x-total-count")) or total
            if before is not None and total is not None and total < before:
                incomplete = incomplete or f"the list shrank from {before} to {total} while it was read"
            url, refusal = self._next_url(url, answer.headers.get("link", ""), seen)
            refusal = refusal or _too_much(limits, len(seen), empty, url)
            if refusal is not None:
                url = None
            incomplete = incomplete or refusal
            if url is None and incomplete is None and total is not None and received < total:
                incomplete = f"{received} locations came of {total} that were announced"
            yield Page(locations=locations, expected_total=total, incomplete=incomplete)

    def _first_url(self, since: Instant | None) -> str:
        """Return the list's address with OCPI's parameters beside those that it has."""
        parts = urlsplit(self._profile.url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        stated = {name for name, _ in query}
        if self._profile.page_limit is not None and "limit" not in stated:
            query += [("offset", "0"), ("limit", str(self._profile.page_limit))]
        if since is not None and "date_from" not in stated:
            query.append(("date_from", to_datetime(max(0.0, since - DELTA_OVERLAP_S)).strftime("%Y-%m-%dT%H:%M:%SZ")))
        return urlunsplit(parts._replace(query=urlencode(query), fragment=""))

    def _next_url(self, url: str, link: str, seen: set[str]) -> tuple[str | None, str | None]:
        """Return the next page's address, or why the one that was given is not followed."""
        target = find_next_link(link)
        if target is None:
            return None, None
        try:
            following = _as_secure(urljoin(url, target), self._profile.url)
            same = _origin(following) == _origin(self._profile.url)
        except ValueError:
            return None, "the next page's address cannot be read"
        if not same:
            return None, f"the next page is said to be at {urlsplit(following).netloc[:100]}: refused, another origin"
        if following in seen:
            return None, "the next page is one that was read before"
        return following, None

    async def _get(self, url: str) -> HttpAnswer:
        limits = self._profile.limits
        for _ in range(limits.retries):
            try:
                answer = await self._get_authorized(url)
            except FeedUnreachableError:
                await asyncio.sleep(limits.retry_wait_s)
                continue
            if not _is_busy(answer):
                return _accepted(answer)
            wait_s = _whole_number(answer.headers.get("retry-after"))
            await asyncio.sleep(limits.retry_wait_s if wait_s is None else min(float(wait_s), _LONGEST_WAIT_S))
        answer = await self._get_authorized(url)
        if _is_busy(answer):
            raise FeedUnreachableError(f"HTTP {answer.status}")
        return _accepted(answer)

    async def _get_authorized(self, url: str) -> HttpAnswer:
        answer = await self._source.request("GET", url, headers=self._headers(self._encoding))
        other = _OTHER[self._encoding]
        if answer.status not in _REFUSALS or not self._can_send(other):
            return answer
        retried = await self._source.request("GET", url, headers=self._headers(other))
        if retried.status in _REFUSALS:
            return answer
        self._encoding = other
        return retried

    def _can_send(self, encoding: TokenEncoding) -> bool:
        token = self._profile.token
        return token is not None and (encoding == "base64" or (token.isascii() and token.isprintable()))

    def _headers(self, encoding: TokenEncoding) -> dict[str, str]:
        headers = {"Accept": "application/json", **self._profile.headers}
        if self._profile.version != "2.1.1":
            headers |= {"X-Request-ID": str(uuid4()), "X-Correlation-ID": str(uuid4())}
        token = self._profile.token
        if token is not None:
            token = token.strip()
            sent = base64.b64encode(token.encode()).decode() if encoding == "base64" else token
            headers["Authorization"] = f"Token {sent}"
        return headers


def _is_busy(answer: HttpAnswer) -> bool:
    return answer.status == 429 or answer.status >= 500


def _accepted(answer: HttpAnswer) -> HttpAnswer:
    if not 200 <= answer.status < 300:
        reasons = {401: ": the token was refused", 403: ": the token is not allowed to", 404: ": no such list"}
        raise FeedProtocolError(f"HTTP {answer.status}{reasons.get(answer.status, '')}")
    return answer


def find_next_link(header: str) -> str | None:
    """Return the address of ``rel="next"`` in a Link header (RFC 8288), or None."""
    for match in _LINK.finditer(header[:20_000]):
        relation = _RELATION.search(match[2])
        if relation is not None and "next" in (relation[1] or relation[2] or "").lower().split():
            return match[1].strip()
    return None


def _as_secure(url: str, registered: str) -> str:
    """Return http as https where the host is the registered one: a server behind a proxy does not know its scheme."""
    parts, own = urlsplit(url), urlsplit(registered)
    if (parts.scheme, own.scheme, parts.hostname) != ("http", "https", own.hostname):
        return url
    return urlunsplit(parts._replace(scheme="https", netloc=own.netloc)) if parts.port in {None, 80} else url


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else None


def _too_much(limits: Limits, pages: int, empty: int, url: str | None) -> str | None:
    if url is not None and pages >= limits.max_pages:
        return f"more than {limits.max_pages} pages"
    if url is not None and empty > limits.max_empty_pages:
        return f"{empty} empty pages one after another"
    return None
