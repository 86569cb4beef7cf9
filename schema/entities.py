"""Federation: what a gateway asks for by key, looked up in batches and with the rights of the one who asks."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from app.errors import ChargegraphError, InvalidInputError
from app.model.identity import MAX_ID_CHARACTERS
from app.services.station_search import MAX_IDS
from schema.context import Context
from schema.evse import Evse
from schema.operator import Operator
from schema.reservation import Reservation
from schema.station import Station

MAX_REPRESENTATIONS = 500

Key: TypeAlias = Hashable
Answer: TypeAlias = object | Exception | None
"""An entity; None where it is unknown to the one who asks, an exception where the representation is at fault."""


class Kind(msgspec.Struct, frozen=True):
    """A type that has keys: ``read`` takes a representation's key, and ``find`` looks up many of them, in their order.

    ``read`` is given the representation and where it stands, and raises InvalidInputError for what is no key.
    """

    read: Callable[[Mapping[str, Any], str], Key]
    find: Callable[[Context, list[Any]], Coroutine[Any, Any, Sequence[Answer]]]


async def find_entities(kinds: Mapping[str, Kind], context: Context, representations: Sequence[object]) -> list[Answer]:
    """Return the entities in the order asked for.

    What is wrong with one representation, or with the store of one kind, is the answer to that one alone. Raises
    InvalidInputError for more than MAX_REPRESENTATIONS. No member of a representation but its key is looked at.
    """
    count = len(representations)
    if count > MAX_REPRESENTATIONS:
        raise InvalidInputError("representations", f"{count} are more than {MAX_REPRESENTATIONS}")
    context.charge_batch("representations", count)
    answers: list[Answer] = [None] * count
    wanted: dict[str, dict[Key, list[int]]] = {}
    for place, representation in enumerate(representations):
        try:
            name, key = _read(kinds, representation, f"representations[{place}]")
        except InvalidInputError as error:
            answers[place] = error
        else:
            wanted.setdefault(name, {}).setdefault(key, []).append(place)
    for name, places in wanted.items():
        keys = list(places)
        found: list[Answer] = []
        for begin in range(0, len(keys), MAX_IDS):
            found += await _find(context, kinds[name], keys[begin : begin + MAX_IDS])
        for where, answer in zip(places.values(), found, strict=True):
            for place in where:
                answers[place] = answer
    return answers


def _read(kinds: Mapping[str, Kind], representation: object, place: str) -> tuple[str, Key]:
    if not isinstance(representation, dict):
        raise InvalidInputError(place, "a representation is an object")
    name = representation.get("__typename")
    if not isinstance(name, str) or name not in kinds:
        raise InvalidInputError(f"{place}.__typename", f"the entities here are {', '.join(kinds)}")
    return name, kinds[name].read(representation, place)


async def _find(context: Context, kind: Kind, keys: list[Key]) -> Sequence[Answer]:
    try:
        return await kind.find(context, keys)
    except ChargegraphError as error:
        return [error] * len(keys)


def _id(representation: Mapping[str, Any], place: str) -> str:
    key = representation.get("id")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key or len(key) > MAX_ID_CHARACTERS:
        raise InvalidInputError(f"{place}.id", f"an id is a text of 1 to {MAX_ID_CHARACTERS} characters")
    return key


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


KINDS: Final[Mapping[str, Kind]] = {
    "Station": Kind(_id, _stations),
    "Evse": Kind(_id, _evses),
    "Operator": Kind(_id, _operators),
    "Reservation": Kind(_id, _reservations),
}
"""The entities of this subgraph, by the names of their types."""
