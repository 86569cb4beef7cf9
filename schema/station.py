"""Stations, and the searches that find them."""

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

import msgspec
import strawberry
from graphql import FieldNode

from app.errors import InvalidInputError
from app.model import opening
from app.model import station as model
from app.model.agreement import Grants
from app.model.availability import Availability
from app.model.datum import Datum
from app.model.feed import FeedRights
from app.model.search import MAX_RADIUS_M, Area, Near, Position, StationFilter, Where
from app.model.station import NO_FEES, Access, Flag, ParkingPlace, Presence
from app.services.sightings import Mark, Sighting, StationView
from app.services.station_search import MAX_IDS, Found, FoundPage
from schema import geometry
from schema.context import Context, Info
from schema.cost import SEARCH_WEIGHT, about, each, page
from schema.evse import Evse
from schema.execution import Fragmented
from schema.geometry import BoundingBoxInput, PositionInput, StatedPosition
from schema.operator import Operator
from schema.pagination import DEFAULT_PAGE_SIZE, PageInfo, digest_of, page_info, page_size, read_cursor, write_cursor
from schema.scalars import DateTime, GeoJson, api_enum
from schema.shown import shown
from schema.station_filter import StationFilterInput, read_filter

EVSES = 8
"""How many Evses a station is taken to have when an operation is costed: the mean of the nation."""

_CHINA = "CN"
api_enum(
    ParkingPlace,
    "ParkingPlace",
    "What kind of place the bays are in.",
    {
        "UNKNOWN": "The source does not say.",
        "ON_STREET": "At the kerb.",
        "PARKING_LOT": "A parking lot.",
        "GARAGE": "A parking garage.",
        "UNDERGROUND": "An underground garage.",
        "MOTORWAY": "A motorway's service area.",
        "DRIVEWAY": "A private driveway.",
    },
)


@strawberry.type(description="A postal address in its parts. A part that the source does not state is null.")
class PostalAddress:
    """An address in parts."""

    text: str | None = strawberry.field(description="Street and number, or the whole address in one line.")
    city: str | None = strawberry.field(description="The city.")
    region: str | None = strawberry.field(description="The province or state.")
    postal_code: str | None = strawberry.field(description="The postal code.")
    country: str | None = strawberry.field(description="ISO 3166-1 alpha-2.")
    area_code: str | None = strawberry.field(description="The county's code of GB/T 2260.")


@strawberry.type(description="Open on one weekday from one minute to another, in the station's local time.")
class OpeningPeriod:
    """One period of a week."""

    day: int = strawberry.field(description="ISO weekday: 1 Monday to 7 Sunday.")
    start_min: int = strawberry.field(description="Minutes after midnight at which it opens.")
    end_min: int = strawberry.field(
        description="Minutes after that day's midnight at which it closes; above 1440 on the next day."
    )


@strawberry.type(description="A time in which the station is open or closed whatever the week says.")
class OpeningException:
    """One exception."""

    start: DateTime = strawberry.field(description="When it begins.")
    end: DateTime = strawberry.field(description="When it ends.")
    open: bool = strawberry.field(description="Whether the station is open in it.")


@strawberry.type(description="When a station is open, as far as the source's wording is understood.")
class OpeningHours:
    """Opening hours as they are shown."""

    always_open: bool | None = strawberry.field(
        description="Whether it never closes; null where only `weekly` is known, or nothing."
    )
    weekly: list[OpeningPeriod] = strawberry.field(
        description="The periods of a week; empty where not understood.", directives=[about(7)]
    )
    exceptions: list[OpeningException] = strawberry.field(
        description="What differs from the week.", directives=[about(2)]
    )
    raw: str | None = strawberry.field(description="The source's own wording, where it has one.")

    @classmethod
    def of(cls, hours: opening.OpeningHours) -> "OpeningHours":
        """Show opening hours."""
        return cls(
            always_open=hours.always_open,
            weekly=[OpeningPeriod(day=p.day, start_min=p.start_min, end_min=p.end_min) for p in hours.weekly],
            exceptions=[
                OpeningException(start=DateTime(e.start), end=DateTime(e.end), open=e.open) for e in hours.exceptions
            ],
            raw=hours.raw,
        )


