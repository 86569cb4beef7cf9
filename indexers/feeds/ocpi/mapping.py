"""From one OCPI Location, of any version, to a Station with its statuses and operators."""

import re
import unicodedata
from functools import lru_cache

import msgspec

from app.model.availability import Availability, EvseStatus
from app.model.clock import Instant
from app.model.datum import Datum
from app.model.feed import Rejection
from app.model.identity import MAX_ID_CHARACTERS, make_id, operator_id
from app.model.station import (
    Access,
    Address,
    Connector,
    ConnectorFormat,
    ConnectorType,
    Current,
    Evse,
    Flag,
    Operator,
    ParkingPlace,
    Presence,
    Station,
)
from indexers.feeds.ocpi.hours import read_hours, read_time_zone
from indexers.feeds.ocpi.places import find_country, lies_in, locate
from indexers.feeds.ocpi.power import rate
from indexers.feeds.ocpi.values import (
    Notes,
    Record,
    code_of,
    find_record,
    list_records,
    list_texts,
    read_bool,
    read_choice,
    read_identifier,
    read_instant,
    read_number,
    read_text,
)

MAX_NAME_CHARACTERS = 300
MAX_TEXT_CHARACTERS = 2_000
MAX_URL_CHARACTERS = 2_000
MAX_IMAGES = 20
MAX_SLUG_CHARACTERS = 100
_MOST_VOLTS_OR_AMPERES = 1e6
_PARTY_KEY = re.compile(r"[\w*.-]{1,40}")

