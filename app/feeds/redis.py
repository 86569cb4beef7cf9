"""The feed ledger in Redis: what any hub reported is what every hub knows, and one at a time indexes a feed."""

from app.feeds._reports import pack_report, unpack_report
from app.feeds.base import FeedLedger
from app.model.feed import FeedReport, RunKind
from app.redis import Redis, load_scripts, parse_endpoint

_MILLISECONDS = 1_000


class RedisFeedLedger(FeedLedger):
    """The ledger of all hubs that name one server."""

    def __init__(self, url: str) -> None:
        """Take the server's URL (``app.redis.parse_endpoint``). Raises SettingsError."""
        self._redis = Redis(parse_endpoint(url), load_scripts("app.feeds"), durable=True)

    async def open(self) -> None:
        """Connect. Raises UnavailableError."""
        await self._redis.open()

    async def close(self) -> None:
        """Finish what was asked for and drop the connection."""
        await self._redis.close()

    async def save_report(self, report: FeedReport) -> None:
        """Keep the report as the last one, and as the last good one when it has no error."""
        packed, places = pack_report(report)
        names = [_report_name(report.kind, good=good) for good in places]
        await self._redis.run("put", report.feed.encode(), packed, *names)

    async def find_report(self, feed: str, kind: RunKind, *, good: bool = False) -> FeedReport | None:
        """Return the last report, or the last good one, of a feed and kind."""
        return unpack_report(feed, await self._redis.run("get", feed.encode(), _report_name(kind, good=good)))

    async def find_note(self, feed: str, name: str) -> bytes | None:
        """Return what was noted last under a name."""
        found: bytes | None = await self._redis.run("get", feed.encode(), _note_name(name))
        return found

    async def save_note(self, feed: str, name: str, value: bytes) -> None:
        """Note something durably."""
        await self._redis.run("put", feed.encode(), value, _note_name(name))

    async def take_lease(self, feed: str, owner: str, ttl_s: float) -> int | None:
        """Take or renew the right to index a feed, by the server's clock."""
        milliseconds = str(int(ttl_s * _MILLISECONDS)).encode()
        fence: int | None = await self._redis.run("lease", feed.encode(), owner.encode(), milliseconds)
        return fence

    async def end_lease(self, feed: str, owner: str) -> None:
        """Give the right back, where it is the owner's."""
        await self._redis.run("release", feed.encode(), owner.encode())


def _report_name(kind: RunKind, *, good: bool) -> bytes:
    return f"report:{kind.value}:{'good' if good else 'last'}".encode()


def _note_name(name: str) -> bytes:
    return f"note:{name}".encode()
