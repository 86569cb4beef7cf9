"""Feeds: where the data comes from, and how its sources fare."""

from collections.abc import Mapping

import strawberry

from app.model.agreement import Grants
from app.model.feed import RunKind
from app.services.feed_health import FeedState, RunState
from schema.context import Info
from schema.cost import about
from schema.scalars import DateTime, Milliseconds, api_enum
from schema.station import DataRights

MAX_ERROR_CHARACTERS = 300
MAX_COUNTS = 100

api_enum(
    RunKind,
    "FeedRunKind",
    "What a run of a feed is about.",
    {
        "FULL": "Everything that the source has.",
        "DELTA": "What changed since the last run.",
        "STATUS": "Live status that we ask for.",
        "PUSH": "Live status that the operator sends.",
    },
)


@strawberry.type(description="How often something occurred.")
class NamedCount:
    """A name and a number."""

    name: str = strawberry.field(description="What was counted; stable.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="How one kind of run of a feed fares.")
class FeedRun:
    """The last run of a kind."""

    kind: RunKind = strawberry.field(description="What it is about.")
    started_at: DateTime = strawberry.field(description="When the last one began.")
    ended_at: DateTime = strawberry.field(description="When the last one ended, well or not.")
    last_success_at: DateTime | None = strawberry.field(description="When one last ended well; null: never yet.")
    lag_s: float | None = strawberry.field(description="Seconds since one last ended well; null: never yet.")
    received: int = strawberry.field(description="Stations that the source sent in the last run.")
    indexed: int = strawberry.field(description="Stations of these that were taken.")
    changed: int = strawberry.field(description="Stations of these that were new or different.")
    removed: int = strawberry.field(description="Stations that vanished because the source no longer has them.")
    statuses: int = strawberry.field(description="Live statuses that came with the last run.")
    repaired: list[NamedCount] = strawberry.field(
        description="Records by what was repaired or found doubtful.", directives=[about(10)]
    )
    rejected: list[NamedCount] = strawberry.field(
        description="Records that were refused, by reason.", directives=[about(10)]
    )
    unknown_codes: list[NamedCount] = strawberry.field(
        description="Values that have no meaning for us, as `member=value`; at most 100, the most frequent first.",
        directives=[about(10)],
    )
    incomplete: str | None = strawberry.field(description="Why nothing was removed; null where all was seen.")
    error: str | None = strawberry.field(description="Why the last run failed; null where it reached its end.")

    @classmethod
    def of(cls, run: RunState) -> "FeedRun":
        """Show a run."""
        last = run.last
        return cls(
            kind=last.kind,
            started_at=DateTime(last.started_at),
            ended_at=DateTime(last.ended_at),
            last_success_at=None if run.last_success_at is None else DateTime(run.last_success_at),
            lag_s=None if run.lag_s is None else round(run.lag_s, Milliseconds),
            received=last.received,
            indexed=last.indexed,
            changed=last.changed,
            removed=last.removed,
            statuses=last.statuses,
            repaired=_counts(last.repaired),
            rejected=_counts(last.rejected),
            unknown_codes=_counts(last.unknown_codes),
            incomplete=last.incomplete,
            error=None if last.error is None else last.error[:MAX_ERROR_CHARACTERS],
        )


@strawberry.type(description="One source of stations and live status, and how it fares.")
class Feed:
    """A feed as it is shown."""

    id: strawberry.ID = strawberry.field(description="The feed's name, the first part of its stations' ids.")
    title: str = strawberry.field(description="What people call it.")
    party: str = strawberry.field(description="The code of the company that speaks through it.")
    has_live_status: bool = strawberry.field(description="Whether it has live status at all.")
    data_rights: DataRights = strawberry.field(
        description="What you may do with its data, but for operators with whom you have other agreements."
    )
    station_count: int = strawberry.field(
        description="How many stations it has here now; where not all are yours to see, how many of them you can find."
    )
    newest_status_at: DateTime | None = strawberry.field(
        description=(
            "When its newest live status reached us; null: none since the service began, or some of it is not yours "
            "to see."
        )
    )
    runs: list[FeedRun] = strawberry.field(
        description="How its runs fare, one of each kind that ever ran, whoever may see what they brought.",
        directives=[about(4)],
    )

    @classmethod
    def of(cls, state: FeedState, grants: Grants) -> "Feed":
        """Show a feed with what a viewer may have of it."""
        info, newest = state.info, state.newest_status_at
        return cls(
            id=strawberry.ID(info.id),
            title=info.title,
            party=info.party,
            has_live_status=info.has_live_status,
            data_rights=DataRights.of(info.rights, grants),
            station_count=state.station_count,
            newest_status_at=None if newest is None else DateTime(newest),
            runs=[FeedRun.of(run) for run in state.runs],
        )


@strawberry.type
class FeedQuery:
    """Queries about feeds."""

    @strawberry.field(
        description="Every configured feed that this key may see, and how it fares.", directives=[about(10)]
    )
    async def feeds(self, info: Info) -> list[Feed]:
        """List the feeds."""
        context = info.context
        viewer = context.viewer
        states = await context.services.feed_health.list_feeds(viewer)
        return [Feed.of(state, viewer.by_feed[state.info.id]) for state in states]


def _counts(counts: Mapping[str, int]) -> list[NamedCount]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [NamedCount(name=name, count=count) for name, count in ordered[:MAX_COUNTS]]