@strawberry.type(description="Prices in the source's words: text to be shown, not to be computed with.")
class StatedFees:
    """Fees as they are stated."""

    electricity: str | None = strawberry.field(description="The price of energy.")
    service: str | None = strawberry.field(description="The service fee.")
    parking: str | None = strawberry.field(description="The parking fee.")
    payment: str | None = strawberry.field(description="How one pays.")


@strawberry.type(description="What you may do with the data, by the contract with its source and your agreements.")
class DataRights:
    """A feed's rights, and a viewer's grants, as they are shown."""

    may_republish: bool = strawberry.field(description="Whether you may show it to the public.")
    may_see_status: bool = strawberry.field(
        description="Whether its live status is told you; otherwise every Evse is NOT_LIVE to you."
    )
    may_show_price: bool = strawberry.field(description="Whether fees may be shown; otherwise they are left out here.")
    may_reserve: bool = strawberry.field(description="Whether you may hold Evses, where they can be held.")
    attribution: str | None = strawberry.field(description="Whom to name where it is shown; null where nobody.")
    licence: str | None = strawberry.field(description="The licence, where there is one.")

    @classmethod
    def of(cls, rights: FeedRights, grants: Grants) -> "DataRights":
        """Show a feed's rights and a viewer's grants."""
        return cls(
            may_republish=rights.may_republish,
            may_see_status=grants.status,
            may_show_price=grants.price,
            may_reserve=grants.reserve,
            attribution=rights.attribution,
            licence=rights.licence,
        )


@strawberry.type(description="How many of a station's Evses are free now, as far as is known.")
class StationAvailability:
    """Counts over a station's Evses."""

    available: int = strawberry.field(description="Evses that are AVAILABLE.")
    total: int = strawberry.field(description="All Evses of the station.")
    unknown: int = strawberry.field(description="Evses of which nobody knows: UNKNOWN or NOT_LIVE.")
    stale: bool = strawberry.field(description="Whether the news of any Evse is too old to claim anything.")
    as_of: DateTime | None = strawberry.field(
        description="When the oldest news behind these counts was observed; null without any news."
    )

    @classmethod
    def of(cls, view: StationView) -> "StationAvailability":
        """Count a station's Evses."""
        shown = [evse.availability for evse in view.evses]
        return cls(
            available=shown.count(Availability.AVAILABLE),
            total=len(shown),
            unknown=shown.count(Availability.UNKNOWN) + shown.count(Availability.NOT_LIVE),
            stale=any(evse.stale for evse in view.evses),
            as_of=None if view.as_of is None else DateTime(view.as_of),
        )


class _StationMark(msgspec.Struct, frozen=True, gc=False):
    """What the fields of a station were made of."""

    seen: Mark
    operator: model.Operator


