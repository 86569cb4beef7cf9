"""The subscription to what changes: stations that enter an answer, leave it, or look otherwise."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry
from strawberry.federation.schema_directives import Cost

from app.errors import InvalidInputError
from app.model.datum import Datum
from app.model.search import Area, Near
from app.services.sightings import Sighting
from app.services.station_search import MAX_IDS
from app.services.watching import MAX_CHANGES_AT_ONCE, MAX_STATIONS_A_WATCH, Change, ChangeKind, Following, News, What
from schema import geometry
from schema.context import Context, Info, Source
from schema.cost import about, at_most
from schema.geometry import BoundingBoxInput, PositionInput
from schema.scalars import DateTime, GeoJson, api_enum
from schema.station import Filter, InputDatum, Station, read_radius
from schema.station_filter import StationFilterInput, read_filter
from schema.station_route import read_corridor

api_enum(
    ChangeKind,
    "ChangeKind",
    "What became of a station.",
    {
        "ENTERED": "It belongs to the answer from now on.",
        "LEFT": "It no longer belongs to the answer: it ceased to match, or to exist for this key.",
        "CHANGED": "It still belongs to the answer, and something of it looks otherwise than before.",
    },
)


@strawberry.type(description="What became of one station.")
class AvailabilityChange:
    """A change as it is shown."""

    kind: ChangeKind = strawberry.field(description="What became of it.")
    station_id: strawberry.ID = strawberry.field(description="The station.")
    station: Station | None = strawberry.field(
        description="The station as it is now; null where this key may no longer see it."
    )


@strawberry.type(description="What changed since the event before.")
class AvailabilityChanges:
    """An event as it is shown."""

    changes: list[AvailabilityChange] = strawberry.field(
        description="At most 100 changes, at most one of each station. They apply in any order, and more than once.",
        directives=[about(MAX_CHANGES_AT_ONCE)],
    )
    at: DateTime = strawberry.field(description="The moment that the stations are shown at.")
    resynced: bool = strawberry.field(
        description="Whether all is told anew, beginning with this event, as it is in the first: forget what you had."
    )
    more: bool = strawberry.field(description="Whether more of the same follows at once.")
    joined: int = strawberry.field(
        description=(
            "How many rounds of changes are joined in this event: 1 for who reads as fast as they come. More, where "
            "the reader was slow: of what changed several times meanwhile it is told the newest alone."
        )
    )

    @classmethod
    async def of(cls, news: News, context: Context) -> "AvailabilityChanges":
        """Show news."""
        station_ids = [change.station_id for change in news.changes]
        seen: list[Sighting | None] = []
        for first in range(0, len(station_ids), MAX_IDS):
            seen += await context.services.search.find_stations(context.viewer, station_ids[first : first + MAX_IDS])
        stations = await Station.of_each(seen, context)
        return cls(
            changes=[_shown(change, station) for change, station in zip(news.changes, stations, strict=True)],
            at=DateTime(context.services.clock()),
            resynced=news.resynced,
            more=news.more,
            joined=news.joined,
        )


def _shown(change: Change, station: Station | None) -> AvailabilityChange:
    return AvailabilityChange(kind=change.kind, station_id=strawberry.ID(change.station_id), station=station)


class _Changes(Source[News, AvailabilityChanges]):
    """What a subscriber is told of a watch."""

    def __init__(self, context: Context, following: Following) -> None:
        super().__init__(context)
        self._following = following
        self._looked_at = 0

    async def ready(self) -> bool:
        return await self._following.ready()

    def take(self) -> News:
        return self._following.take()

    async def show(self, told: News, context: Context) -> AvailabilityChanges:
        self._looked_at = self._following.look(told)
        return await AvailabilityChanges.of(told, context)

    def written(self, told: News) -> None:
        self._following.look_again(told, self._looked_at)

    def retell(self) -> None:
        self._following.forget()

    def close(self) -> None:
        self._following.close()


@strawberry.type
class AvailabilitySubscription:
    """Subscriptions to stations."""

    @strawberry.subscription(
        description=(
            "What changes at some stations: those with these ids, or those near a position, in an area or along a "
            "route; give one of the five. The first event says what is there now, and there is one a second at most. A "
            "change is any other status of an Evse, whether by news, by a hold or because its news went stale; with a "
            "filter stations also enter and leave as they begin and cease to match. At most 2000 stations may match "
            "the filter, its live criteria aside."
        ),
        directives=[Cost(weight=50)],
        **at_most("stationIds", MAX_CHANGES_AT_ONCE, "changes"),
    )
    async def availability_changed(
        self,
        info: Info,
        station_ids: Annotated[
            list[strawberry.ID] | None,
            strawberry.argument(description="At most 2000 ids. Those that this key may not see are left out."),
        ] = None,
        near: Annotated[
            PositionInput | None, strawberry.argument(description="The centre; it needs `radiusM`.")
        ] = None,
        radius_m: Annotated[
            float | None,
            strawberry.argument(description="Great-circle metres: more than 0, at most 100000.", name="radiusM"),
        ] = None,
        box: Annotated[BoundingBoxInput | None, strawberry.argument(description="A box, edges included.")] = None,
        polygon: Annotated[
            GeoJson | None, strawberry.argument(description="A Polygon or MultiPolygon, as of `stationsInArea`.")
        ] = None,
        route: Annotated[
            GeoJson | None,
            strawberry.argument(description="A LineString, as of `stationsAlongRoute`; it needs `corridorM`."),
        ] = None,
        corridor_m: Annotated[
            float | None,
            strawberry.argument(
                description="Great-circle metres off the route, inclusive: more than 0, at most 20000.",
                name="corridorM",
            ),
        ] = None,
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> AsyncIterator[AvailabilityChanges]:
        """Follow stations."""
        given = {
            name: value
            for name, value in (
                ("stationIds", station_ids),
                ("near", near),
                ("box", box),
                ("polygon", polygon),
                ("route", route),
            )
            if value is not None
        }
        if len(given) != 1:
            raise InvalidInputError("stationIds", "give one of stationIds, near, box, polygon and route")
        if (near is None) != (radius_m is None):
            raise InvalidInputError("radiusM", "near and radiusM go together")
        if (route is None) != (corridor_m is None):
            raise InvalidInputError("corridorM", "route and corridorM go together")
        what: What
        if station_ids is not None:
            what = _read_ids(station_ids, wanted)
        elif near is not None and radius_m is not None:
            center = geometry.read_position("near", near.lon, near.lat, datum)
            what = Near(center=center, radius_m=read_radius(radius_m))
        elif box is not None:
            what = Area(box=geometry.read_box(box, datum))
        elif polygon is not None:
            what = Area(polygons=geometry.read_polygons(polygon, datum))
        else:
            assert corridor_m is not None
            what = await read_corridor(route, corridor_m, datum)
        context = info.context
        following = await context.services.watching.follow(context.viewer, what, read_filter(wanted))
        return _Changes(context, following)


def _read_ids(station_ids: list[strawberry.ID], wanted: StationFilterInput | None) -> tuple[str, ...]:
    if len(station_ids) > MAX_STATIONS_A_WATCH:
        problem = f"{len(station_ids)} ids are more than {MAX_STATIONS_A_WATCH}; subscribe several times"
        raise InvalidInputError("stationIds", problem)
    if wanted is not None and wanted.text:
        raise InvalidInputError("filter.text", "text does not go with stationIds")
    return tuple(dict.fromkeys(station_ids))
