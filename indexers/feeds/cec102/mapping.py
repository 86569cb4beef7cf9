"""From T/CEC 102.2's StationInfo and ConnectorStatusInfo to the model.

T/CEC's *Connector* (a gun) becomes an Evse with one Connector; its *Equipment* (a cabinet) becomes attributes that its
Evses share. Nothing here raises for what a platform sent: one bad gun never loses its station, one bad station never
its page. What was refused, repaired or not known is counted.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from app.model.availability import Availability, EvseStatus, StatusChannel
from app.model.clock import Instant
from app.model.datum import Datum, to_wgs84
from app.model.feed import Rejection
from app.model.geo import Point, is_position
from app.model.identity import MAX_ID_CHARACTERS, make_id, operator_id
from app.model.opening import UNKNOWN_HOURS, OpeningHours
from app.model.station import (
    Access,
    Address,
    Connector,
    ConnectorFormat,
    ConnectorType,
    Current,
    Evse,
    Flag,
    OriginalPosition,
    ParkingPlace,
    PowerBasis,
    Presence,
    StatedFees,
    Station,
)
from indexers.base import StatusBatch
from indexers.feeds.cec102.hours import read_hours
from indexers.feeds.cec102.values import (
    JsonObject,
    code_text,
    flag_is_set,
    identifier,
    integer,
    is_given,
    number,
    objects,
    standard_keys,
    text,
)

TIME_ZONE: Final = "Asia/Shanghai"

_Meaning = TypeVar("_Meaning")

_MAX_PICTURES: Final = 20
_MAX_FACILITIES: Final = 20
_MAX_URL_CHARACTERS: Final = 500
_MAX_CABINETS_A_STATION: Final = 5_000
_MAX_GUNS_A_CABINET: Final = 5_000
_MAX_CACHED_TEXT: Final = 40
_MAX_BAYS: Final = 100_000

_PRESENCES: Final = {
    1: Presence.UNDER_CONSTRUCTION,
    5: Presence.TEMPORARILY_CLOSED,
    6: Presence.TEMPORARILY_CLOSED,
    50: Presence.IN_SERVICE,
    51: Presence.TEMPORARILY_CLOSED,
}
_ACCESSES: Final = {
    1: Access.PUBLIC,
    50: Access.PRIVATE_SHARED,
    100: Access.RESTRICTED_FLEET,
    101: Access.RESTRICTED_FLEET,
    102: Access.RESTRICTED_FLEET,
    103: Access.RESTRICTED_FLEET,
    104: Access.RESTRICTED_FLEET,
    105: Access.PRIVATE_SHARED,
    106: Access.MEMBERS,
    107: Access.PRIVATE_SHARED,
}
_TEST_WORDS: Final = ("测试", "虚拟")
_SITES: Final = dict.fromkeys([*range(1, 16), 255], ParkingPlace.UNKNOWN) | {
    1: ParkingPlace.DRIVEWAY,
    9: ParkingPlace.GARAGE,
    10: ParkingPlace.ON_STREET,
    11: ParkingPlace.MOTORWAY,
}
_ORIENTATIONS: Final = {
    1: ParkingPlace.PARKING_LOT,
    2: ParkingPlace.ON_STREET,
    3: ParkingPlace.UNDERGROUND,
    4: ParkingPlace.GARAGE,
}
_COUNTRIES: Final = {
    "CN": "CN",
    "CHN": "CN",
    "CHINA": "CN",
    "中国": "CN",
    "86": "CN",
    "156": "CN",
    "中华人民共和国": "CN",
}
_AMENITY_CODES: Final = {1: "TOILET", 2: "SHOP", 3: "RESTAURANT", 4: "LOUNGE", 5: "RAIN_SHELTER"}
_AMENITY_FIELDS: Final = (
    ("Wc", "TOILET"),
    ("Shop", "SHOP"),
    ("LightMeal", "RESTAURANT"),
    ("Lounge", "LOUNGE"),
    ("Rainshed", "RAIN_SHELTER"),
    ("DutyNum", "ATTENDED"),
    ("HavePerson", "ATTENDED"),
)
_COMMAS: Final = re.compile(r"[,;，；、]")
_JOINTS: Final = re.compile(r"[,;，；\s]+(?=[hH][tT][tT][pP][sS]?://)")
_ROUND_THE_CLOCK: Final = ("RoundTheClock", "Is24Hour", "BusineHours724")

_PLUGS: Final = {
    1: (ConnectorType.DOMESTIC, ConnectorFormat.SOCKET, Current.AC),
    2: (ConnectorType.GBT_AC, ConnectorFormat.SOCKET, Current.AC),
    3: (ConnectorType.GBT_AC, ConnectorFormat.CABLE, Current.AC),
    4: (ConnectorType.GBT_DC, ConnectorFormat.CABLE, Current.DC),
    5: (ConnectorType.WIRELESS, ConnectorFormat.UNKNOWN, Current.UNKNOWN),
    6: (ConnectorType.OTHER, ConnectorFormat.UNKNOWN, Current.UNKNOWN),
}
_PLUGS_BY_EQUIPMENT: Final = {
    1: (ConnectorType.GBT_DC, ConnectorFormat.CABLE, Current.DC),
    2: (ConnectorType.GBT_AC, ConnectorFormat.UNKNOWN, Current.AC),
    4: (ConnectorType.WIRELESS, ConnectorFormat.UNKNOWN, Current.UNKNOWN),
}
_CURRENTS_BY_EQUIPMENT: Final = {1: Current.DC, 2: Current.AC}
_EQUIPMENT_TYPES: Final = range(1, 6)
_REVISIONS: Final = {1: "2011", 2: "2015"}

_AVAILABILITIES: Final = {
    0: Availability.OFFLINE,
    1: Availability.AVAILABLE,
    2: Availability.OCCUPIED,
    3: Availability.CHARGING,
    4: Availability.RESERVED,
    255: Availability.OUT_OF_ORDER,
}

# China's box. Its longitudes and latitudes do not overlap, so that a swapped pair can be told for certain.
_WEST, _EAST, _SOUTH, _NORTH = 73.0, 136.0, 3.0, 54.0
_MICRO_DEGREES: Final = 1_000_000.0
_NOWHERE_DEGREES: Final = 0.001

_AC_MAX_KW: Final = 50.0
_DC_MAX_KW: Final = 1_500.0
_DOMESTIC_MAX_KW: Final = 3.7
_CABINET_MAX_KW: Final = 10_000.0
_AC_LINE_TO_NEUTRAL_V: Final = 300
_TOLERANCE: Final = 1.2


class Notes(msgspec.Struct):
    """What mapping has to say beside its result; grows as records are mapped."""

    rejections: list[Rejection] = []
    unknown_codes: list[str] = []

    def reject(self, reason: str, record_id: str, detail: str) -> None:
        """Count a refused record."""
        self.rejections.append(Rejection(reason, record_id[:MAX_ID_CHARACTERS], detail))

    def count(self, name: str, value: object) -> None:
        """Count a code that maps to UNKNOWN or OTHER."""
        self.unknown_codes.append(f"{name}={code_text(value)}")


class Mapper:
    """Maps what one partner sends. Identifiers are the partner's own, under ``feed:party:``.

    A push names a gun by its ConnectorID alone, so that the Evse's id rests on that and the profile's party only.
    """

    def __init__(self, feed: str, party: str, datum: Datum) -> None:
        """Keep whose data it is and what its positions are measured against."""
        self._feed = feed
        self._operator_id = operator_id(feed, party)
        self._prefix = make_id(feed, party, "-")[:-1]
        self._datum = datum
        self._most = MAX_ID_CHARACTERS - len(self._prefix)

    # ----------------------------------------------------------------------------------------------------- stations

    def station(self, raw: object, notes: Notes) -> Station | None:
        """Return the station, None (and a rejection) where the record cannot be one."""
        if not isinstance(raw, dict):
            notes.reject("station_not_an_object", "", f"it is {type(raw).__name__}")
            return None
        fields = standard_keys(raw)
        found = self._identify(fields.get("StationID"), "station", "", notes)
        if found is None:
            return None
        local_id, station_id = found
        flags: set[Flag] = set()
        if local_id != station_id:
            flags.add(Flag.IDENTIFIER_TRIMMED)
        presence = _code(fields, "StationStatus", _PRESENCES, Presence.UNKNOWN, notes, flags)
        reservable = flag_is_set(fields, "SupportOrder")
        evses, cabinet_positions = self._evses(fields, station_id, presence, reservable, notes, flags)
        location, original = self._position(fields, cabinet_positions, flags)
        name = _text(fields, "StationName", flags)
        hours_text = _text(fields, "BusineHours", flags)
        return Station(
            id=self._prefix + station_id,
            feed=self._feed,
            operator_id=self._operator_id,
            local_id=local_id,
            name=name,
            address=Address(
                text=_text(fields, "Address", flags),
                country=_country(fields.get("CountryCode"), notes, flags),
                area_code=_text(fields, "AreaCode", flags),
            ),
            location=location,
            original_position=original,
            presence=presence,
            access=_access(fields, name, notes, flags),
            parking_place=_parking_place(fields, notes, flags),
            hours=_hours(fields, hours_text),
            fees=StatedFees(
                electricity=_text(fields, "ElectricityFee", flags),
                service=_text(fields, "ServiceFee", flags),
                parking=_text(fields, "ParkFee", flags),
                payment=_text(fields, "Payment", flags),
            ),
            time_zone=TIME_ZONE,
            phones=_phones(fields, flags),
            bay_count=_bay_count(fields, flags),
            directions=_text(fields, "SiteGuide", flags),
            remark=_text(fields, "Remark", flags),
            image_urls=_image_urls(fields.get("Pictures"), flags),
            amenities=_amenities(fields, notes),
            equipment_owner_id=_text(fields, "EquipmentOwnerID", flags),
            evses=evses,
            flags=_in_order(flags),
        )

    def _identify(self, value: object, what: str, within: str, notes: Notes) -> tuple[str, str] | None:
        found = identifier(value)
        if found is None or len(found[1]) > self._most:
            known = within and f"in {within}: "
            if not is_given(value) or (type(value) is str and not value.strip()):
                notes.reject(f"{what}_id_blank", within, f"{known}no {what} id")
            else:
                notes.reject(f"{what}_id_unreadable", within, f"{known}{code_text(value)!r}")
            return None
        return found

    def _evses(
        self,
        fields: JsonObject,
        station_id: str,
        presence: Presence,
        reservable: bool | None,
        notes: Notes,
        station_flags: set[Flag],
    ) -> tuple[tuple[Evse, ...], list[tuple[Any, Any]]]:
        """Return the station's guns, and the positions that its cabinets state."""
        evses: list[Evse] = []
        positions: list[tuple[Any, Any]] = []
        seen: set[str] = set()
        prefix = self._prefix
        for raw_cabinet in _bounded(fields.get("EquipmentInfos"), _MAX_CABINETS_A_STATION, station_id, notes):
            if not isinstance(raw_cabinet, dict):
                notes.reject("equipment_not_an_object", station_id, f"it is {type(raw_cabinet).__name__}")
                continue
            cabinet = standard_keys(raw_cabinet)
            # Guns are called by their own id: a cabinet without one is counted, and its guns are kept.
            found = self._identify(cabinet.get("EquipmentID"), "equipment", station_id, notes)
            positions.append((cabinet.get("EquipmentLng"), cabinet.get("EquipmentLat")))
            flags: set[Flag] = set()
            cabinet_kind, cabinet_power = cabinet.get("EquipmentType"), cabinet.get("Power")
            if is_given(cabinet_kind) and integer(cabinet_kind) not in _EQUIPMENT_TYPES:
                notes.count("EquipmentType", cabinet_kind)
            limit_w, limit_flags = _cabinet_power_w(cabinet_power)
            cabinet_name = _text(cabinet, "EquipmentName", flags)
            manufacturer = _text(cabinet, "ManufacturerName", flags) or _text(cabinet, "ManufacturerID", flags)
            model = _text(cabinet, "EquipmentModel", flags)
            guns = _bounded(cabinet.get("ConnectorInfos"), _MAX_GUNS_A_CABINET, station_id, notes)
            lone_power = cabinet_power if len(guns) == 1 else None
            for raw_gun in guns:
                if not isinstance(raw_gun, dict):
                    notes.reject("connector_not_an_object", station_id, f"it is {type(raw_gun).__name__}")
                    continue
                gun = standard_keys(raw_gun)
                identity = self._identify(gun.get("ConnectorID"), "connector", station_id, notes)
                if identity is None:
                    continue
                local_id, gun_id = identity
                if gun_id in seen:
                    station_flags.add(Flag.DUPLICATE_DROPPED)
                    notes.reject("connector_repeated", gun_id, f"again in station {station_id}")
                    continue
                seen.add(gun_id)
                power = gun.get("Power")
                connector, codes = _connector(
                    gun.get("ConnectorType"),
                    cabinet_kind,
                    gun.get("VoltageUpperLimits"),
                    gun.get("Current"),
                    power,
                    None if is_given(power) and number(power) != 0 else lone_power,
                    gun.get("NationalStandard"),
                )
                if codes:
                    notes.unknown_codes.extend(codes)
                gun_flags = set(flags)
                name = _text(gun, "ConnectorName", gun_flags)
                bay = _text(gun, "ParkNo", gun_flags)
                if local_id != gun_id:
                    gun_flags.add(Flag.IDENTIFIER_TRIMMED)
                evses.append(
                    Evse(
                        id=prefix + gun_id,
                        local_id=local_id,
                        name=name,
                        physical_reference=bay,
                        presence=presence,
                        reservable=reservable,
                        equipment_id=None if found is None else found[1],
                        equipment_name=cabinet_name,
                        manufacturer=manufacturer,
                        model=model,
                        power_limit_w=limit_w,
                        connectors=(connector,),
                        flags=_in_order(gun_flags) + limit_flags if gun_flags else limit_flags,
                    )
                )
        if not evses:
            station_flags.add(Flag.NO_EVSES)
        return tuple(evses), positions

    def _position(
        self, fields: JsonObject, cabinet_positions: list[tuple[Any, Any]], flags: set[Flag]
    ) -> tuple[Point | None, OriginalPosition | None]:
        """Return WGS-84 and what was stated; where the station states nothing usable, a cabinet's word counts."""
        location, original, found = _position(fields.get("StationLng"), fields.get("StationLat"), self._datum)
        if location is None:
            for lon, lat in cabinet_positions:
                other, other_original, doubts = _position(lon, lat, self._datum)
                if other is not None and not doubts:
                    flags.update((*found - {Flag.COORDINATES_MISSING}, Flag.COORDINATES_FROM_EVSES))
                    return other, other_original
        flags.update(found)
        return location, original

    # ------------------------------------------------------------------------------------------------------- status

    def statuses(
        self, records: Sequence[object], *, at: Instant, stale_after: Instant, channel: StatusChannel
    ) -> StatusBatch:
        """Return what ConnectorStatusInfos say, and what was wrong with them."""
        notes = Notes()
        statuses = [self.status(raw, notes, at=at, stale_after=stale_after, channel=channel) for raw in records]
        return StatusBatch(
            statuses=tuple(status for status in statuses if status is not None),
            rejections=tuple(notes.rejections),
            unknown_codes=tuple(notes.unknown_codes),
        )

    def status(
        self, raw: object, notes: Notes, *, at: Instant, stale_after: Instant, channel: StatusChannel
    ) -> EvseStatus | None:
        """Return what a ConnectorStatusInfo says, None (and a rejection) where it names no gun or no status.

        T/CEC 102 gives no time of the event: it is observed when it is received.
        """
        if not isinstance(raw, dict):
            notes.reject("status_not_an_object", "", f"it is {type(raw).__name__}")
            return None
        fields = standard_keys(raw)
        found = self._identify(fields.get("ConnectorID"), "connector", "", notes)
        if found is None:
            return None
        value = fields.get("Status")
        if not is_given(value):
            notes.reject("status_missing", found[1], "no Status")
            return None
        code = integer(value)
        availability = None if code is None else _AVAILABILITIES.get(code)
        if availability is None:
            notes.count("Status", value)
            availability = Availability.UNKNOWN
        return EvseStatus(
            evse_id=self._prefix + found[1],
            availability=availability,
            raw=code_text(value) if code is None else str(code),
            observed_at=at,
            received_at=at,
            stale_after=stale_after,
            channel=channel,
        )