_STATUS = {
    "available": Availability.AVAILABLE,
    "blocked": Availability.BLOCKED,
    "charging": Availability.CHARGING,
    "inoperative": Availability.UNAVAILABLE,
    "outoforder": Availability.OUT_OF_ORDER,
    "planned": Availability.UNAVAILABLE,
    "removed": Availability.UNAVAILABLE,
    "reserved": Availability.RESERVED,
    "unknown": Availability.UNKNOWN,
}
_PRESENCE = {"planned": Presence.PLANNED, "removed": Presence.REMOVED}
_TYPES = {
    "chademo": ConnectorType.CHADEMO,
    "chaoji": ConnectorType.CHAOJI,
    "gbtac": ConnectorType.GBT_AC,
    "gbtdc": ConnectorType.GBT_DC,
    "iec603092single16": ConnectorType.CEE_SINGLE_16,
    "iec603092three16": ConnectorType.CEE_THREE_16,
    "iec603092three32": ConnectorType.CEE_THREE_32,
    "iec603092three64": ConnectorType.CEE_THREE_64,
    "iec62196t1": ConnectorType.TYPE1,
    "iec62196t1combo": ConnectorType.TYPE1_COMBO,
    "iec62196t2": ConnectorType.TYPE2,
    "iec62196t2combo": ConnectorType.TYPE2_COMBO,
    "iec62196t3a": ConnectorType.TYPE3A,
    "iec62196t3c": ConnectorType.TYPE3C,
    "mcs": ConnectorType.MCS,
    "pantographbottomup": ConnectorType.PANTOGRAPH,
    "pantographtopdown": ConnectorType.PANTOGRAPH,
    "saej3400": ConnectorType.NACS,
    "teslar": ConnectorType.TESLA_ROADSTER,
    "teslas": ConnectorType.TESLA_S,
    **{f"domestic{letter}": ConnectorType.DOMESTIC for letter in "abcdefghijklmno"},
    **{f"nema{size}": ConnectorType.NEMA for size in ("520", "630", "650", "1030", "1050", "1430", "1450")},
}
_TYPES_OF_OTHER_STANDARDS = {
    "type1connectorcableattached": ConnectorType.TYPE1,
    "type2outlet": ConnectorType.TYPE2,
    "type2connectorcableattached": ConnectorType.TYPE2,
    "ccscombo1plugcableattached": ConnectorType.TYPE1_COMBO,
    "ccscombo2plugcableattached": ConnectorType.TYPE2_COMBO,
    "typefschuko": ConnectorType.DOMESTIC,
    "typeefrenchstandard": ConnectorType.DOMESTIC,
    "typegbritishstandard": ConnectorType.DOMESTIC,
    "typejswissstandard": ConnectorType.DOMESTIC,
}
"""OICP's names, which some parties send in OCPI's field: they name exactly one plug, so that nothing is guessed."""
_FORMATS = {"socket": ConnectorFormat.SOCKET, "cable": ConnectorFormat.CABLE}
_SPLIT_PHASE = "ac2phasesplit"
_CURRENTS = {
    "ac": Current.AC,
    "ac1phase": Current.AC_1_PHASE,
    "ac2phase": Current.AC_2_PHASE,
    _SPLIT_PHASE: Current.AC_2_PHASE,
    "ac3phase": Current.AC_3_PHASE,
    "dc": Current.DC,
}
_PARKING_PLACES = {
    "alongmotorway": ParkingPlace.MOTORWAY,
    "ondriveway": ParkingPlace.DRIVEWAY,
    "onstreet": ParkingPlace.ON_STREET,
    "other": ParkingPlace.UNKNOWN,
    "parkinggarage": ParkingPlace.GARAGE,
    "parkinglot": ParkingPlace.PARKING_LOT,
    "undergroundgarage": ParkingPlace.UNDERGROUND,
    "unknown": ParkingPlace.UNKNOWN,
}
_RESTRICTIONS = {
    "customers": Access.MEMBERS,
    "disabled": Access.PUBLIC,
    "employees": Access.RESTRICTED_FLEET,
    "evonly": Access.PUBLIC,
    "motorcycles": Access.PUBLIC,
    "plugged": Access.PUBLIC,
    "taxis": Access.RESTRICTED_FLEET,
    "tenants": Access.RESTRICTED_FLEET,
}
_FACILITIES = {
    code_of(name): name
    for name in (
        *("AIRPORT", "BIKE_SHARING", "BUS_STOP", "CAFE", "CARPOOL_PARKING", "FUEL_STATION", "HOTEL", "MALL"),
        *("METRO_STATION", "MUSEUM", "NATURE", "PARKING_LOT", "RECREATION_AREA", "RESTAURANT", "SPORT"),
        *("SUPERMARKET", "TAXI_STAND", "TRAIN_STATION", "TRAM_STOP", "WIFI"),
    )
}


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """What one Location became."""

    station: Station
    statuses: tuple[EvseStatus, ...]
    operators: tuple[Operator, ...]
    unknown_codes: tuple[str, ...]
    rejections: tuple[Rejection, ...]


class Mapper(msgspec.Struct, frozen=True, kw_only=True):
    """How the Locations of one feed are read. ``party`` and ``title`` stand for parties that name neither."""

    feed: str
    party: str
    title: str
    datum: Datum
    language: str
    repair_power: bool
    has_live_status: bool
    stale_after_s: float

    def read(self, location: object, received_at: Instant) -> Mapped | Rejection:
        """Return the Station, or why there is none; never raises, whatever the value is."""
        record = find_record(location)
        if record is None:
            return Rejection("not_an_object", "", f"a JSON {type(location).__name__}")
        notes = Notes()
        identifier = read_identifier(record.get("id"), notes)
        if identifier is None:
            name = read_text(record.get("name"), MAX_NAME_CHARACTERS, notes)
            return Rejection("missing_id", "", f"named {name}"[:80])
        party = self._party(record, notes)
        station_id = make_id(self.feed, party, identifier[0])
        if len(station_id) > MAX_ID_CHARACTERS:
            return Rejection("id_too_long", station_id[:80], f"{len(station_id)} characters")
        return _LocationReader(self, record, party, identifier, notes, received_at).read()

    def _party(self, record: Record, notes: Notes) -> str:
        """Return country code and party id as one, OCPI's key of a party, or the profile's where one is missing."""
        country, party = (
            read_text(record.get(key), MAX_NAME_CHARACTERS, notes) for key in ("country_code", "party_id")
        )
        if country is None or party is None:
            return self.party
        key = f"{country}{party}".upper()
        if _PARTY_KEY.fullmatch(key):
            return key
        notes.flag(Flag.VALUE_UNREADABLE)
        return self.party


