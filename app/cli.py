"""The commands: ``demo | serve | index | rejections | keys | agreements | documents | sandbox | schema``."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.demo import run_demo
from app.errors import ChargegraphError
from app.main import serve as serve_hub
from app.main import serve_in_workers
from app.model.agreement import EVERYONE, Agreement, Grant
from app.model.clock import Instant, to_datetime
from app.model.feed import FeedReport, RunKind
from app.model.identity import SEPARATOR
from app.model.partner import ApiKey, PartnerKind, Scope
from app.partners.base import PartnerDirectory
from app.settings import SETTINGS, Settings, read_settings
from app.web.documents import read_manifests
from app.wiring import Hub, open_hub, open_ledger, open_partners
from indexers.base import AvailabilityFeed, Feed, StationFeed
from indexers.lease import under_lease
from indexers.pipeline import no_progress, run_full, run_status
from indexers.profiles import list_profiles
from indexers.sandbox.server import SandboxConfig
from indexers.sandbox.server import run as run_sandbox
from schema.engine import Engine
from schema.root import sdl

SDL_FILE = Path(__file__).parent.parent / "schema" / "schema.graphql"
INTERRUPTED = 130
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"]
T = TypeVar("T")

app = typer.Typer(
    name="python -m app",
    help="Chargegraph: from the operators' feeds to the nearest free charger, and a hold on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Settings come from the environment: " + ", ".join(setting.name for setting in SETTINGS),
)
keys = typer.Typer(help="Partners' API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
agreements = typer.Typer(
    help="What operators let partners have, beside what their feeds' rights say.", no_args_is_help=True
)
app.add_typer(agreements, name="agreements")

Stations = Annotated[int, typer.Option(help="Size of the sandbox's nation, in stations.", min=1, max=500_000)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same nation.")]


@app.command()
def demo(stations: Stations = 2_000, seed: Seed = 20_261_125) -> None:
    """Start nine sandbox operators, index them, and serve the API until Ctrl-C."""
    _run(run_demo(_settings(), dict(os.environ), stations, seed))


@app.command()
def serve(
    workers: Annotated[
        int, typer.Option(help="Processes on one port; more than one needs servers.", min=1, max=256)
    ] = 1,
    *,
    feeds: Annotated[
        bool, typer.Option("--feeds", help="Keep the feeds fresh, too; embedded stores always do.")
    ] = False,
) -> None:
    """Serve the API and operators' calls; with embedded stores or --feeds, keep the feeds fresh."""
    settings = _settings()

    def tell(url: str) -> None:
        print(f"Chargegraph answers on {url}/graphql", flush=True)

    async def started(_hub: Hub, url: str) -> None:
        tell(url)

    if workers == 1:
        _run(serve_hub(settings, dict(os.environ), started, feeds=feeds))
        return
    if feeds:
        _fail("--feeds is one process's work: serve with one worker there, and with several elsewhere")
    try:
        serve_in_workers(settings, workers, tell)
    except ChargegraphError as error:
        _fail(str(error))