def status_records(fields: JsonObject) -> list[Any]:
    """Return the ConnectorStatusInfos of an answer or a push: under its stations, in a list, one alone, or bare."""
    records = list(objects(fields.get("ConnectorStatusInfos")))
    for raw in objects(fields.get("StationStatusInfos")):
        records += objects(standard_keys(raw).get("ConnectorStatusInfos")) if isinstance(raw, dict) else [raw]
    return [fields] if not records and "ConnectorID" in fields else records


def station_local_id(raw: object) -> str | None:
    """Return what identifies a StationInfo within its operator, None where nothing does."""
    found = identifier(standard_keys(raw).get("StationID")) if isinstance(raw, dict) else None
    return None if found is None else found[1]


# --------------------------------------------------------------------------------------------------------- one field


def _text(fields: JsonObject, name: str, flags: set[Flag]) -> str | None:
    value, cleaned = text(fields.get(name))
    if cleaned:
        flags.add(Flag.TEXT_CLEANED)
    return value


def _in_order(flags: set[Flag]) -> tuple[Flag, ...]:
    return tuple(flag for flag in Flag if flag in flags) if flags else ()


def _bounded(value: object, most: int, station_id: str, notes: Notes) -> Sequence[Any]:
    found = objects(value)
    if len(found) > most:
        notes.reject("list_too_long", station_id, f"{len(found)} entries; the first {most} are read")
        return found[:most]
    return found