@strawberry.federation.type(
    name="Station", keys=["id"], description="One place of one operator with its Evses (OCPI calls it a location)."
)
class Station(Fragmented):
    """A station as it is shown to one viewer at one moment."""

    sighting: strawberry.Private[Sighting]
    context: strawberry.Private[Context]

    id: strawberry.ID = shown("sighting.station.id", "The identifier, `feed:party:local`, unique as a whole.")
    feed_id: strawberry.ID = shown("sighting.station.feed", "The feed that this station comes from.")
    local_id: str = shown("sighting.station.local_id", "Exactly what the source calls it.")
    name: str | None = shown("sighting.station.name", "Its name, where stated.")
    presence: Presence = shown("sighting.station.presence", "Whether it stands there and is in service.")
    access: Access = shown("sighting.station.access", "Who may charge here.")
    parking_place: ParkingPlace = shown("sighting.station.parking_place", "What kind of place the bays are in.")
    open_now: bool | None = shown(
        "sighting.view.open_now",
        "Whether it is open now; null where the hours or the time zone are not understood.",
    )
    time_zone: str | None = shown("sighting.station.time_zone", "IANA name of the local time's zone, where known.")
    phones: list[str] = shown("sighting.station.phones", "Numbers to call.")
    bay_count: int | None = shown("sighting.station.bay_count", "How many parking bays there are, where stated.")
    directions: str | None = shown("sighting.station.directions", "How to find it, in the source's words.")
    remark: str | None = shown("sighting.station.remark", "What else the source says.")
    image_urls: list[str] = shown("sighting.station.image_urls", "Pictures, where the source has any; on its servers.")
    amenities: list[str] = shown("sighting.station.amenities", "What there is nearby, in the source's words or codes.")
    equipment_owner_id: str | None = shown(
        "sighting.station.equipment_owner_id",
        "The code of the company that owns the equipment, where it is not the operator.",
    )
    source_updated_at: DateTime | None = shown(
        "sighting.station.source_updated_at",
        "When the source says that it last changed the record; null where it does not say.",
    )
    flags: list[Flag] = shown("sighting.station.flags", "What was repaired, inferred or found doubtful in this record.")

    def fragment_key(self) -> tuple[str, Grants]:
        """Return the id, and the viewer's grants: nothing else here differs between viewers, but for holds."""
        return self.sighting.station.id, self.sighting.grants

    def fragment_mark(self) -> "_StationMark | None":
        """Return what it was made of; None while somebody holds one of the Evses, for that looks otherwise to him."""
        mark = self.sighting.mark()
        return None if mark is None else _StationMark(mark, self.context.operator(self.sighting.station.operator_id))

    def fragment_fits(self, mark: "_StationMark") -> bool:
        """Tell whether neither the station, its live status nor its operator changed."""
        operator = self.context.operator(self.sighting.station.operator_id)
        return mark.seen.covers(self.sighting) and (operator is mark.operator or operator == mark.operator)

    def fragment_now(self) -> float:
        """Return the moment at which it is shown."""
        return self.sighting.at

    @strawberry.field(description="The whole address in one line; null where none is stated.")
    def address(self) -> str | None:
        """Join the parts."""
        return in_one_line(self.sighting.station.address)

    @strawberry.field(description="Who runs it.")
    def operator(self) -> Operator:
        """Show the operator."""
        return Operator(operator=self.context.operator(self.sighting.station.operator_id))

    @strawberry.field(description="The address in its parts.")
    def postal_address(self) -> PostalAddress:
        """Show the address."""
        stated = self.sighting.station.address
        return PostalAddress(
            text=stated.text,
            city=stated.city,
            region=stated.region,
            postal_code=stated.postal_code,
            country=stated.country,
            area_code=stated.area_code,
        )

    @strawberry.field(description="Where it is; null where the source gave no usable position.")
    def location(
        self,
        datum: Annotated[Datum, strawberry.argument(description="The datum of the answer.")] = Datum.WGS84,
    ) -> geometry.Position | None:
        """Show the position."""
        return geometry.shown_in(self.sighting.station.location, datum)

    @strawberry.field(description="The position as the source stated it; null where it stated none.")
    def original_position(self) -> StatedPosition | None:
        """Show what was stated."""
        return StatedPosition.of(self.sighting.station.original_position)

    @strawberry.field(description="When it is open.")
    def opening_hours(self) -> OpeningHours:
        """Show the hours."""
        return OpeningHours.of(self.sighting.station.hours)

    @strawberry.field(description="What it costs, in the source's words; null where nothing is stated or may be shown.")
    def fees(self) -> StatedFees | None:
        """Show the fees."""
        fees = self.sighting.view.station.fees
        if fees == NO_FEES:
            return None
        return StatedFees(
            electricity=fees.electricity, service=fees.service, parking=fees.parking, payment=fees.payment
        )

    @strawberry.field(description="What you may do with this data; null when its feed is no longer configured.")
    def data_rights(self) -> DataRights | None:
        """Show the rights."""
        feed = self.context.feed(self.sighting.station.feed)
        return None if feed is None else DataRights.of(feed.rights, self.sighting.grants)

    @strawberry.field(description="How many of its Evses are free now.")
    def availability(self) -> StationAvailability:
        """Count the Evses."""
        return StationAvailability.of(self.sighting.view)

    @strawberry.field(description="Its Evses, in the source's order.", directives=[about(EVSES)])
    def evses(self) -> list[Evse]:
        """Show the Evses."""
        context = self.context
        return [Evse(view=view, context=context) for view in self.sighting.view.evses]

    @classmethod
    async def of(cls, sightings: Iterable[Sighting], context: Context) -> "list[Station]":
        """Show stations to the one who asks."""
        await context.operators()
        return [cls(sighting=sighting, context=context) for sighting in sightings]

    @classmethod
    async def of_each(cls, sightings: Iterable[Sighting | None], context: Context) -> "list[Station | None]":
        """Show stations to the one who asks, and None where there is none."""
        await context.operators()
        return [None if seen is None else cls(sighting=seen, context=context) for seen in sightings]