@app.command()
def index(
    feeds: Annotated[list[str] | None, typer.Argument(help="Feeds; without any, all of CHARGEGRAPH_FEEDS.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
    status: Annotated[bool, typer.Option(help="Sweep the live status after the stations.")] = True,
    accept_shrink: Annotated[
        bool, typer.Option(help="Remove vanished stations even when a feed lost more than a tenth of them.")
    ] = False,
) -> None:
    """Index feeds once, completely, and report. Exit code 1 when a feed failed."""
    settings = _settings()
    if feeds:
        settings = msgspec.structs.replace(settings, feeds=tuple(feeds))
    if not settings.feeds:
        _fail("no feed to index: name one, or set CHARGEGRAPH_FEEDS")
    reports = _run(_index(settings, show=not as_json, status=status, accept_shrink=accept_shrink))
    if as_json:
        sys.stdout.write(msgspec.json.encode(reports).decode() + "\n")
    else:
        for report in reports:
            print(describe(report))
    if any(report.error for report in reports):
        raise typer.Exit(1)


@app.command()
def rejections(
    feed: Annotated[str, typer.Argument(help="The feed.")],
    kind: Annotated[RunKind, typer.Option(help="Which kind of run.")] = RunKind.FULL,
) -> None:
    """Show the records that the last run of a feed refused, one JSON object a line (a bounded sample)."""
    report = _run(_last_report(_settings(), feed, kind))
    if report is None:
        _fail(f"feed {feed!r} has no {kind.value} run yet")
    for rejection in report.samples:
        sys.stdout.write(msgspec.json.encode(rejection).decode() + "\n")


@app.command()
def sandbox(
    stations: Stations = 2_000,
    seed: Seed = 20_261_125,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65_535)] = 0,
    push_to: Annotated[str | None, typer.Option(help="The hub's inbound URL; without it nothing is pushed.")] = None,
    pushes_per_s: Annotated[float, typer.Option(help="Most pushes a second.", min=0.0, max=10_000.0)] = 5.0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line instead of shell exports.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input does, too.")] = False,
) -> None:
    """Run nine operators and an OCPI party to try against, over one seeded nation of stations, until Ctrl-C."""
    config = SandboxConfig(seed=seed, station_count=stations, port=port, push_to=push_to, pushes_per_s=pushes_per_s)
    run_sandbox(config, as_json=as_json, until_eof=until_eof)


@app.command()
def documents() -> None:
    """Check and count partners' trusted documents (CHARGEGRAPH_DOCUMENTS_DIR). Exit code 2 when one is wrong."""
    settings = _settings()
    if settings.documents_dir is None:
        _fail("there are no trusted documents: CHARGEGRAPH_DOCUMENTS_DIR names no folder")
    try:
        trusted = read_manifests(settings.documents_dir, Engine(compiled=False))
    except ChargegraphError as error:
        _fail(str(error))
    known = {key.partner.id for key in _run(_with_partners(lambda partners: partners.list_keys()))}
    for partner, theirs in sorted(trusted.items()):
        nobody = "" if partner in known else "  (no partner has this name: there is no key of it)"
        print(f"{partner}  {theirs.mode.value}  {len(theirs.texts)} documents{nobody}")


@app.command()
def schema(
    *, write: Annotated[bool, typer.Option("--write", help="Write schema/schema.graphql instead of printing.")] = False
) -> None:
    """Print the GraphQL schema."""
    if write:
        SDL_FILE.write_text(sdl(), encoding="utf-8")
    else:
        sys.stdout.write(sdl())


@keys.command("create")
def keys_create(
    partner: Annotated[str, typer.Argument(help="The partner's id: letters, digits and hyphens.")],
    kind: Annotated[PartnerKind, typer.Option(help="What the partner is for.")] = PartnerKind.NAVIGATION,
    scope: Annotated[list[Scope] | None, typer.Option(help="May be repeated; without it, discover.")] = None,
) -> None:
    """Make a key and print it. It is shown this once: only a hash of it is kept."""
    key, text = _run(_with_partners(lambda partners: partners.create_key(partner, kind, scope or [Scope.DISCOVER])))
    print(f"key {key.key_id} of {partner} ({kind.value}: {', '.join(sorted(s.value for s in key.partner.scopes))})")
    print(text)


@keys.command("list")
def keys_list() -> None:
    """List all keys, revoked ones too."""
    for key in _run(_with_partners(lambda partners: partners.list_keys())):
        print(_describe_key(key))


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")]) -> None:
    """End a key for good. Exit code 1 when there is no such key."""
    if not _run(_with_partners(lambda partners: partners.revoke_key(key_id))):
        _fail(f"there is no key {key_id!r} that could be revoked")
    print(f"key {key_id} is revoked")