def _code(
    fields: JsonObject, name: str, meanings: dict[int, _Meaning], unknown: _Meaning, notes: Notes, flags: set[Flag]
) -> _Meaning:
    """Return what a code means; ``unknown`` for none given, for one that cannot be read and for one not in the table,
    the last two counted.
    """
    value = fields.get(name)
    if not is_given(value):
        return unknown
    code = integer(value)
    if code is None:
        flags.add(Flag.VALUE_UNREADABLE)
    elif (meaning := meanings.get(code)) is not None:
        return meaning
    notes.count(name, value)
    return unknown


def _country(value: object, notes: Notes, flags: set[Flag]) -> str:
    """Return alpha-2. The standard says CN; a platform that says nothing, or nothing readable, is taken for Chinese."""
    if value == "CN":
        return "CN"
    written, _ = text(value)
    if written is not None:
        folded = written.upper()
        known = _COUNTRIES.get(folded)
        if known is not None:
            return known
        if len(folded) == 2 and folded.isascii() and folded.isalpha():
            return folded
        notes.count("CountryCode", written)
    flags.add(Flag.COUNTRY_INFERRED)
    return "CN"


def _access(fields: JsonObject, name: str | None, notes: Notes, flags: set[Flag]) -> Access:
    access = _code(fields, "StationType", _ACCESSES, Access.UNKNOWN, notes, flags)
    if name is not None and any(word in name for word in _TEST_WORDS):
        return Access.TEST
    return access