class _LocationReader:
    """One Location being read."""

    def __init__(
        self,
        mapper: Mapper,
        record: Record,
        party: str,
        identifier: tuple[str, str],
        notes: Notes,
        received_at: Instant,
    ) -> None:
        self._mapper = mapper
        self._record = record
        self._party = party
        self._local, self._stated_id = identifier
        self._notes = notes
        self._received_at = received_at
        self._statuses: list[EvseStatus] = []
        self._operators: dict[str, Operator] = {}
        self._rejections: list[Rejection] = []
        self._evse_ids: set[str] = set()

    def read(self) -> Mapped:
        mapper, record, notes = self._mapper, self._record, self._notes
        evse_records = _distinct_evses(list_records(record.get("evses"), notes), notes)
        evses = tuple(
            evse for number, item in enumerate(evse_records, 1) if (evse := self._evse(item, number)) is not None
        )
        if not evses:
            notes.flag(Flag.NO_EVSES)
        country = self._country()
        stated = record.get("country_code")
        party_country = (find_country(stated) if isinstance(stated, str) else None) or find_country(self._party[:2])
        of_evses = [item.get("coordinates") for item in evse_records]
        site = locate(record.get("coordinates"), of_evses, country, party_country, mapper.datum, notes)
        if country is None and party_country is not None and site.location and lies_in(party_country, site.location):
            country = party_country
            notes.flag(Flag.COUNTRY_INFERRED)
        publish = read_bool(record.get("publish"), notes)
        station = Station(
            id=make_id(mapper.feed, self._party, self._local),
            feed=mapper.feed,
            operator_id=self._operator(),
            local_id=self._stated_id,
            name=read_text(record.get("name"), MAX_NAME_CHARACTERS, notes),
            address=Address(
                text=read_text(record.get("address"), MAX_TEXT_CHARACTERS, notes),
                city=read_text(record.get("city"), MAX_NAME_CHARACTERS, notes),
                region=read_text(record.get("state"), MAX_NAME_CHARACTERS, notes),
                postal_code=read_text(record.get("postal_code"), MAX_NAME_CHARACTERS, notes),
                country=country,
            ),
            location=site.location,
            original_position=site.original,
            presence=_station_presence(evses),
            access=_access(evse_records, publish, notes),
            parking_place=self._parking_place(),
            published=record.get("publish") in (None, "") if publish is None else publish,
            hours=read_hours(record.get("opening_times"), notes),
            time_zone=read_time_zone(record.get("time_zone"), notes),
            phones=self._phones(),
            directions=self._directions(),
            image_urls=self._image_urls(evse_records),
            amenities=self._amenities(),
            equipment_owner_id=self._company(record.get("owner")),
            source_updated_at=read_instant(record.get("last_updated"), notes),
            evses=evses,
        )
        return Mapped(
            station=msgspec.structs.replace(station, flags=notes.flags),
            statuses=tuple(self._statuses) if mapper.has_live_status else (),
            operators=tuple(self._operators.values()),
            unknown_codes=tuple(notes.codes),
            rejections=tuple(self._rejections),
        )

    def _country(self) -> str | None:
        stated = read_text(self._record.get("country"), MAX_NAME_CHARACTERS, self._notes)
        if stated is None:
            return None
        country = find_country(stated)
        if country is None:
            self._notes.unknown("country", stated)
        return country

    def _operator(self) -> str:
        operator = self._company(self._record.get("operator"))
        if operator is not None:
            return operator
        mapper = self._mapper
        own = operator_id(mapper.feed, self._party)
        name = mapper.title if self._party == mapper.party else self._party
        self._operators[own] = Operator(id=own, feed=mapper.feed, party=self._party, name=name)
        return own

    def _company(self, value: object) -> str | None:
        """Return the id of an operator or owner, which OCPI knows by name alone: its party and its name."""
        record = {"name": value} if isinstance(value, str) else find_record(value)
        if record is None:
            if value is not None:
                self._notes.flag(Flag.VALUE_UNREADABLE)
            return None
        name = read_text(record.get("name"), MAX_NAME_CHARACTERS, self._notes)
        if name is None:
            return None
        company = Operator(
            id=f"{operator_id(self._mapper.feed, self._party)}/{_slug(name)}",
            feed=self._mapper.feed,
            party=self._party,
            name=name,
            website=read_text(record.get("website"), MAX_URL_CHARACTERS, self._notes),
            phone=read_text(record.get("phone_number", record.get("phone")), MAX_NAME_CHARACTERS, self._notes),
        )
        add_operator(self._operators, company)
        return company.id

    def _parking_place(self) -> ParkingPlace:
        value = self._record.get("parking_type") or self._record.get("type")
        return read_choice(value, _PARKING_PLACES, "parking_type", self._notes) or ParkingPlace.UNKNOWN

    def _phones(self) -> tuple[str, ...]:
        phone = read_text(self._record.get("help_phone"), MAX_NAME_CHARACTERS, self._notes)
        return () if phone is None else (phone,)

    def _directions(self) -> str | None:
        """Return the directions in the feed's language, else in the one that stands first."""
        value = self._record.get("directions")
        if isinstance(value, str):
            return read_text(value, MAX_TEXT_CHARACTERS, self._notes)
        items = list_records(value, self._notes)
        items.sort(key=lambda item: not _speaks(item.get("language"), self._mapper.language))
        texts = (read_text(item.get("text"), MAX_TEXT_CHARACTERS, self._notes) for item in items)
        return next((text for text in texts if text is not None), None)

    def _image_urls(self, evse_records: list[Record]) -> tuple[str, ...]:
        """Return the pictures of the place and then of its Evses."""
        urls: dict[str, None] = {}
        for holder in (self._record, *evse_records):
            for image in list_records(holder.get("images"), self._notes):
                url = read_text(image.get("url"), MAX_URL_CHARACTERS, self._notes)
                if url is None:
                    continue
                if not url[:8].lower().startswith(("https://", "http://")) or not url.isprintable():
                    self._notes.flag(Flag.VALUE_UNREADABLE)
                    continue
                if " " in url:
                    self._notes.flag(Flag.TEXT_CLEANED)
                urls[url.replace(" ", "%20")] = None
        return tuple(urls)[:MAX_IMAGES]

    def _amenities(self) -> tuple[str, ...]:
        amenities: dict[str, None] = {}
        for item in list_texts(self._record.get("facilities"), self._notes):
            name = read_choice(item, _FACILITIES, "facility", self._notes)
            if name is not None:
                amenities[name] = None
        return tuple(amenities)

    def _evse(self, record: Record, number: int) -> Evse | None:
        """Return one Evse. One without uid and evse_id is known by its place in the list, and inferred."""
        mapper, notes = self._mapper, Notes()
        identifier = _evse_identifier(record, notes)
        local, stated_id = identifier or (f"#{number}", f"#{number}")
        evse_id = make_id(mapper.feed, self._party, f"{self._local}/{local}")
        code = read_text(record.get("evse_id"), MAX_NAME_CHARACTERS, notes)
        if evse_id in self._evse_ids:
            evse_id = f"{evse_id}/{code}"
        self._evse_ids.add(evse_id)
        if len(evse_id) > MAX_ID_CHARACTERS:
            self._rejections.append(Rejection("evse_id_too_long", evse_id[:80], f"{len(evse_id)} characters"))
            return None
        raw_status = record.get("status")
        availability = read_choice(raw_status, _STATUS, "status", notes) or Availability.UNKNOWN
        if identifier is not None:
            self._statuses.append(
                EvseStatus(
                    evse_id=evse_id,
                    availability=availability,
                    raw=raw_status[:MAX_NAME_CHARACTERS] if isinstance(raw_status, str) else "",
                    observed_at=self._received_at,
                    received_at=self._received_at,
                    stale_after=self._received_at + mapper.stale_after_s,
                )
            )
        evse = Evse(
            id=evse_id,
            local_id=stated_id,
            evse_code=code,
            physical_reference=read_text(record.get("physical_reference"), MAX_NAME_CHARACTERS, notes),
            presence=_presence(raw_status),
            reservable=_reservable(list_texts(record.get("capabilities"), notes)),
            inferred=identifier is None,
            connectors=tuple(
                self._connector(item, index, notes)
                for index, item in enumerate(list_records(record.get("connectors"), notes), 1)
            ),
            flags=notes.flags,
        )
        self._notes.codes.extend(notes.codes)
        return evse

    def _connector(self, record: Record, number: int, evse_notes: Notes) -> Connector:
        notes = Notes()
        identifier = read_identifier(record.get("id"), notes)
        standard = read_text(record.get("standard"), MAX_NAME_CHARACTERS, notes)
        connector_type = _connector_type(standard, notes)
        form = read_choice(record.get("format"), _FORMATS, "format", notes) or ConnectorFormat.UNKNOWN
        current = read_choice(record.get("power_type"), _CURRENTS, "power_type", notes) or Current.UNKNOWN
        volts = _measure(record, ("max_voltage", "voltage"), notes)
        amperes = _measure(record, ("max_amperage", "amperage"), notes)
        power = rate(
            read_number(record.get("max_electric_power"), notes),
            volts,
            amperes,
            connector_type,
            current,
            split_phase=_is_split_phase(record.get("power_type")),
            repair=self._mapper.repair_power,
        )
        evse_notes.codes.extend(notes.codes)
        return Connector(
            id=str(number) if identifier is None or len(identifier[0]) > MAX_ID_CHARACTERS else identifier[1],
            type=connector_type,
            raw_type=standard,
            format=form,
            current=current,
            max_power_w=power.max_power_w,
            power_basis=power.basis,
            voltage_v=None if volts is None else round(volts),
            amperage_a=None if amperes is None else round(amperes),
            flags=notes.flags + power.flags,
        )