Subject = Annotated[str, typer.Argument(help="A feed's name, or the id of one of its operators: FEED:PARTY.")]
With = Annotated[str, typer.Argument(help="The partner's id, or * for all whom no agreement names.")]
Since = Annotated[datetime | None, typer.Option("--from", formats=TIMES, help="When it begins, in UTC; now.")]
Until = Annotated[datetime | None, typer.Option(formats=TIMES, help="When it ends, in UTC; without it, never.")]


@agreements.command("create")
def agreements_create(
    subject: Subject,
    partner: With,
    grant: Annotated[list[Grant], typer.Option(help="May be repeated.")],
    since: Since = None,
    until: Until = None,
) -> None:
    """Let a partner have some things of a feed's or an operator's stations, and nothing else of them."""
    _agree(subject, partner, grant, since, until)


@agreements.command("embargo")
def agreements_embargo(subject: Subject, partner: With, since: Since = None, until: Until = None) -> None:
    """Hide a feed's or an operator's stations from a partner. What it holds already stays held."""
    _agree(subject, partner, (), since, until)


@agreements.command("list")
def agreements_list() -> None:
    """List all agreements, ended ones too."""
    for agreement in _run(_with_partners(lambda partners: partners.list_agreements())):
        print(_describe_agreement(agreement))


@agreements.command("end")
def agreements_end(agreement_id: Annotated[str, typer.Argument(help="The id that `agreements list` shows.")]) -> None:
    """End an agreement for good; what held without it holds again. Exit code 2 when there is no such agreement."""
    if not _run(_with_partners(lambda partners: partners.end_agreement(agreement_id))):
        _fail(f"there is no agreement {agreement_id!r} that could be ended")
    print(f"agreement {agreement_id} is ended")


def _agree(subject: str, partner: str, grants: Sequence[Grant], since: datetime | None, until: datetime | None) -> None:
    settings = _settings()
    known = list_profiles(() if settings.profiles_dir is None else (settings.profiles_dir,))
    if subject.partition(SEPARATOR)[0] not in known:
        _fail(f"{subject!r} is no feed and no operator of one; the feeds are {', '.join(known)}")

    async def make(partners: PartnerDirectory) -> tuple[Agreement, bool]:
        keys_of_all = await partners.list_keys()
        agreement = await partners.create_agreement(
            subject, partner, grants, not_before=_instant(since), expires_at=_instant(until)
        )
        return agreement, partner == EVERYONE or any(key.partner.id == partner for key in keys_of_all)

    agreement, is_known = _run(_with_partners(make))
    print(_describe_agreement(agreement))
    if not is_known:
        print(f"note: {partner} has no key yet; is its name spelled right?", file=sys.stderr)


def main() -> None:
    """Run the command line."""
    app()


def describe(report: FeedReport) -> str:
    """Return one plain line about a run."""
    seconds = report.ended_at - report.started_at
    parts = [
        f"{report.feed} {report.kind.value}: {report.received:,} received in {seconds:.1f} s",
        f"{report.indexed:,} indexed, {report.changed:,} changed, {report.removed:,} removed",
    ]
    if report.statuses:
        parts.append(f"{report.statuses:,} statuses")
    if report.repaired:
        parts.append("flagged " + _counts(report.repaired))
    if report.rejected:
        parts.append("rejected " + _counts(report.rejected))
    if report.unknown_codes:
        parts.append(f"{sum(report.unknown_codes.values()):,} unknown codes")
    if report.incomplete:
        parts.append(f"INCOMPLETE: {report.incomplete}")
    if report.error:
        parts.append(f"FAILED: {report.error}")
    return "; ".join(parts)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _describe_agreement(agreement: Agreement) -> str:
    grants = ",".join(grant.value for grant in Grant if grant in agreement.grants) or "EMBARGO"
    times = (
        ("made", agreement.made_at),
        ("from", agreement.not_before),
        ("until", agreement.expires_at),
        ("ended", agreement.ended_at),
    )
    told = "".join(f"  {name} {to_datetime(at):%Y-%m-%d %H:%M}Z" for name, at in times if at is not None)
    return f"{agreement.id}  {agreement.subject}  {agreement.partner_id}  {grants}{told}"


