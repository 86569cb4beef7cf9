"""Stations counted by the tiles of a map."""

from collections.abc import Iterable
from typing import Annotated

import strawberry
from strawberry.types.nodes import Selection

from app.errors import InvalidInputError
from app.model import cluster as model
from app.model.cluster import MAX_TILE_ZOOM, MAX_TILES, Grid
from app.model.datum import Datum
from app.model.geo import BoundingBox, Point
from app.model.search import MAX_PAGE_SIZE
from schema import geometry
from schema.context import Info
from schema.cost import about
from schema.geometry import BoundingBoxInput
from schema.station import Filter, InputDatum
from schema.station_filter import read_filter


@strawberry.type(description="A tile of a web map: XYZ numbers, spherical Mercator over WGS84.")
class MapTile:
    """A tile."""

    x: int = strawberry.field(description="Column, from the antimeridian eastwards.")
    y: int = strawberry.field(description="Row, from the north.")
    z: int = strawberry.field(description="Zoom.")


@strawberry.type(description="The stations of a search that are in one tile.")
class StationCluster:
    """A cluster as it is shown."""

    center: strawberry.Private[Point]

    tile: MapTile = strawberry.field(description="The tile.")
    count: int = strawberry.field(description="How many stations match; exact.")
    available: int | None = strawberry.field(
        description=(
            "How many of them the same search finds with `availableNow`; those of which nobody knows are not among "
            "them. Null where the box holds too many stations to look at each; ask for a smaller one then."
        )
    )
    station_id: strawberry.ID | None = strawberry.field(
        description="The station, where it is only one; null in larger clusters, and where `available` is."
    )

    @strawberry.field(description="The mean position of the stations, to about a centimetre.")
    def location(
        self,
        datum: Annotated[Datum, strawberry.argument(description="The datum of the answer.")] = Datum.WGS84,
    ) -> geometry.Position | None:
        """Show the mean position."""
        return geometry.shown_in(self.center, datum)

    @classmethod
    def of(cls, cluster: model.StationCluster, zoom: int) -> "StationCluster":
        """Show a cluster."""
        return cls(
            center=cluster.center,
            tile=MapTile(x=cluster.x, y=cluster.y, z=zoom),
            count=cluster.count,
            available=cluster.available,
            station_id=None if cluster.station_id is None else strawberry.ID(cluster.station_id),
        )


@strawberry.type
class ClusterQuery:
    """What may be asked about a map."""

    @strawberry.field(
        description=(
            "The stations of a box, edges included, counted by the tiles of a zoom; tiles without stations are left "
            "out. In order from the north-west, row by row. Counts as 100 of the things that a request may ask for."
        ),
        directives=[about(200)],
    )
    async def station_clusters(
        self,
        info: Info,
        box: Annotated[BoundingBoxInput, strawberry.argument(description="What the map shows.")],
        zoom: Annotated[
            int,
            strawberry.argument(
                description=(
                    "The zoom of the tiles, 0 to 20: two more than that of the map make clusters 64 pixels apart. The "
                    "box may touch 4096 tiles."
                )
            ),
        ],
        wanted: Filter = None,
        datum: InputDatum = Datum.WGS84,
    ) -> list[StationCluster]:
        """Count stations."""
        context = info.context
        bounds = geometry.read_box(box, datum)
        _check_zoom(bounds, zoom)
        checked = read_filter(wanted)
        context.charge("zoom", MAX_PAGE_SIZE)
        found = await context.services.search.list_clusters(
            context.viewer, bounds, zoom, checked, wants_available=_asks_for_available(info.selected_fields)
        )
        return [StationCluster.of(cluster, zoom) for cluster in found]


def _check_zoom(box: BoundingBox, zoom: int) -> None:
    if not 0 <= zoom <= MAX_TILE_ZOOM:
        raise InvalidInputError("zoom", f"{zoom} is not between 0 and {MAX_TILE_ZOOM}")
    touched = len(Grid.over(box, zoom))
    if touched > MAX_TILES:
        fitting = next(less for less in range(zoom, -1, -1) if len(Grid.over(box, less)) <= MAX_TILES)
        problem = (
            f"the box touches {touched} tiles, more than {MAX_TILES}; ask for zoom {fitting}, or for a smaller box"
        )
        raise InvalidInputError("zoom", problem)


def _asks_for_available(selected: Iterable[Selection]) -> bool:
    """Tell whether a field below asks how many are free, which costs more than all the rest."""
    return any(
        getattr(selection, "name", None) == "available" or _asks_for_available(selection.selections)
        for selection in selected
    )