class Paging:
    """The search that a page belongs to; what its cursors are made of."""

    def __init__(self, where: Where, wanted: StationFilter) -> None:
        self._search = where, wanted

    @cached_property
    def digest(self) -> str:
        """What tells this search from others in its cursors."""
        return digest_of(type(self._search[0]).__name__, *self._search)

    def cursor(self, found: Found) -> str:
        """Return the cursor of a hit."""
        order = found.distance_m if found.along_m is None else found.along_m
        return write_cursor(self.digest, order or 0.0, found.sighting.station.id)


@strawberry.type(description="A station that a search found, and where it stands in the answer.")
class StationEdge:
    """Relay's edge."""

    found: strawberry.Private[Found]
    paging: strawberry.Private[Paging]

    node: Station = strawberry.field(description="The station.")
    distance_m: float | None = shown(
        "found.distance_m",
        "Great-circle distance in metres, to the millimetre: from `near`, or off the `route`; null in an area.",
    )
    along_m: float | None = shown(
        "found.along_m",
        "How many metres from its start the `route` comes nearest to the station, to the millimetre; null in other "
        "searches.",
    )

    @strawberry.field(description="The position of this station, to be given as `after`.")
    def cursor(self) -> str:
        """Write the cursor."""
        return self.paging.cursor(self.found)


@strawberry.type(description="One page of the stations that a search found.")
class StationConnection:
    """Relay's connection."""

    page: strawberry.Private[FoundPage]
    paging: strawberry.Private[Paging]
    after: strawberry.Private[str | None]

    edges: list[StationEdge] = strawberry.field(description="The stations of this page, in order.")
    total_count: int = shown("page.total_count", "How many stations match in all; exact.")

    @strawberry.field(description="Where this page stands.")
    def page_info(self) -> PageInfo:
        """Describe the page by its first and last cursor."""
        found = self.page.found
        ends = [self.paging.cursor(found[0]), self.paging.cursor(found[-1])] if found else []
        return page_info(ends, has_next=self.page.has_next, after=self.after)


First = Annotated[
    int,
    strawberry.argument(description="How many to return: 1 to 100; more are cut down to 100, less is an error."),
]
After = Annotated[
    str | None,
    strawberry.argument(description="The cursor after which to go on, from the same search; null: from the beginning."),
]
InputDatum = Annotated[
    Datum,
    strawberry.argument(description="The datum of the geometry in the arguments. What `location` answers is its own."),
]
Filter = Annotated[
    StationFilterInput | None, strawberry.argument(description="Which stations are wanted; null: all.", name="filter")
]