def _parking_place(fields: JsonObject, notes: Notes, flags: set[Flag]) -> ParkingPlace:
    """Return the kind of place; the later dialects' StationOrientation says it exactly, Construction by the way."""
    site = _code(fields, "Construction", _SITES, ParkingPlace.UNKNOWN, notes, flags)
    return _code(fields, "StationOrientation", _ORIENTATIONS, site, notes, flags)


def _hours(fields: JsonObject, raw: str | None) -> OpeningHours:
    """Return the hours; the later dialects' round-the-clock field counts where the text is not understood."""
    hours = UNKNOWN_HOURS if raw is None else read_hours(raw)
    if hours.always_open is None and any(flag_is_set(fields, name) for name in _ROUND_THE_CLOCK):
        return OpeningHours(always_open=True, raw=raw)
    return hours


def _phones(fields: JsonObject, flags: set[Flag]) -> tuple[str, ...]:
    station, service = _text(fields, "StationTel", flags), _text(fields, "ServiceTel", flags)
    if station == service:
        service = None
    return tuple(phone for phone in (station, service) if phone is not None and any(map(str.isdigit, phone)))


def _bay_count(fields: JsonObject, flags: set[Flag]) -> int | None:
    """Return ParkNums; 0 means that it is not known."""
    value = fields.get("ParkNums")
    if not is_given(value):
        return None
    bays = integer(value)
    if bays is None or not 0 <= bays <= _MAX_BAYS:
        flags.add(Flag.VALUE_UNREADABLE)
        return None
    return bays or None