def _instant(time: datetime | None) -> Instant | None:
    return None if time is None else time.replace(tzinfo=UTC).timestamp()


def _describe_key(key: ApiKey) -> str:
    scopes = ",".join(sorted(scope.value for scope in key.partner.scopes))
    ended = "" if key.revoked_at is None else f"  revoked {to_datetime(key.revoked_at):%Y-%m-%d %H:%M}Z"
    made = f"{to_datetime(key.created_at):%Y-%m-%d %H:%M}Z"
    return f"{key.key_id}  {key.partner.id}  {key.partner.kind.value}  {scopes}  made {made}{ended}"


async def _index(settings: Settings, *, show: bool, status: bool, accept_shrink: bool) -> list[FeedReport]:
    async with open_hub(settings, dict(os.environ)) as hub:
        with _bars(show=show) as tell:

            async def index_one(feed: Feed) -> list[FeedReport]:
                reports = []
                if isinstance(feed, StationFeed):
                    reports.append(await run_full(feed, hub.ports, tell, accept_shrink=accept_shrink))
                if status and isinstance(feed, AvailabilityFeed):
                    reports.append(await run_status(feed, hub.ports, tell))
                return reports

            async def index_alone(feed: Feed) -> list[FeedReport]:
                reports = await under_lease(hub.ports.ledger, feed.feed, lambda: index_one(feed))
                if reports is not None:
                    return reports
                now = hub.ports.clock()
                busy = "another process indexes it now; nothing was done"
                return [FeedReport(feed=feed.feed, kind=RunKind.FULL, started_at=now, ended_at=now, error=busy)]

            return [report for reports in await asyncio.gather(*map(index_alone, hub.feeds)) for report in reports]


def _bars(*, show: bool) -> AbstractContextManager[Callable[[str, int, int | None], None]]:
    """Return how progress is told: bars on a terminal, a plain line now and then elsewhere, nothing for --json."""
    console = Console(stderr=True)
    if not show:
        return nullcontext(no_progress)
    return _Bars(console) if console.is_terminal else nullcontext(_PlainLines().tell)


class _Bars:
    """A bar for each feed."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Callable[[str, int, int | None], None]:
        self._progress.start()
        return self.tell

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, feed: str, received: int, expected: int | None) -> None:
        if feed not in self._tasks:
            self._tasks[feed] = self._progress.add_task(feed)
        self._progress.update(self._tasks[feed], completed=received, total=expected)


class _PlainLines:
    """A line whenever a feed has gone on by another tenth of what it announced."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def tell(self, feed: str, received: int, expected: int | None) -> None:
        tenth = 10 * received // expected if expected else received // 10_000
        if self._told.get(feed) != tenth:
            self._told[feed] = tenth
            of = "?" if expected is None else f"{expected:,}"
            print(f"{feed}: {received:,} of {of}", file=sys.stderr, flush=True)


async def _last_report(settings: Settings, feed: str, kind: RunKind) -> FeedReport | None:
    async with open_ledger(settings) as ledger:
        return await ledger.find_report(feed, kind)


async def _with_partners(work: Callable[[PartnerDirectory], Awaitable[T]]) -> T:
    async with open_partners(_settings()) as partners:
        return await work(partners)


def _settings() -> Settings:
    try:
        return read_settings(os.environ)
    except ChargegraphError as error:
        _fail(str(error))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; our own errors become one line and exit code 2."""
    try:
        return asyncio.run(work)
    except ChargegraphError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _fail(message: str) -> NoReturn:
    print(f"chargegraph: {message}", file=sys.stderr)
    raise typer.Exit(2)