def add_operator(operators: dict[str, Operator], operator: Operator) -> None:
    """Add an operator; where it is known, the first word counts and only what it lacks is added."""
    known = operators.setdefault(operator.id, operator)
    website, phone = known.website or operator.website, known.phone or operator.phone
    if (website, phone) != (known.website, known.phone):
        operators[operator.id] = msgspec.structs.replace(known, website=website, phone=phone)


def _distinct_evses(records: list[Record], notes: Notes) -> list[Record]:
    """Return each Evse of a location once: of copies the one that was updated last, where the first one stood.

    Copies of one moment complete each other. Two of one uid and with two evse_ids are no copies.
    """
    distinct: dict[object, Record] = {}
    for number, record in enumerate(records):
        identifier = _evse_identifier(record, Notes())
        key: object = number if identifier is None else identifier[0]
        other = distinct.get(key)
        if other is not None and _are_two(record, other):
            key = (key, record["evse_id"])
            other = distinct.get(key)
        if other is None:
            distinct[key] = record
            continue
        notes.flag(Flag.DUPLICATE_DROPPED)
        older, newer = sorted((other, record), key=_updated)
        distinct[key] = newer if _updated(newer) > _updated(older) else {**record, **_filled_in(other)}
    return list(distinct.values())


def _are_two(record: Record, other: Record) -> bool:
    codes = (record.get("evse_id"), other.get("evse_id"))
    return all(isinstance(code, str) and code.strip() for code in codes) and codes[0] != codes[1]