def _image_urls(value: object, flags: set[Flag]) -> tuple[str, ...]:
    """Return the addresses from a list or from one text that joins them; what is no address is dropped and flagged."""
    urls: dict[str, None] = {}
    for entry in (value if isinstance(value, list) else [value])[:_MAX_PICTURES]:
        if not is_given(entry):
            continue
        if not isinstance(entry, str):
            flags.add(Flag.VALUE_UNREADABLE)
            continue
        for part in _JOINTS.split(entry[: _MAX_PICTURES * _MAX_URL_CHARACTERS]):
            url = part.strip(" ,;，；\t\r\n")
            sane = url[:8].lower().startswith(("http://", "https://")) and url.isprintable() and " " not in url
            if sane and len(url) <= _MAX_URL_CHARACTERS:
                urls[url] = None
            elif url:
                flags.add(Flag.VALUE_UNREADABLE)
    return tuple(urls)[:_MAX_PICTURES]


def _amenities(fields: JsonObject, notes: Notes) -> tuple[str, ...]:
    found: dict[str, None] = {}
    facilities = fields.get("SupportingFacilities")
    if isinstance(facilities, str):
        facilities = _COMMAS.split(facilities, maxsplit=_MAX_FACILITIES)
    for value in (facilities if isinstance(facilities, list) else [facilities])[:_MAX_FACILITIES]:
        code = integer(value)
        amenity = None if code is None else _AMENITY_CODES.get(code)
        if amenity is not None:
            found[amenity] = None
        elif is_given(value):
            notes.count("SupportingFacilities", value)
    for name, amenity in _AMENITY_FIELDS:
        if name in fields and (integer(fields[name]) or 0) > 0:
            found[amenity] = None
    return tuple(found)


