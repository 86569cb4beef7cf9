"""What Elasticsearch keeps of a station: one flat document, and how its fields are indexed.

Criteria that only compare what a station says are put so that Elasticsearch answers them exactly: for each type of
connector the most that one plug of it gives, and text as one token a character. What moves by the second is answered
here, from the facts that the embedded index packs as well; a document holds them for that. Live status is never in it.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from app.index._packing import CONNECTOR_BYTES, LAYOUT, NO_CONNECTOR, pack_station
from app.model.cluster import tile_of
from app.model.station import ConnectorType, Operator, Station

MAX_DOCUMENT_ID_BYTES: Final = 512
_VERSION_BYTES: Final = 8
_HOURS_KEY_BYTES: Final = 12
_FIRST_IDEOGRAPH, _LAST_IDEOGRAPH = 0x4E00, 0x9FA5

_TYPES: Final = [kind.value for kind in ConnectorType]
_VERSION: Final = Struct("<q")
_HALVES: Final = Struct("<ii")

_KEYWORD: Final = {"type": "keyword"}
_FILTERED: Final = {"type": "keyword", "doc_values": False}
_SHOWN: Final = {"type": "keyword", "index": False}
_NUMBER: Final = {"type": "integer", "doc_values": False}
_COLUMN: Final = {"type": "double", "index": False}
_COUNTED: Final = {"type": "integer", "index": False}
_BYTES: Final = {"type": "binary", "doc_values": True}
_KEPT: Final = {"type": "binary"}

STATION_FIELDS: Final[dict[str, Any]] = {
    "id": _SHOWN,
    "local_id": _SHOWN,
    "version": {"type": "long", "index": False},
    "feed": _KEYWORD,
    "operator": _KEYWORD,
    "access": _FILTERED,
    "pos": {"type": "geo_point"},
    "lon": _COLUMN,
    "lat": _COLUMN,
    "tile_x": _COUNTED,
    "tile_y": _COUNTED,
    "kinds": _FILTERED,
    "max_power_w": _NUMBER,
    "power_w": {"properties": dict.fromkeys(_TYPES, _NUMBER)},
    "hours_key": _KEYWORD,
    "hours": _BYTES,
    "text": {"type": "text", "analyzer": "standard", "norms": False},
    "evses": _NUMBER,
    "evse_keys": _BYTES,
    "connectors": _BYTES,
    "doc": _KEPT,
}
"""How each field is indexed.

