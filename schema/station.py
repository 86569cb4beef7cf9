"""Stations, and the searches that find them."""

import math
from typing import Annotated

import strawberry

from app.errors import InvalidInputError
from app.model import opening
from app.model import station as model
from app.model.availability import Availability
from app.model.datum import Datum
from app.model.feed import FeedRights
from app.model.search import MAX_RADIUS_M, Area, Near, Position
from app.model.station import NO_FEES, Access, Flag, ParkingPlace, Presence
from app.services.station_search import MAX_IDS, Found, StationView
from schema import geometry
from schema.context import Context, Info
from schema.evse import Evse
from schema.geometry import BoundingBoxInput, PositionInput, StatedPosition
from schema.operator import Operator
from schema.pagination import DEFAULT_PAGE_SIZE, PageInfo, digest_of, page_info, page_size, read_cursor, write_cursor
from schema.scalars import DateTime, GeoJson, api_enum
from schema.station_filter import StationFilterInput, read_filter

_CHINA = "CN"
_NOBODY_KNOWS = {Availability.UNKNOWN, Availability.NOT_LIVE}

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
    weekly: list[OpeningPeriod] = strawberry.field(description="The periods of a week; empty where not understood.")
    exceptions: list[OpeningException] = strawberry.field(description="What differs from the week.")
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


@strawberry.type(description="What may be done with the data, by the contract with its source.")
class DataRights:
    """A feed's rights as they are shown."""

    may_republish: bool = strawberry.field(description="Whether you may show it to the public.")
    may_show_price: bool = strawberry.field(description="Whether fees may be shown; otherwise they are left out here.")
    attribution: str | None = strawberry.field(description="Whom to name where it is shown; null where nobody.")
    licence: str | None = strawberry.field(description="The licence, where there is one.")

    @classmethod
    def of(cls, rights: FeedRights) -> "DataRights":
        """Show a feed's rights."""
        return cls(
            may_republish=rights.may_republish,
            may_show_price=rights.may_show_price,
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
            unknown=sum(availability in _NOBODY_KNOWS for availability in shown),
            stale=any(evse.stale for evse in view.evses),
            as_of=None if view.as_of is None else DateTime(view.as_of),
        )


@strawberry.federation.type(
    name="Station", keys=["id"], description="One place of one operator with its Evses (OCPI calls it a location)."
)
class Station:
    """A station as it is shown to one viewer at one moment."""

    view: strawberry.Private[StationView]
    context: strawberry.Private[Context]

    id: strawberry.ID = strawberry.field(description="The identifier, `feed:party:local`, unique as a whole.")
    feed_id: strawberry.ID = strawberry.field(description="The feed that this station comes from.")
    local_id: str = strawberry.field(description="Exactly what the source calls it.")
    name: str | None = strawberry.field(description="Its name, where stated.")
    address: str | None = strawberry.field(description="The whole address in one line; null where none is stated.")
    presence: Presence = strawberry.field(description="Whether it stands there and is in service.")
    access: Access = strawberry.field(description="Who may charge here.")
    parking_place: ParkingPlace = strawberry.field(description="What kind of place the bays are in.")
    open_now: bool | None = strawberry.field(
        description="Whether it is open now; null where the hours or the time zone are not understood."
    )
    time_zone: str | None = strawberry.field(description="IANA name of the local time's zone, where known.")
    phones: list[str] = strawberry.field(description="Numbers to call.")
    bay_count: int | None = strawberry.field(description="How many parking bays there are, where stated.")
    directions: str | None = strawberry.field(description="How to find it, in the source's words.")
    remark: str | None = strawberry.field(description="What else the source says.")
    image_urls: list[str] = strawberry.field(description="Pictures, where the source has any; on its servers.")
    amenities: list[str] = strawberry.field(description="What there is nearby, in the source's words or codes.")
    equipment_owner_id: str | None = strawberry.field(
        description="The code of the company that owns the equipment, where it is not the operator."
    )
    source_updated_at: DateTime | None = strawberry.field(
        description="When the source says that it last changed the record; null where it does not say."
    )
    flags: list[Flag] = strawberry.field(description="What was repaired, inferred or found doubtful in this record.")
    operator: Operator = strawberry.field(description="Who runs it.")

    @strawberry.field(description="The address in its parts.")
    def postal_address(self) -> PostalAddress:
        """Show the address."""
        stated = self.view.station.address
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
        return geometry.shown_in(self.view.station.location, datum)

    @strawberry.field(description="The position as the source stated it; null where it stated none.")
    def original_position(self) -> StatedPosition | None:
        """Show what was stated."""
        return StatedPosition.of(self.view.station.original_position)

    @strawberry.field(description="When it is open.")
    def opening_hours(self) -> OpeningHours:
        """Show the hours."""
        return OpeningHours.of(self.view.station.hours)

    @strawberry.field(description="What it costs, in the source's words; null where nothing is stated or may be shown.")
    def fees(self) -> StatedFees | None:
        """Show the fees."""
        fees = self.view.station.fees
        if fees == NO_FEES:
            return None
        return StatedFees(
            electricity=fees.electricity, service=fees.service, parking=fees.parking, payment=fees.payment
        )

    @strawberry.field(description="What may be done with this data; null when its feed is no longer configured.")
    def data_rights(self) -> DataRights | None:
        """Show the rights."""
        feed = self.context.feed(self.view.station.feed)
        return None if feed is None else DataRights.of(feed.rights)

    @strawberry.field(description="How many of its Evses are free now.")
    def availability(self) -> StationAvailability:
        """Count the Evses."""
        return StationAvailability.of(self.view)

    @strawberry.field(description="Its Evses, in the source's order.")
    def evses(self) -> list[Evse]:
        """Show the Evses."""
        return [Evse.of(view, self.context) for view in self.view.evses]

    @classmethod
    async def of(cls, view: StationView, context: Context) -> "Station":
        """Show a station to the one who asks."""
        station = view.station
        operator = (await context.operators()).get(station.operator_id)
        updated_at = station.source_updated_at
        return cls(
            view=view,
            context=context,
            id=strawberry.ID(station.id),
            feed_id=strawberry.ID(station.feed),
            local_id=station.local_id,
            name=station.name,
            address=in_one_line(station.address),
            presence=station.presence,
            access=station.access,
            parking_place=station.parking_place,
            open_now=view.open_now,
            time_zone=station.time_zone,
            phones=list(station.phones),
            bay_count=station.bay_count,
            directions=station.directions,
            remark=station.remark,
            image_urls=list(station.image_urls),
            amenities=list(station.amenities),
            equipment_owner_id=station.equipment_owner_id,
            source_updated_at=None if updated_at is None else DateTime(updated_at),
            flags=list(station.flags),
            operator=Operator.unnamed(station.operator_id) if operator is None else Operator.of(operator),
        )


