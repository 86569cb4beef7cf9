"""What is near each of many points: for fleets, whose dispatchers ask for all vehicles at once."""

from typing import Annotated

import strawberry
from strawberry.federation.schema_directives import Cost

from app.errors import InvalidInputError
from app.model.datum import Datum
from app.model.geo import Point
from app.model.search import Near
from schema import geometry
from schema.context import Info
from schema.cost import SEARCH_WEIGHT, Size, each, with_edges
from schema.pagination import page_size
from schema.station import Filter, InputDatum, Paging, StationConnection, connection_of, read_radius
from schema.station_filter import read_filter

MAX_POINTS = 100
MAX_STATIONS_A_POINT = 10
MAX_KEY_CHARACTERS = 100
_DEFAULT_STATIONS = 5


@strawberry.input(
    name="BatchPointInput",
    description="One of many points, in degrees in the datum that the field's `datum` names.",
)
class BatchPointInput:
    """A point that a caller states, and what it calls it."""

    lon: float = strawberry.field(description="Longitude in degrees, -180 to 180.")
    lat: float = strawberry.field(description="Latitude in degrees, -90 to 90.")
    key: str | None = strawberry.field(
        default=None,
        description="What you call the point, a vehicle's name for example (at most 100 characters); given back.",
    )


@strawberry.type(description="What was found near one of many points.")
class StationsNearPoint:
    """One point's answer."""

    key: str | None = strawberry.field(description="What you called the point; null where you gave no name.")
    stations: StationConnection = strawberry.field(
        description=(
            "The nearest stations. `nearbyStations` goes on from a cursor with the same point, radius and filter."
        ),
        directives=[
            Cost(weight=SEARCH_WEIGHT),
            with_edges(MAX_STATIONS_A_POINT),
        ],
    )


@strawberry.type
class StationBatchQuery:
    """The query of fleets."""

    @strawberry.field(
        description=(
            "The stations nearest to each of many points, as `nearbyStations` finds them, in the order of the points. "
            "The batches of one request may ask for 500 stations all together: points times `first`."
        ),
        **each("points", MAX_POINTS, Size("first", MAX_STATIONS_A_POINT, _DEFAULT_STATIONS, ("stations", "edges"))),
    )
    async def nearby_stations_batch(
        self,
        info: Info,
        points: Annotated[list[BatchPointInput], strawberry.argument(description="At most 100 points.")],
        radius_m: Annotated[
            float, strawberry.argument(description="Great-circle metres: more than 0, at most 100000.", name="radiusM")
        ],
        first: Annotated[
            int,
            strawberry.argument(
                description="How many to return for each point: 1 to 10; more are cut down to 10, less is an error."
            ),
        ] = _DEFAULT_STATIONS,
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> list[StationsNearPoint]:
        """Search round many points."""
        context = info.context
        if len(points) > MAX_POINTS:
            raise InvalidInputError("points", f"{len(points)} points are more than {MAX_POINTS}")
        size = min(page_size(first), MAX_STATIONS_A_POINT)
        checked, radius = read_filter(wanted), read_radius(radius_m)
        wheres = [
            Near(center=_read_point(f"points[{number}]", point, datum), radius_m=radius)
            for number, point in enumerate(points)
        ]
        context.charge_batch("points", size * len(points))
        pages = await context.services.search.search_many(context.viewer, wheres, checked, size)
        return [
            StationsNearPoint(
                key=point.key,
                stations=await connection_of(page, Paging(where, checked), None, context),
            )
            for point, where, page in zip(points, wheres, pages, strict=True)
        ]


def _read_point(field: str, point: BatchPointInput, datum: Datum) -> Point:
    if point.key is not None and len(point.key) > MAX_KEY_CHARACTERS:
        raise InvalidInputError(f"{field}.key", f"{len(point.key)} characters are more than {MAX_KEY_CHARACTERS}")
    return geometry.read_position(field, point.lon, point.lat, datum)