def _filled_in(record: Record) -> Record:
    return {key: value for key, value in record.items() if value not in (None, "", [])}


def _evse_identifier(record: Record, notes: Notes) -> tuple[str, str] | None:
    return read_identifier(record.get("uid"), notes) or read_identifier(record.get("evse_id"), notes)


def _updated(record: Record) -> Instant:
    return read_instant(record.get("last_updated"), Notes()) or 0.0


def _connector_type(standard: str | None, notes: Notes) -> ConnectorType:
    if standard is None:
        return ConnectorType.UNKNOWN
    code = code_of(standard)
    known = _TYPES.get(code)
    if known is not None:
        return known
    known = _TYPES_OF_OTHER_STANDARDS.get(code)
    if known is not None:
        notes.flag(Flag.TYPE_INFERRED)
        return known
    notes.unknown("standard", standard)
    return ConnectorType.OTHER


def _measure(record: Record, names: tuple[str, str], notes: Notes) -> float | None:
    """Return volts or amperes under either of their names; 0 and less mean that nobody filled them in."""
    for name in names:
        number = read_number(record.get(name), notes)
        if number is not None and number > _MOST_VOLTS_OR_AMPERES:
            notes.flag(Flag.VALUE_UNREADABLE)
        elif number is not None and number > 0:
            return number
    return None


