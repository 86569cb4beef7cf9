"""One OCPI 2.2.1 party: the Locations of a charge point operator in Hong Kong, Macau and some cities, in WGS-84.

It serves the list with paging and date filters and single locations, and does what real parties do: kilowatts in the
field for watts, coordinates now as text and now as numbers, a blank behind a status, ids twice, withdrawn EVSEs
still listed.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import numpy as np
import orjson
from numpy.typing import NDArray

from indexers.sandbox.dialects import OCPI_TOKEN
from indexers.sandbox.nation import OCPI_PARTY, Cabinet, Dirt, Nation, Slots, Station

PARTY: Final = ("HK", "SBX")
MAX_LIMIT: Final = 100
_DEFAULT_LIMIT: Final = 50
_STATUS: Final = {0: "UNKNOWN", 1: "AVAILABLE", 2: "CHARGING", 3: "CHARGING", 4: "RESERVED", 255: "OUTOFORDER"}
_STATION_STATUS: Final = {1: "PLANNED", 5: "REMOVED", 6: "INOPERATIVE", 51: "INOPERATIVE"}
_HOME: Final = {"香港": ("HKG", "Asia/Hong_Kong"), "澳门": ("MAC", "Asia/Macau")}
_PARKING_TYPE: Final = {4: "UNDERGROUND_GARAGE", 9: "PARKING_GARAGE", 10: "ON_STREET", 11: "ALONG_MOTORWAY"}
_ABROAD: Final = ((10.99, 10.99), (1.0, 1.0), (42.6977, 23.3219))


class OcpiAnswer(NamedTuple):
    """What goes back over HTTP."""

    http_status: int
    headers: dict[str, str]
    body: bytes


class OcpiParty:
    """The party's Locations module. Holds nothing but its share of the nation."""

    def __init__(self, nation: Nation, now: Callable[[], float]) -> None:
        """``now`` gives seconds since 1970."""
        self._nation = nation
        self._now = now
        self._slots = nation.slots_of(OCPI_PARTY)

    def locations(self, url: str, query: Mapping[str, str], authorization: str) -> OcpiAnswer:
        """Answer GET on the list; ``url`` is the list's own address, for the link to the next page."""
        if not _token_is_right(authorization):
            return self._envelope(401, 2001, "unknown or missing token")
        try:
            offset = _whole(query, "offset", 0)
            limit = max(1, min(_whole(query, "limit", _DEFAULT_LIMIT), MAX_LIMIT))
            slots, guns_changed = self._between(_moment(query, "date_from"), _moment(query, "date_to"))
        except ValueError as error:
            return self._envelope(400, 2001, str(error))
        page = slots[offset : offset + limit]
        headers = {"X-Total-Count": str(len(slots)), "X-Limit": str(MAX_LIMIT)}
        if offset + limit < len(slots):
            following = {**query, "offset": str(offset + limit), "limit": str(limit)}
            headers["Link"] = f'<{url}?{urlencode(following)}>; rel="next"'
        return self._envelope(200, 1000, "Success", self._word(page, guns_changed[offset : offset + limit]), headers)

    def location(self, location_id: str, authorization: str) -> OcpiAnswer:
        """Answer GET on one location."""
        if not _token_is_right(authorization):
            return self._envelope(401, 2001, "unknown or missing token")
        for slot in self._slots[_rank(location_id) : _rank(location_id) + 1]:
            slots = np.array([slot], dtype=np.int64)
            words = self._word(slots, self._changed_at(slots, self._now()))[0]
            if words["id"] == location_id:
                return self._envelope(200, 1000, "Success", words)
        return self._envelope(404, 2003, "unknown location")

    def _between(self, since: float | None, until: float | None) -> tuple[Slots, NDArray[np.float64]]:
        """Return the plots whose location was last updated at or after ``since`` and before ``until``."""
        changed = self._changed_at(self._slots, self._now())
        kept = (changed >= (since or 0)) & (changed < (until if until is not None else np.inf))
        return self._slots[kept], changed[kept]

    def _changed_at(self, slots: Slots, at: float) -> NDArray[np.float64]:
        """Return when each location was last updated: itself, or the status of one of its EVSEs (whole seconds)."""
        modified = self._nation.modified_at(slots, at).astype(np.float64)
        if not len(slots):
            return modified
        guns = self._nation.statuses(slots, at)
        return np.floor(np.maximum(modified, np.maximum.reduceat(guns.since, guns.offsets[:-1])))

    def _word(self, slots: Slots, changed_at: NDArray[np.float64]) -> list[dict[str, Any]]:
        now = self._now()
        guns = self._nation.statuses(slots, now)
        status, since, offsets = guns.status.tolist(), guns.since.tolist(), guns.offsets.tolist()
        return [
            _location(
                self._nation.station(slot, now),
                status[offsets[index] : offsets[index + 1]],
                since[offsets[index] : offsets[index + 1]],
                updated_at,
            )
            for index, (slot, updated_at) in enumerate(zip(slots.tolist(), changed_at.tolist(), strict=True))
        ]

    def _envelope(
        self, http_status: int, code: int, message: str, data: object = None, headers: dict[str, str] | None = None
    ) -> OcpiAnswer:
        envelope: dict[str, Any] = {
            "status_code": code,
            "status_message": message,
            "timestamp": _rfc3339(self._now()),
        }
        if data is not None:
            envelope["data"] = data
        return OcpiAnswer(http_status, headers or {}, orjson.dumps(envelope))