# --------------------------------------------------------------------------------------------------------- positions

_FINE: Final[frozenset[Flag]] = frozenset()
_MISSING: Final = frozenset({Flag.COORDINATES_MISSING})
_UNREADABLE: Final = frozenset({Flag.COORDINATES_MISSING, Flag.VALUE_UNREADABLE})
_DOUBTFUL: Final = frozenset({Flag.COORDINATES_DOUBTFUL})
_SWAPPED: Final = frozenset({Flag.COORDINATES_SWAPPED})


def _in_china(lon: float, lat: float) -> bool:
    return _WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH


def _position(
    lon_value: object, lat_value: object, datum: Datum
) -> tuple[Point | None, OriginalPosition | None, frozenset[Flag]]:
    """Return WGS-84, what was stated, and the doubts. Repaired only where one reading is possible, and flagged."""
    lon, lat = number(lon_value), number(lat_value)
    if lon is None or lat is None:
        unreadable = (lon is None and is_given(lon_value)) or (lat is None and is_given(lat_value))
        return None, None, _UNREADABLE if unreadable else _MISSING
    original = OriginalPosition(lon=lon, lat=lat, datum=datum)
    if _in_china(lon, lat):
        return to_wgs84(lon, lat, datum), original, _FINE
    if abs(lon) < _NOWHERE_DEGREES or abs(lat) < _NOWHERE_DEGREES:
        return None, original, _MISSING
    if _in_china(lat, lon):
        return to_wgs84(lat, lon, datum), original, _SWAPPED
    small_lon, small_lat = lon / _MICRO_DEGREES, lat / _MICRO_DEGREES
    if _in_china(small_lon, small_lat):
        return to_wgs84(small_lon, small_lat, datum), original, _DOUBTFUL
    if _in_china(small_lat, small_lon):
        return to_wgs84(small_lat, small_lon, datum), original, _DOUBTFUL | _SWAPPED
    return (to_wgs84(lon, lat, datum) if is_position(lon, lat) else None), original, _DOUBTFUL


# -------------------------------------------------------------------------------------------------------------- guns


def _connector(*values: object) -> tuple[Connector, tuple[str, ...]]:
    """Return a gun's plug and the codes not known. Most guns of a network are alike, and share one value."""
    for value in values:
        if type(value) is str and len(value) > _MAX_CACHED_TEXT:
            return _plug(*values)
    try:
        return _shared_plug(*values)
    except TypeError:  # a list or an object where a number belongs cannot be a key
        return _plug(*values)