@strawberry.type
class StationQuery:
    """Queries about stations."""

    @strawberry.field(description="One station; null where there is none with this id that this key may see.")
    async def station(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="`feed:party:local`.")],
    ) -> Station | None:
        """Find a station."""
        info.context.charge("id", 1)
        sighting = await info.context.stations.load(id)
        (station,) = await Station.of_each([sighting], info.context)
        return station

    @strawberry.field(
        description="Stations in the order asked for, null in the place of those that this key may not see.",
        **each("ids", MAX_IDS),
    )
    async def stations(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="At most 100 ids.")],
    ) -> list[Station | None]:
        """Find stations."""
        context = info.context
        if len(ids) > MAX_IDS:
            raise InvalidInputError("ids", f"{len(ids)} ids are more than {MAX_IDS}; ask in several requests")
        context.charge("ids", len(ids))
        return await Station.of_each(await context.services.search.find_stations(context.viewer, ids), context)

    @strawberry.field(
        description="Stations within a radius, nearest first, ties by id. The radius is inclusive.",
        **page(SEARCH_WEIGHT),
    )
    async def nearby_stations(
        self,
        info: Info,
        near: Annotated[PositionInput, strawberry.argument(description="The centre.")],
        radius_m: Annotated[
            float, strawberry.argument(description="Great-circle metres: more than 0, at most 100000.", name="radiusM")
        ],
        first: First = DEFAULT_PAGE_SIZE,
        after: After = None,
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> StationConnection:
        """Search round a point."""
        center = geometry.read_position("near", near.lon, near.lat, datum)
        where = Near(center=center, radius_m=read_radius(radius_m))
        return await search_stations(info, where, wanted, first, after)

    @strawberry.field(
        description="Stations in a box or inside polygons, edges included, ordered by id.", **page(SEARCH_WEIGHT)
    )
    async def stations_in_area(
        self,
        info: Info,
        box: Annotated[
            BoundingBoxInput | None, strawberry.argument(description="A box. Give either this or `polygon`.")
        ] = None,
        polygon: Annotated[
            GeoJson | None,
            strawberry.argument(
                description=(
                    "A Polygon or MultiPolygon of closed rings that do not cross themselves, at most 1000 vertices. "
                    "An edge of more than 180 degrees of longitude crosses the antimeridian."
                )
            ),
        ] = None,
        first: First = DEFAULT_PAGE_SIZE,
        after: After = None,
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> StationConnection:
        """Search an area."""
        if (box is None) == (polygon is None):
            raise InvalidInputError("box", "give either box or polygon, one of the two")
        if box is not None:
            where = Area(box=geometry.read_box(box, datum))
        else:
            where = Area(polygons=geometry.read_polygons(polygon, datum))
        return await search_stations(info, where, wanted, first, after)


async def search_stations(
    info: Info, where: Where, wanted: StationFilterInput | None, first: int, after: str | None
) -> StationConnection:
    """Answer a page of a search."""
    context = info.context
    size = page_size(first)
    checked = read_filter(wanted)
    paging = Paging(where, checked)
    cursor = None if after is None else read_cursor(after, paging.digest)
    context.charge("first", size)
    position = None if cursor is None else Position(cursor.key, cursor.id)
    total = may_select(info, "totalCount")
    page = await context.services.search.search(context.viewer, where, checked, size, position, wants_total=total)
    return await connection_of(page, paging, after, context)


async def connection_of(page: FoundPage, paging: Paging, after: str | None, context: Context) -> StationConnection:
    """Show a page of a search, which began at the cursor ``after``."""
    stations = await Station.of([found.sighting for found in page.found], context)
    edges = [
        StationEdge(found=found, paging=paging, node=station)
        for found, station in zip(page.found, stations, strict=True)
    ]
    return StationConnection(page=page, paging=paging, after=after, edges=edges)


def may_select(info: Info, name: str) -> bool:
    """Tell whether a field may be selected directly below the one that is resolved; fragments may hold anything."""
    return any(
        not isinstance(selection, FieldNode) or selection.name.value == name
        for node in info._raw_info.field_nodes  # noqa: SLF001 - Strawberry's own view of it is made anew each time
        if node.selection_set is not None
        for selection in node.selection_set.selections
    )


def read_radius(radius_m: float) -> float:
    """Return a radius, checked. Raises InvalidInputError."""
    if not math.isfinite(radius_m) or not 0 < radius_m <= MAX_RADIUS_M:
        raise InvalidInputError("radiusM", f"{radius_m} is not more than 0 and at most {MAX_RADIUS_M:g} metres")
    return radius_m


def in_one_line(address: model.Address) -> str | None:
    """Return the stated parts of an address in the order of its country, none of them twice."""
    if address.country == _CHINA or (address.country is None and address.area_code is not None):
        parts, separator = [address.region, address.city, address.text], ""
    else:
        place = " ".join(part for part in (address.postal_code, address.city) if part)
        parts, separator = [address.text, place, address.region, address.country], ", "
    stated = list(dict.fromkeys(part for part in parts if part))
    fresh = [part for part in stated if not any(part in other for other in stated if other != part)]
    return separator.join(fresh) or None