``id`` and ``version`` are read from columns; documents are found by ``_id``. ``pos`` is what Elasticsearch measures by,
quantised to a centimetre; ``lon`` and ``lat`` are the exact doubles, and ``tile_x`` and ``tile_y`` the tile that those
are in, of the greatest zoom. ``evses`` holds the low half of each Evse's key; ``doc`` is the station itself, packed: as
JSON it is five times as large, and writing it took longer than all else.
"""

OPERATOR_FIELDS: Final[dict[str, Any]] = {"id": _SHOWN, "doc": {"type": "object", "enabled": False}}

DOCUMENT_LAYOUT: Final = blake2b(repr((3, LAYOUT, STATION_FIELDS)).encode(), digest_size=_VERSION_BYTES).hexdigest()
"""Names everything that documents depend on; an index with another layout is built anew from its stations."""

_encoder = msgspec.json.Encoder()


class Document(NamedTuple):
    """A station as it is written: two lines of a bulk request. Equal versions of a station have equal content."""

    id: str
    version: int
    evse_keys: bytes
    lines: bytes


def index_body(fields: Mapping[str, Any], alias: str) -> dict[str, Any]:
    """Return what an index is created with.

    One shard, for a search over two costs more than twice; as soon as there are two nodes a copy of it. Nothing is
    refreshed by itself: who commits says when.
    """
    return {
        "settings": {
            "number_of_shards": 1,
            "auto_expand_replicas": "0-1",
            "refresh_interval": "-1",
            "unassigned.node_left.delayed_timeout": "5s",
        },
        "mappings": {"dynamic": "strict", "_meta": {"layout": DOCUMENT_LAYOUT}, "properties": dict(fields)},
        "aliases": {alias: {}},
    }


def station_documents(stations: Sequence[Station]) -> list[Document]:
    """Return the documents of stations."""
    return [station_document(station) for station in stations]


def station_document(station: Station) -> Document:
    """Return the document of a station."""
    packed = pack_station(station)
    facts = packed.facts
    (version,) = _VERSION.unpack_from(packed.digest)
    fields: dict[str, Any] = {
        "id": station.id,
        "local_id": station.local_id,
        "version": version,
        "feed": station.feed,
        "evses": [low for low, _ in _HALVES.iter_unpack(facts.evse_keys)],
        "evse_keys": facts.evse_keys,
    }
    if facts.lon is not None and facts.lat is not None:
        tile_x, tile_y = tile_of(facts.lon, facts.lat)
        fields |= {
            "operator": station.operator_id,
            "access": station.access.value,
            "pos": (facts.lon, facts.lat),
            "lon": facts.lon,
            "lat": facts.lat,
            "tile_x": tile_x,
            "tile_y": tile_y,
            "text": text_tokens(facts.text.decode()),
            "connectors": facts.connectors,
        }
        powers = _powers(facts.connectors)
        if powers:
            fields |= {"kinds": list(powers), "power_w": powers, "max_power_w": max(powers.values())}
        if facts.hours:
            fields |= {"hours": facts.hours, "hours_key": hours_key(facts.hours)}
    fields["doc"] = packed.content
    return Document(station.id, version, facts.evse_keys, index_lines(station.id, _encoder.encode(fields)))


def operator_lines(operator: Operator) -> bytes:
    """Return the lines that add or replace an operator."""
    return index_lines(operator.id, _encoder.encode({"id": operator.id, "doc": operator}))


def index_lines(name: str, source: bytes) -> bytes:
    """Return the lines of a bulk request that write a document."""
    return b'{"index":{"_id":%b}}\n%b\n' % (_encoder.encode(document_id(name)), source)


def delete_line(name: str) -> bytes:
    """Return the line of a bulk request that deletes a document."""
    return b'{"delete":{"_id":%b}}\n' % _encoder.encode(document_id(name))


def document_id(name: str) -> str:
    """Return the ``_id`` of what is called so; Elasticsearch takes no more than 512 bytes."""
    encoded = name.encode()
    return name if len(encoded) <= MAX_DOCUMENT_ID_BYTES else f"#{blake2b(encoded).hexdigest()}"


def hours_key(hours: bytes) -> str:
    """Return the name of a packed opening pattern."""
    return blake2b(hours, digest_size=_HOURS_KEY_BYTES).hexdigest()


class _Tokens(dict[int, str]):
    """What each character becomes, worked out at its first sight."""

    def __missing__(self, code: int) -> str:
        token = chr(code) if _FIRST_IDEOGRAPH <= code <= _LAST_IDEOGRAPH else f" u{code:x} "
        self[code] = token
        return token


_tokens = _Tokens()


def text_tokens(text: str) -> str:
    """Return folded text so that the analyzer ``standard`` makes one token of each character, and loses none.

    ``standard`` alone drops signs and takes Latin words and numbers for one token each, so that a part of a word would
    not be found. Ideographs are tokens as they are; any other character is written as a word of its own. Then
    ``match_phrase`` finds a run of characters exactly where Python's ``in`` does.
    """
    return text.translate(_tokens)


def _powers(connectors: bytes) -> dict[str, int]:
    """Return the types of the plugs that can be used, each with the most that one of them gives; no figure is -1."""
    powers: dict[str, int] = {}
    for _, kind, power_w in CONNECTOR_BYTES.iter_unpack(connectors):
        if kind != NO_CONNECTOR:
            name = _TYPES[kind]
            powers[name] = max(power_w, powers.get(name, power_w))
    return powers
