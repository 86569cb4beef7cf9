"""What the store keeps of a station: its whole content as one blob, and beside it the few facts that searches need.

The facts are packed so that a start reads half a million stations in seconds without decoding any content.
"""

import struct
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from importlib.resources import files
from typing import Final, NamedTuple

import msgspec
import numpy as np
import zstandard

from app.index._text import searchable_text
from app.model.geo import is_position
from app.model.identity import evse_digest
from app.model.opening import OpeningHours
from app.model.station import NOT_OPERATING, Access, ConnectorType, Presence, Station

NO_CONNECTOR: Final = 255
"""The kind of an Evse without connectors: it has none of the types, UNKNOWN included."""

NO_POWER: Final = -1
"""The power of a connector without a figure: below every minimum."""

MAX_POWER_W: Final = 2**31 - 1
KINDS: Final = {kind: code for code, kind in enumerate(ConnectorType)}
_KIND_OF: Final = {kind.value: code for kind, code in KINDS.items()}  # members of an Enum are slow to look up
ACCESSES: Final = {access: code for code, access in enumerate(Access)}

CONNECTOR_ROW: Final = np.dtype([("evse", "<u4"), ("kind", "u1"), ("power_w", "<i4")])
"""One connector of an Evse that operates: which of the station's Evses, and what it offers."""

CONNECTOR_BYTES: Final = struct.Struct("<IBi")
"""A CONNECTOR_ROW, for one at a time."""

LAYOUT: Final = repr(("1", CONNECTOR_ROW.descr, [kind.name for kind in KINDS], [access.name for access in ACCESSES]))
"""Names everything that packed facts depend on; a store with another layout is packed anew from its content."""

_COMPRESSION_LEVEL: Final = 1
_DICTIONARY: Final = zstandard.ZstdCompressionDict((files("app.index") / "station.zdict").read_bytes())
"""What all stations have in common, the names of their fields above all; made by `python -m bench.dictionary`."""

_DICTIONARY.precompute_compress(level=_COMPRESSION_LEVEL)
_HASH_BYTES: Final = 16
_ZLIB: Final = b"\x78"

_encoder = msgspec.msgpack.Encoder()
_station_decoder = msgspec.msgpack.Decoder(Station)
_hours_decoder = msgspec.msgpack.Decoder(tuple[OpeningHours, str | None])


class _Zstandard(threading.local):
    """What compresses and what undoes it: dear to make, cheap to use, and good for one thread at a time."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL, dict_data=_DICTIONARY).compress
        self.decompress = zstandard.ZstdDecompressor(dict_data=_DICTIONARY).decompress


_zstandard = _Zstandard()


class Facts(NamedTuple):
    """The searchable facts of a station, in the order of the store's columns.

    ``lon`` and ``lat`` are None where no search may find the station. ``hours`` is empty where nothing is understood.
    """

    operator_id: str
    lon: float | None
    lat: float | None
    access: int
    hours: bytes
    text: bytes
    evse_keys: bytes
    connectors: bytes


class PackedStation(NamedTuple):
    """A station as it is written: two with the same ``digest`` have the same content."""

    id: str
    local_id: str
    digest: bytes
    content: bytes
    facts: Facts


def pack_station(station: Station) -> PackedStation:
    """Pack a station."""
    content = _encoder.encode(station)
    return PackedStation(
        id=station.id,
        local_id=station.local_id,
        digest=blake2b(content, digest_size=_HASH_BYTES).digest(),
        content=_zstandard.compress(content),
        facts=pack_facts(station),
    )


def unpack_station(content: bytes) -> Station:
    """Return the station of a content blob. Raises msgspec.DecodeError where it is not one."""
    try:
        # Stores that are older than the way we compress keep what they have.
        packed = zlib.decompress(content) if content.startswith(_ZLIB) else _zstandard.decompress(content)
    except (zlib.error, zstandard.ZstdError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return _station_decoder.decode(packed)


def pack_facts(station: Station) -> Facts:
    """Return what searches need to know of a station."""
    point = station.location
    searchable = (
        point is not None
        and station.published
        and station.presence is not Presence.REMOVED
        and is_position(point.lon, point.lat)
    )
    return Facts(
        operator_id=station.operator_id,
        lon=point.lon if point is not None and searchable else None,
        lat=point.lat if point is not None and searchable else None,
        access=ACCESSES[station.access],
        hours=_pack_hours(station.hours, station.time_zone),
        text=searchable_text(station) if searchable else b"",
        evse_keys=b"".join([evse_digest(evse.id)[::-1] for evse in station.evses]),
        connectors=_pack_connectors(station) if searchable else b"",
    )


def holder_of(evse_id: str, station_ids: Iterable[str], stations: Mapping[str, Station | None]) -> str | None:
    """Return which of the stations that have the key of an Evse has the Evse itself: two Evses may share a key."""
    for station_id in station_ids:
        station = stations[station_id]
        if station is not None and any(evse.id == evse_id for evse in station.evses):
            return station_id
    return None


def unpack_hours(hours: bytes) -> tuple[OpeningHours, str | None]:
    """Return opening hours and time zone as ``pack_facts`` packed them."""
    return _hours_decoder.decode(hours)


def _pack_hours(hours: OpeningHours, time_zone: str | None) -> bytes:
    """Leave out whatever cannot change the answer, so that few different patterns remain."""
    if not hours.always_open and not hours.weekly and not hours.exceptions:
        return b""
    needs_zone = hours.weekly and not hours.always_open
    pattern = OpeningHours(
        always_open=hours.always_open,
        weekly=() if hours.always_open else hours.weekly,
        exceptions=hours.exceptions,
    )
    return _encoder.encode((pattern, time_zone if needs_zone else None))


def _pack_connectors(station: Station) -> bytes:
    if station.presence in NOT_OPERATING:
        return b""
    rows: list[bytes] = []
    for number, evse in enumerate(station.evses):
        if evse.presence is not Presence.IN_SERVICE and evse.presence in NOT_OPERATING:
            continue
        if not evse.connectors:
            rows.append(CONNECTOR_BYTES.pack(number, NO_CONNECTOR, NO_POWER))
        for connector in evse.connectors:
            power_w = connector.max_power_w
            if power_w is None or power_w < NO_POWER:
                power_w = NO_POWER
            elif power_w > MAX_POWER_W:
                power_w = MAX_POWER_W
            rows.append(CONNECTOR_BYTES.pack(number, _KIND_OF[connector.type._value_], power_w))
    return b"".join(rows)


def require_feed(feed: str, stations: Sequence[Station]) -> None:
    """Raise ValueError when one of the stations belongs to another feed."""
    for station in stations:
        if not station.is_of(feed):
            raise ValueError(f"station {station.id!r} of feed {station.feed!r} does not belong to feed {feed!r}")


def distinct_stations(stations: Sequence[Station]) -> list[Station]:
    """Return stations; of two with one id the later."""
    return list({station.id: station for station in stations}.values())


def pack_stations(stations: Sequence[Station]) -> list[PackedStation]:
    """Pack stations; of two with one id the later stays."""
    return [pack_station(station) for station in distinct_stations(stations)]
