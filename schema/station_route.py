"""The search for stations along a route."""

import asyncio
import math
from typing import Annotated

import strawberry

from app.errors import InvalidInputError
from app.model.datum import Datum
from app.model.search import MAX_CORRIDOR_M, Corridor
from schema.context import Info
from schema.cost import page
from schema.geometry import read_route
from schema.pagination import DEFAULT_PAGE_SIZE
from schema.scalars import GeoJson
from schema.station import After, Filter, First, InputDatum, StationConnection, search_stations

_WEIGHT = 50
"""What measuring the distances to a route costs beside what it finds."""


@strawberry.type
class StationRouteQuery:
    """What may be asked about a route."""

    @strawberry.field(
        description=(
            "Stations near a route in the order in which one passes them, ties by id. A station is passed where the "
            "route comes nearest to it, the first time if there are several."
        ),
        **page(_WEIGHT),
    )
    async def stations_along_route(
        self,
        info: Info,
        route: Annotated[
            GeoJson,
            strawberry.argument(
                description=(
                    "A LineString of 2 to 2000 vertices, at most 2000 km long; between two of them it is the shortest "
                    "way on the sphere."
                )
            ),
        ],
        corridor_m: Annotated[
            float,
            strawberry.argument(
                description="Great-circle metres off the route, inclusive: more than 0, at most 20000.",
                name="corridorM",
            ),
        ],
        first: First = DEFAULT_PAGE_SIZE,
        after: After = None,
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> StationConnection:
        """Search along a route."""
        return await search_stations(info, await read_corridor(route, corridor_m, datum), wanted, first, after)


async def read_corridor(route: object, corridor_m: float, datum: Datum) -> Corridor:
    """Return a corridor, checked. Raises InvalidInputError."""
    if not math.isfinite(corridor_m) or not 0 < corridor_m <= MAX_CORRIDOR_M:
        problem = f"{corridor_m} is not more than 0 and at most {MAX_CORRIDOR_M:g} metres"
        raise InvalidInputError("corridorM", problem)
    line = await asyncio.to_thread(read_route, route, datum)  # a long one in another datum takes 30 ms
    return Corridor(line=line, width_m=corridor_m)