@strawberry.type(description="A station that a search found, and where it stands in the answer.")
class StationEdge:
    """Relay's edge."""

    cursor: str = strawberry.field(description="The position of this station, to be given as `after`.")
    node: Station = strawberry.field(description="The station.")
    distance_m: float | None = strawberry.field(
        description="Great-circle distance from `near` in metres, to the millimetre; null in an area."
    )


@strawberry.type(description="One page of the stations that a search found.")
class StationConnection:
    """Relay's connection."""

    edges: list[StationEdge] = strawberry.field(description="The stations of this page, in order.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")
    total_count: int = strawberry.field(description="How many stations match in all; exact.")


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
        view = await info.context.stations.load(id)
        return None if view is None else await Station.of(view, info.context)

    @strawberry.field(
        description="Stations in the order asked for, null in the place of those that this key may not see."
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
        views = await context.services.search.find_stations(context.viewer, ids)
        return [None if view is None else await Station.of(view, context) for view in views]

    @strawberry.field(description="Stations within a radius, nearest first, ties by id. The radius is inclusive.")
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
        if not math.isfinite(radius_m) or not 0 < radius_m <= MAX_RADIUS_M:
            raise InvalidInputError("radiusM", f"{radius_m} is not more than 0 and at most {MAX_RADIUS_M:g} metres")
        where = Near(center=center, radius_m=radius_m)
        return await _search(info.context, where, wanted, first, after)

    @strawberry.field(description="Stations in a box or inside polygons, edges included, ordered by id.")
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
        return await _search(info.context, where, wanted, first, after)


async def _search(
    context: Context, where: Near | Area, wanted: StationFilterInput | None, first: int, after: str | None
) -> StationConnection:
    size = page_size(first)
    checked = read_filter(wanted)
    digest = digest_of(type(where).__name__, where, checked)
    cursor = read_cursor(after, digest)
    context.charge("first", size)
    position = None if cursor is None else Position(cursor.key, cursor.id)
    page = await context.services.search.search(context.viewer, where, checked, size, position)
    cursors = [write_cursor(digest, _order_key(found), found.view.station.id) for found in page.found]
    return StationConnection(
        edges=[
            StationEdge(cursor=at, node=await Station.of(found.view, context), distance_m=found.distance_m)
            for at, found in zip(cursors, page.found, strict=True)
        ],
        page_info=page_info(cursors, has_next=page.has_next, after=after),
        total_count=page.total_count,
    )


def _order_key(found: Found) -> float:
    return found.distance_m or 0.0


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