def _plug(
    kind: object,
    cabinet_kind: object,
    volts: object,
    amps: object,
    power: object,
    lone_power: object,
    revision: object,
) -> tuple[Connector, tuple[str, ...]]:
    notes = Notes()
    flags: set[Flag] = set()
    cabinet_code = integer(cabinet_kind)
    code = integer(kind)
    plug = _PLUGS.get(code) if code is not None else None
    if plug is None and is_given(kind):
        plug = (
            ConnectorType.OTHER,
            ConnectorFormat.UNKNOWN,
            _CURRENTS_BY_EQUIPMENT.get(cabinet_code or 0, Current.UNKNOWN),
        )
    elif plug is None and (plug := _PLUGS_BY_EQUIPMENT.get(cabinet_code or 0)) is not None:
        flags.add(Flag.TYPE_INFERRED)
    elif plug is None:
        plug = ConnectorType.UNKNOWN, ConnectorFormat.UNKNOWN, Current.UNKNOWN
    connector_type, connector_format, current = plug
    if is_given(kind) and connector_type is ConnectorType.OTHER:
        notes.count("ConnectorType", kind)
    voltage_v, amperage_a = _positive(volts, flags), _positive(amps, flags)
    max_power_w, basis, power_flags = _power(power, connector_type, current, voltage_v, amperage_a)
    if is_given(lone_power):
        max_power_w, basis, power_flags = _power(lone_power, connector_type, current, voltage_v, amperage_a)
        basis = PowerBasis.DERIVED if basis is PowerBasis.DECLARED else basis
    flags |= power_flags
    revision_code = integer(revision)
    standard_revision = _REVISIONS.get(revision_code or 0)
    if standard_revision is None and is_given(revision):
        standard_revision = code_text(revision)
        notes.count("NationalStandard", revision)
    connector = Connector(
        id="1",
        type=connector_type,
        raw_type=code_text(kind) if is_given(kind) else None,
        format=connector_format,
        current=current,
        max_power_w=max_power_w,
        power_basis=basis,
        voltage_v=voltage_v,
        amperage_a=amperage_a,
        standard_revision=standard_revision,
        flags=_in_order(flags),
    )
    return connector, tuple(notes.unknown_codes)


_shared_plug = lru_cache(maxsize=16_384, typed=True)(_plug)


def _positive(value: object, flags: set[Flag]) -> int | None:
    """Return volts or amperes as a whole number; 0 is how forms write "not stated"."""
    read = number(value)
    if read is None or not -1e9 < read < 1e9:
        if is_given(value):
            flags.add(Flag.VALUE_UNREADABLE)
        return None
    return round(read) if read >= 1 else None


def _power(
    value: object, plug: ConnectorType, current: Current, voltage_v: int | None, amperage_a: int | None
) -> tuple[int | None, PowerBasis, set[Flag]]:
    """Return watts from a field in kW, its basis and the doubts.

    0 and less mean unknown. What cannot be kW, but is possible as watts by the stated volts and amperes, is watts in
    the wrong field: repaired and flagged. Otherwise what cannot be is flagged and not used.
    """
    kw = number(value)
    if kw is None:
        return None, PowerBasis.UNKNOWN, {Flag.VALUE_UNREADABLE} if is_given(value) else set()
    if kw <= 0:
        return None, PowerBasis.UNKNOWN, {Flag.POWER_IMPLAUSIBLE} if kw < 0 else set()
    most_kw = _AC_MAX_KW if current is Current.AC else _DC_MAX_KW
    if kw <= most_kw:
        too_strong = plug is ConnectorType.DOMESTIC and kw > _DOMESTIC_MAX_KW
        return round(kw * 1_000), PowerBasis.DECLARED, {Flag.POWER_IMPLAUSIBLE} if too_strong else set()
    watts = kw
    if voltage_v is not None and amperage_a is not None and watts >= 1_000 and watts <= most_kw * 1_000:
        phases = 1.0
        if current is Current.AC:
            phases = 3.0 if voltage_v <= _AC_LINE_TO_NEUTRAL_V else 3.0**0.5
        if watts <= phases * voltage_v * amperage_a * _TOLERANCE:
            return round(watts), PowerBasis.REPAIRED, {Flag.POWER_UNIT_DOUBTFUL}
    return None, PowerBasis.UNKNOWN, {Flag.POWER_IMPLAUSIBLE}


def _cabinet_power_w(value: object) -> tuple[int | None, tuple[Flag, ...]]:
    """Return what a cabinet's guns share, in watts, and the doubts."""
    kw = number(value)
    if kw is None:
        return None, (Flag.VALUE_UNREADABLE,) if is_given(value) else ()
    if kw > _CABINET_MAX_KW or kw < 0:
        return None, (Flag.POWER_IMPLAUSIBLE,)
    return round(kw * 1_000) or None, ()
