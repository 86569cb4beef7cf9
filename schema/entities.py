"""Federation: what a gateway asks for by key, looked up in batches and with the rights of the one who asks."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from app.errors import ChargegraphError, InvalidInputError
from app.model.identity import MAX_ID_CHARACTERS
from schema.context import Context
from schema.evse import Evse
from schema.operator import Operator
from schema.reservation import Reservation
from schema.station import Station

MAX_REPRESENTATIONS = 100

Entity: TypeAlias = Station | Evse | Operator | Reservation
Answer: TypeAlias = Entity | Exception | None


async def find_entities(context: Context, representations: Sequence[object]) -> list[Answer]:
    """Return the entities in the order asked for: None where unknown, an exception where that one is at fault.

    Raises InvalidInputError for more than MAX_REPRESENTATIONS. Only ``__typename`` and ``id`` are read.
    """
    count = len(representations)
    if count > MAX_REPRESENTATIONS:
        raise InvalidInputError("representations", f"{count} are more than {MAX_REPRESENTATIONS}")
    context.charge("representations", count)
    answers: list[Answer] = [None] * count
    wanted: dict[str, dict[str, list[int]]] = {}
    for place, representation in enumerate(representations):
        try:
            name, key = _read(place, representation)
        except InvalidInputError as error:
            answers[place] = error
        else:
            wanted.setdefault(name, {}).setdefault(key, []).append(place)
    for name, places in wanted.items():
        found = await _find(context, name, list(places))
        for where, answer in zip(places.values(), found, strict=True):
            for place in where:
                answers[place] = answer
    return answers


def _read(place: int, representation: object) -> tuple[str, str]:
    field = f"representations[{place}]"
    if not isinstance(representation, dict):
        raise InvalidInputError(field, "a representation is an object")
    name, key = representation.get("__typename"), representation.get("id")
    if not isinstance(name, str) or name not in _LOOKUPS:
        raise InvalidInputError(f"{field}.__typename", f"the entities here are {', '.join(_LOOKUPS)}")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key or len(key) > MAX_ID_CHARACTERS:
        raise InvalidInputError(f"{field}.id", f"an id is a text of 1 to {MAX_ID_CHARACTERS} characters")
    return name, key


async def _find(context: Context, name: str, keys: list[str]) -> Sequence[Answer]:
    try:
        return await _LOOKUPS[name](context, keys)
    except ChargegraphError as error:
        return [error] * len(keys)


async def _stations(context: Context, ids: list[str]) -> list[Answer]:
    return [*await Station.of_each(await context.services.search.find_stations(context.viewer, ids), context)]


async def _evses(context: Context, ids: list[str]) -> list[Answer]:
    views = await context.services.search.find_evses(context.viewer, ids)
    return [None if view is None else Evse(view=view, context=context) for view in views]


async def _operators(context: Context, ids: list[str]) -> list[Answer]:
    operators = await context.operators()
    return [Operator(operator=operators[key]) if key in operators else None for key in ids]


async def _reservations(context: Context, ids: list[str]) -> list[Answer]:
    booking = context.services.booking
    found = await asyncio.gather(*(booking.find_reservation(context.viewer, key) for key in ids))
    now = await booking.now()
    return [None if reservation is None else Reservation.of(reservation, now) for reservation in found]


_LOOKUPS: dict[str, Callable[[Context, list[str]], Coroutine[Any, Any, list[Answer]]]] = {
    "Station": _stations,
    "Evse": _evses,
    "Operator": _operators,
    "Reservation": _reservations,
}