def _location(station: Station, status: list[int], since: list[float], updated_at: float) -> dict[str, Any]:
    location_id = f"SBX{station.rank:06d}G{station.generation % 4}"
    country, time_zone = _HOME.get(station.city.name, ("CHN", "Asia/Shanghai"))
    words: dict[str, Any] = {
        "country_code": PARTY[0],
        "party_id": PARTY[1],
        "id": location_id,
        "publish": station.dirt is not Dirt.ABSURD_PRICE,
        "name": f"Test {station.name}" if station.dirt is Dirt.TEST_STATION else station.name,
        "address": station.address,
        "city": station.city.name,
        "country": country,
        "coordinates": _coordinates(station),
        "parking_type": _PARKING_TYPE.get(station.kind.construction, "PARKING_LOT"),
        "evses": _evses(station, location_id, status, since),
        "operator": {"name": station.party.brand},
        "facilities": ["MALL"] if station.kind.construction == 9 else [],
        "time_zone": time_zone,
        "last_updated": _rfc3339(updated_at),
    }
    hours = station.hours
    if hours.always:
        words["opening_times"] = {"twentyfourseven": True}
    elif hours.opens:
        days = range(1, 6) if hours.weekdays_only else range(1, 8)
        words["opening_times"] = {
            "twentyfourseven": False,
            "regular_hours": [
                {"weekday": day, "period_begin": hours.opens, "period_end": hours.closes} for day in days
            ],
        }
    if station.dirt is Dirt.MISSING_INTS:
        del words["country"], words["time_zone"]
        words["last_updated"] = words["last_updated"].removesuffix("Z")
    return words


def _coordinates(station: Station) -> dict[str, Any]:
    lon, lat = station.lon, station.lat
    match station.dirt:
        case Dirt.NO_POSITION:
            return {"latitude": "", "longitude": ""}
        case Dirt.ZERO_POSITION:
            lon, lat = 0.0, 0.0
        case Dirt.SWAPPED_POSITION:
            lon, lat = lat, lon
        case Dirt.OUT_OF_CHINA:
            lat, lon = _ABROAD[station.rank % len(_ABROAD)]
        case _:
            pass
    if station.rank % 9 == 4:
        return {"latitude": lat, "longitude": lon}
    return {"latitude": f"{lat:.6f}", "longitude": f"{lon:.6f}"}


def _evses(station: Station, location_id: str, status: list[int], since: list[float]) -> list[dict[str, Any]]:
    if station.dirt is Dirt.NO_EQUIPMENT:
        return []
    evses = [
        _evse(station, cabinet, location_id, gun, status[gun], since[gun])
        for cabinet in station.cabinets
        for gun in range(cabinet.first_gun, cabinet.first_gun + cabinet.gun_count)
    ]
    return evses + evses[:1] if station.dirt is Dirt.REPEATED_CONNECTOR else evses


def _evse(station: Station, cabinet: Cabinet, location_id: str, gun: int, status: int, since: float) -> dict[str, Any]:
    text = _STATION_STATUS.get(station.station_status, _STATUS[status])
    uid = f"{location_id}-{gun + 1:03d}"
    capabilities = ["REMOTE_START_STOP_CAPABLE", "RFID_READER"]
    words: dict[str, Any] = {
        "uid": "" if station.dirt is Dirt.BLANK_CONNECTOR_ID and gun == 0 else uid,
        "evse_id": f"HK*SBX*E{station.rank:06d}*{gun + 1}",
        "status": text + " " if station.rank % 7 == 3 or station.dirt is Dirt.LEADING_SPACE else text,
        "capabilities": [*capabilities, "RESERVABLE"] if station.supports_order else capabilities,
        "connectors": [_connector(station, cabinet, gun)],
        "physical_reference": f"{gun + 1:02d}",
        "last_updated": _rfc3339(since),
    }
    if station.rank % 6 == 5:
        del words["evse_id"]
    return words


def _connector(station: Station, cabinet: Cabinet, gun: int) -> dict[str, Any]:
    model = cabinet.model
    words: dict[str, Any] = {
        "id": "1",
        "standard": _standard(station, gun, is_dc=model.is_dc),
        "format": "SOCKET" if model.connector_type == 2 else "CABLE",
        "power_type": "DC" if model.is_dc else "AC_3_PHASE" if model.max_v > 300 else "AC_1_PHASE",
        "max_voltage": model.max_v,
        "max_amperage": model.current_a,
        "tariff_ids": [f"SBX-T{station.rank % 12:02d}"],
        "last_updated": _rfc3339(station.modified_at),
    }
    if station.dirt is Dirt.NO_POWER:
        words["max_amperage"] = 0
    elif station.rank % 5 != 2:
        in_kilowatts = station.dirt is Dirt.POWER_IN_W or station.rank % 4 == 1
        words["max_electric_power"] = round(model.gun_kw if in_kilowatts else model.gun_kw * 1000)
    return words


def _standard(station: Station, gun: int, *, is_dc: bool) -> str | None:
    if station.dirt is Dirt.MALFORMED_OWNER:
        return "GB/T (DC)" if is_dc else None
    if station.city.name not in _HOME:
        return "GBT_DC" if is_dc else "GBT_AC"
    if not is_dc:
        return "IEC_62196_T2"
    return "CHADEMO" if gun % 4 == 3 else "IEC_62196_T2_COMBO"


def _token_is_right(authorization: str) -> bool:
    scheme, _, given = authorization.strip().partition(" ")
    encoded = base64.b64encode(OCPI_TOKEN.encode()).decode()
    return scheme.lower() == "token" and compare_digest(given.strip().encode("utf-8", "replace"), encoded.encode())


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        msg = f"{name} is no whole number"
        raise ValueError(msg)
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{name} is no RFC 3339 time"
        raise ValueError(msg) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _rank(location_id: str) -> int:
    digits = location_id[3:9]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