def _is_split_phase(power_type: object) -> bool:
    return isinstance(power_type, str) and code_of(power_type) == _SPLIT_PHASE


def _reservable(capabilities: list[str]) -> bool | None:
    """Tell whether it says that it can be reserved; None where it names no capabilities at all."""
    codes = {code_of(capability) for capability in capabilities} - {""}
    return "reservable" in codes if codes else None


def _presence(status: object) -> Presence:
    return _PRESENCE.get(code_of(status), Presence.IN_SERVICE) if isinstance(status, str) else Presence.IN_SERVICE


def _station_presence(evses: tuple[Evse, ...]) -> Presence:
    """Return PLANNED or REMOVED where that holds of every Evse: OCPI has no word of its own for the place."""
    presences = {evse.presence for evse in evses}
    if presences == {Presence.REMOVED}:
        return Presence.REMOVED
    if presences and presences <= {Presence.PLANNED, Presence.REMOVED}:
        return Presence.PLANNED
    return Presence.IN_SERVICE


def _access(evse_records: list[Record], publish: bool | None, notes: Notes) -> Access:
    """Return who may charge: restricted only where every standing Evse is; without ``publish`` (2.1.1) unknown."""
    standing = [record for record in evse_records if _presence(record.get("status")) is not Presence.REMOVED]
    kinds = {_evse_access(record, notes) for record in standing}
    if kinds and Access.PUBLIC not in kinds:
        return Access.MEMBERS if Access.MEMBERS in kinds else Access.RESTRICTED_FLEET
    return Access.PUBLIC if publish else Access.UNKNOWN


def _evse_access(record: Record, notes: Notes) -> Access:
    texts = list_texts(record.get("parking_restrictions"), notes)
    kinds = {read_choice(text, _RESTRICTIONS, "parking_restriction", notes) for text in texts}
    return next((kind for kind in (Access.MEMBERS, Access.RESTRICTED_FLEET) if kind in kinds), Access.PUBLIC)


def _speaks(language: object, wanted: str) -> bool:
    return isinstance(language, str) and language.strip()[:2].lower() == wanted


@lru_cache(maxsize=4_096)
def _slug(name: str) -> str:
    """Return a name as part of an id: letters and digits of any script in lower case, joined by dashes."""
    kept = (character if unicodedata.category(character)[0] in "LMN" else " " for character in name.casefold())
    return "-".join("".join(kept).split())[:MAX_SLUG_CHARACTERS] or "unnamed"
