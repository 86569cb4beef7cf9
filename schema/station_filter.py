"""What callers may ask of the stations that a search finds."""

import math
from typing import TypeVar

import strawberry

from app.errors import InvalidInputError
from app.model.identity import MAX_ID_CHARACTERS
from app.model.search import MAX_TEXT_CHARACTERS, StationFilter
from app.model.station import Access, ConnectorType
from schema.connector import WATTS_PER_KW
from schema.scalars import api_enum

MAX_FILTER_VALUES = 100
MAX_POWER_KW = 100_000.0
MAX_STATUS_AGE_S = 30 * 86_400
_MILLIWATTS = 3
T = TypeVar("T")

api_enum(
    Access,
    "Access",
    "Who may charge at a station.",
    {
        "UNKNOWN": "The source does not say.",
        "PUBLIC": "Everyone.",
        "MEMBERS": "Members of a club, a company or a compound.",
        "RESTRICTED_FLEET": "Certain fleets: buses, taxis, sanitation, logistics.",
        "PRIVATE_SHARED": "A private station whose owner shares it.",
        "PRIVATE": "Its owner alone.",
        "TEST": "A station for trying things.",
    },
)


@strawberry.input(
    name="StationFilterInput",
    description=(
        "Which stations a search is to find; all criteria must hold. Null, an empty list and a blank text filter "
        "nothing. `connectorTypes`, `minPowerKw`, `availableNow` and `maxStatusAgeS` must hold for one and the same "
        "Evse, the first two on one and the same connector. Evses that are not in operation never match them."
    ),
)
class StationFilterInput:
    """A filter as a caller states it."""

    connector_types: list[ConnectorType] | None = strawberry.field(
        default=None, description="The Evse has a plug of one of these kinds."
    )
    min_power_kw: float | None = strawberry.field(
        default=None,
        description="That plug is known to deliver at least this many kW (0 to 100000; 0 filters nothing).",
    )
    available_now: bool | None = strawberry.field(
        default=None,
        description="True: the Evse is AVAILABLE with fresh news, and nobody holds it. False filters nothing.",
    )
    max_status_age_s: int | None = strawberry.field(
        default=None,
        description="The Evse's news is not stale, and observed no longer ago than this many seconds (1 to 2592000).",
    )
    operator_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="The station is run by one of these operators (at most 100)."
    )
    access: list[Access] | None = strawberry.field(
        default=None, description="The station is open to one of these groups."
    )
    open_now: bool | None = strawberry.field(
        default=None,
        description="True: the station is known to be open now; unknown hours do not match. False filters nothing.",
    )
    text: str | None = strawberry.field(
        default=None,
        description="Each of its words (at most 100 characters) is part of the name or the address, whatever the case.",
    )


def read_filter(wanted: StationFilterInput | None) -> StationFilter:
    """Return the filter, checked. Raises InvalidInputError that names the member as ``filter.…``."""
    if wanted is None:
        return StationFilter()
    return StationFilter(
        connector_types=_values("filter.connectorTypes", wanted.connector_types),
        min_power_w=_least_power_w(wanted.min_power_kw),
        available_now=bool(wanted.available_now),
        max_status_age_s=_status_age_s(wanted.max_status_age_s),
        operator_ids=_operator_ids(wanted.operator_ids),
        access=_values("filter.access", wanted.access),
        open_now=bool(wanted.open_now),
        text=_text(wanted.text),
    )


def _values(field: str, values: list[T] | None) -> frozenset[T]:
    if values is not None and len(values) > MAX_FILTER_VALUES:
        raise InvalidInputError(field, f"{len(values)} values are more than {MAX_FILTER_VALUES}")
    return frozenset(values or ())


def _least_power_w(kilowatts: float | None) -> int | None:
    if kilowatts is None or kilowatts == 0:
        return None
    if not math.isfinite(kilowatts) or not 0 <= kilowatts <= MAX_POWER_KW:
        raise InvalidInputError("filter.minPowerKw", f"{kilowatts} is not between 0 and {MAX_POWER_KW:g} kW")
    # 7.4 kW times 1000 is 7400.000000000001: round what the multiplication added before rounding up to whole watts.
    return math.ceil(round(kilowatts * WATTS_PER_KW, _MILLIWATTS))


def _status_age_s(seconds: int | None) -> float | None:
    if seconds is None:
        return None
    if not 1 <= seconds <= MAX_STATUS_AGE_S:
        raise InvalidInputError("filter.maxStatusAgeS", f"{seconds} is not between 1 and {MAX_STATUS_AGE_S} seconds")
    return float(seconds)


def _operator_ids(ids: list[strawberry.ID] | None) -> frozenset[str]:
    values = _values("filter.operatorIds", ids)
    if any(len(value) > MAX_ID_CHARACTERS for value in values):
        raise InvalidInputError("filter.operatorIds", f"an id has at most {MAX_ID_CHARACTERS} characters")
    return frozenset(map(str, values))


def _text(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInputError("filter.text", f"{len(text)} characters are more than {MAX_TEXT_CHARACTERS}")
    return text.strip()
