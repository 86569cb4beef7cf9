"""The seeded nation: which stations there are, where, how large, and in what state each gun is at any moment.

Everything is a pure function of the seed, the station count and the time, so that only a few numpy columns are kept: a
station is put together when it is asked for, and the status of a gun is computed, never stored. Four million guns cost
as much memory as the columns of their stations.
"""

from enum import IntEnum
from hashlib import blake2b
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexers.sandbox.cities import CITIES, City, District
from indexers.sandbox.names import (
    ALWAYS_OPEN,
    LIMITED,
    PARK_FEES,
    PAYMENTS,
    REMARKS,
    UNCLEAR,
    Hours,
    word_station,
)

Slots = NDArray[np.int64]

MAX_STATION_COUNT: Final = 1_000_000
MAX_GUNS: Final = 500
DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
BEIJING_OFFSET_S: Final = 8 * 3600

EPOCH: Final = 1_793_462_400
"""2026-11-01 00:00 UTC: the plot's first station stands here; later ones count up from it."""
LIFETIME_S: Final = 333 * WEEK_S
"""Each plot is cleared and built anew once in this time, so that 0.3 % of the nation comes and goes in a week."""
REVISION_S: Final = 50 * DAY_S
"""Each station changes its prices and texts once in this time, so that 2 % of the nation changes in a day."""


class Party(NamedTuple):
    """Who runs a share of the nation, and the brand its stations carry in their names."""

    name: str
    brand: str
    share: float


PARTIES: Final = (
    Party("teld", "特来电", 0.25),
    Party("starcharge", "星星充电", 0.22),
    Party("stategrid", "国家电网", 0.14),
    Party("csg", "南方电网", 0.09),
    Party("wancheng", "万城万充", 0.08),
    Party("naerchong", "哪儿充", 0.06),
    Party("tewate", "特瓦特", 0.04),
    Party("yilaite", "驿来特", 0.04),
    Party("yunpu", "云普创想", 0.03),
    Party("ocpi_sandbox", "沙盒充电", 0.05),
)
OCPI_PARTY: Final = "ocpi_sandbox"

_SOUTHERN = {"广东省", "广西壮族自治区", "云南省", "贵州省", "海南省"}
_ISLANDS = {"香港特别行政区", "澳门特别行政区"}
_OCPI_CITIES = {"香港": 40.0, "澳门": 6.0, "上海市": 20.0, "北京市": 14.0, "深圳市": 12.0, "成都市": 8.0}


class Dirt(IntEnum):
    """What is wrong with a station as its operator publishes it; at most one kind each."""

    CLEAN = 0
    ZERO_POSITION = 1
    NO_POSITION = 2
    SWAPPED_POSITION = 3
    OUT_OF_CHINA = 4
    BLANK_STATION_ID = 5
    BLANK_CONNECTOR_ID = 6
    REPEATED_STATION = 7
    REPEATED_CONNECTOR = 8
    LEADING_SPACE = 9
    MISSING_INTS = 10
    TEST_STATION = 11
    NO_POWER = 12
    POWER_IN_W = 13
    NO_EQUIPMENT = 14
    MALFORMED_OWNER = 15
    ABSURD_PRICE = 16


DIRT_SHARES: Final = {
    Dirt.ZERO_POSITION: 0.006,
    Dirt.NO_POSITION: 0.003,
    Dirt.SWAPPED_POSITION: 0.002,
    Dirt.OUT_OF_CHINA: 0.002,
    Dirt.BLANK_STATION_ID: 0.001,
    Dirt.BLANK_CONNECTOR_ID: 0.002,
    Dirt.REPEATED_STATION: 0.003,
    Dirt.REPEATED_CONNECTOR: 0.004,
    Dirt.LEADING_SPACE: 0.005,
    Dirt.MISSING_INTS: 0.008,
    Dirt.TEST_STATION: 0.003,
    Dirt.NO_POWER: 0.010,
    Dirt.POWER_IN_W: 0.005,
    Dirt.NO_EQUIPMENT: 0.005,
    Dirt.MALFORMED_OWNER: 0.003,
    Dirt.ABSURD_PRICE: 0.003,
}
"""The share of stations with each kind of dirt."""


class Kind(NamedTuple):
    """A kind of site: T/CEC 102 Construction and StationType, its weight, and how much of it charges with DC."""

    construction: int
    station_type: int
    weight: float
    dc: str  # NONE, SOME, ALL
    places: tuple[str, ...]


KINDS: Final = (
    Kind(1, 1, 0.18, "NONE", ("小区",)),
    Kind(1, 105, 0.03, "NONE", ("小区",)),
    Kind(2, 1, 0.08, "SOME", ("政务中心", "人民医院", "图书馆", "行政服务中心")),
    Kind(3, 106, 0.05, "SOME", ("创业园", "企业总部", "研发中心")),
    Kind(3, 50, 0.03, "NONE", ("企业总部", "厂区")),
    Kind(4, 1, 0.10, "SOME", ("大厦", "国际中心", "商务中心", "金融广场")),
    Kind(5, 1, 0.08, "SOME", ("工业园", "软件园", "科技园", "产业园")),
    Kind(6, 1, 0.05, "ALL", ("高铁站东广场", "客运枢纽", "机场P2", "火车站南广场")),
    Kind(7, 1, 0.04, "SOME", ("体育馆", "会展中心", "大剧院", "奥体中心")),
    Kind(8, 1, 0.03, "SOME", ("公园", "湿地公园", "森林公园")),
    Kind(9, 1, 0.15, "SOME", ("万象广场", "购物中心", "银座商城", "百货大楼")),
    Kind(10, 1, 0.05, "ALL", ("路侧", "停车带")),
    Kind(11, 1, 0.03, "ALL", ("服务区(南区)", "服务区(北区)", "服务区东侧")),
    Kind(255, 100, 0.03, "ALL", ("公交总站", "公交枢纽站")),
    Kind(255, 102, 0.02, "ALL", ("物流园", "货运中心")),
    Kind(255, 103, 0.02, "ALL", ("出租车服务站",)),
    Kind(14, 1, 0.03, "ALL", ("石油运营站", "加油站")),
)
BUS_STATION_TYPE: Final = 100

_STATION_STATUSES: Final = ((50, 0.955), (0, 0.010), (1, 0.005), (5, 0.015), (6, 0.010), (51, 0.005))
_DARK_STATUSES: Final = (1, 5, 51)
"""Station statuses under which no gun is on line."""


class Model(NamedTuple):
    """A make of cabinet: what each of its guns gives, and what the cabinet gives in all."""

    name: str
    is_dc: bool
    gun_count: int
    cabinet_kw: float
    gun_kw: float
    max_v: int
    min_v: int
    current_a: int
    connector_type: int  # T/CEC 102: 2 AC socket, 3 AC plug, 4 DC plug


_DC_MODELS: Final = (
    (Model("DC-30", True, 1, 30.0, 30.0, 500, 200, 75, 4), 0.08),
    (Model("DC-40", True, 1, 40.0, 40.0, 750, 200, 100, 4), 0.04),
    (Model("DC-60", True, 1, 60.0, 60.0, 750, 200, 150, 4), 0.22),
    (Model("DC-80", True, 1, 80.0, 80.0, 750, 200, 160, 4), 0.06),
    (Model("DC-120D", True, 2, 120.0, 60.0, 750, 200, 160, 4), 0.26),
    (Model("DC-160D", True, 2, 160.0, 160.0, 1000, 200, 250, 4), 0.10),
    (Model("DC-180D", True, 2, 180.0, 180.0, 1000, 200, 250, 4), 0.11),
    (Model("DC-240D", True, 2, 240.0, 240.0, 1000, 200, 250, 4), 0.08),
    (Model("DC-480S", True, 8, 480.0, 250.0, 1000, 200, 250, 4), 0.04),
    (Model("DC-640L", True, 6, 640.0, 480.0, 1000, 200, 600, 4), 0.01),
)
_AC_MODELS: Final = (
    (Model("AC-7", False, 1, 7.0, 7.0, 220, 220, 32, 3), 0.84),
    (Model("AC-7S", False, 1, 7.0, 7.0, 220, 220, 32, 2), 0.06),
    (Model("AC-14D", False, 2, 14.0, 7.0, 220, 220, 32, 3), 0.05),
    (Model("AC-3", False, 1, 3.5, 3.5, 220, 220, 16, 2), 0.02),
    (Model("AC-40", False, 1, 40.0, 40.0, 380, 380, 63, 3), 0.03),
)


class Cabinet(NamedTuple):
    """One T/CEC 102 equipment: guns ``first_gun`` to ``first_gun + gun_count - 1``, counted from 0 in the station."""

    number: int
    model: Model
    first_gun: int
    gun_count: int


class PricePeriod(NamedTuple):
    """A price from ``start`` to ``end`` (``HH:MM``, ``24:00`` a legal end), in ten-thousandths of a yuan a kWh."""

    start: str
    end: str
    electricity: int
    service: int


class Station(NamedTuple):
    """One station as it truly is; how its operator words it, and what it gets wrong, is the dialect's business."""

    slot: int
    rank: int
    generation: int
    party: Party
    city: City
    district: District
    kind: Kind
    dirt: Dirt
    name: str
    address: str
    site_guide: str
    lon: float
    lat: float
    station_status: int
    bays: int
    owner_number: int
    phone: str
    hours: Hours
    prices: tuple[PricePeriod, ...]
    flat_price: bool
    park_fee: str
    payment: str
    remark: str
    supports_order: bool
    national_standard: int
    production_date: str
    picture_count: int
    cabinets: tuple[Cabinet, ...]
    gun_count: int
    modified_at: int


class GunStatuses(NamedTuple):
    """The guns of some stations at one moment, station after station; ``offsets[k]`` is where station k begins."""

    offsets: NDArray[np.int64]
    status: NDArray[np.uint8]
    since: NDArray[np.float64]


# Share of guns with a car, by Beijing hour. DC follows German fast charging, AC the nights of housing estates.
_DC_RHYTHM = np.array(
    [.9, 1.2, 1.4, 1.4, 1.5, 1.8, 2.8, 5.2, 9.4, 12.6, 15.5, 18.0, 19.4, 19.2, 18.4, 18.1, 18.4, 18.4, 17.3, 15.1, 12.0,
     9.3, 7.1, 5.8]
) * 0.016  # fmt: skip
_AC_RHYTHM = np.array(
    [22, 21, 20, 19, 18, 17, 15, 12, 11, 11, 11, 11, 12, 12, 12, 12, 13, 16, 18, 20, 22, 24, 24, 23]
) * 0.0098  # fmt: skip
_DC_TURN_S: Final = 1800
_AC_TURN_S: Final = 10_800
_FAULT_TURN_S: Final = 43_200
_OFFLINE_TURN_S: Final = 21_600
_FAULT_SHARE: Final = 0.0455
_OFFLINE_SHARE: Final = 0.022
_RESERVED_SHARE: Final = 0.012
_STAY_SHARE: Final = 0.63
"""A car stays this share of its turn on average; the chance of a turn being taken is raised by it."""

_KM_PER_DEGREE: Final = 111.195
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MASK_64: Final = (1 << 64) - 1


class Nation:
    """The stations of one seed and count. Holds columns of a few dozen bytes a station, and nothing that changes."""

    def __init__(self, seed: int, station_count: int) -> None:
        """Draw the columns. Raises ValueError for a count outside 1 to 1,000,000."""
        if not 1 <= station_count <= MAX_STATION_COUNT:
            msg = f"station_count must be 1 to {MAX_STATION_COUNT}, not {station_count}"
            raise ValueError(msg)
        self.seed = seed
        self.station_count = station_count
        index = np.arange(station_count, dtype=np.uint64)
        self.party = _choose(self._uniforms("party", index), [party.share for party in PARTIES]).astype(np.uint8)
        self.city = self._draw_cities(index)
        self.kind = _choose(self._uniforms("kind", index), [kind.weight for kind in KINDS]).astype(np.uint8)
        self.guns, self.dc_guns = self._draw_guns(index)
        self.dirt = _choose_shares(self._uniforms("dirt", index), DIRT_SHARES)
        self.station_status = np.array([status for status, _ in _STATION_STATUSES], dtype=np.uint8)[
            _choose(self._uniforms("station_status", index), [share for _, share in _STATION_STATUSES])
        ]
        self._district, self.lon, self.lat = self._place(index)
        self._slots = [np.flatnonzero(self.party == number).astype(np.int64) for number in range(len(PARTIES))]
        self.rank = np.empty(station_count, dtype=np.int32)
        self._source = np.arange(station_count, dtype=np.int32)
        for slots in self._slots:
            self.rank[slots] = np.arange(len(slots), dtype=np.int32)
            self._link_repeats(slots)
        self._born_phase = (self._uniforms("born", index) * LIFETIME_S).astype(np.int64)
        self._revision_phase = (self._uniforms("revision", index) * REVISION_S).astype(np.int64)
        self._busyness = np.exp(0.8 * _normals(self._uniforms("busy", index), self._uniforms("busy2", index)) - 0.32)
        self._station_key = self._key("station")
        self._status_keys = [self._key(f"status/{stream}") for stream in range(6)]

    def slots_of(self, party_name: str) -> Slots:
        """Return the plots of one party in the order it lists them."""
        return self._slots[[party.name for party in PARTIES].index(party_name)]

    def generations(self, slots: Slots, at: float) -> NDArray[np.int64]:
        """Return how often each plot was built anew between EPOCH and ``at``."""
        phase = self._born_phase[slots]
        return np.subtract((int(at) + phase) // LIFETIME_S, (EPOCH + phase) // LIFETIME_S, dtype=np.int64)

    def modified_at(self, slots: Slots, at: float) -> NDArray[np.int64]:
        """Return when each plot's station last changed (seconds since 1970), never later than ``at``."""
        sources = self._source[slots]
        born, revised = self._born_phase[sources], self._revision_phase[sources]
        last_born = (int(at) + born) // LIFETIME_S * LIFETIME_S - born
        last_revised = (int(at) + revised) // REVISION_S * REVISION_S - revised
        modified: NDArray[np.int64] = np.maximum(last_born, last_revised)
        return modified

    def station(self, slot: int, at: float) -> Station:
        """Return the station that stands on a plot at a moment; a repeated row returns the station it repeats."""
        slot = int(self._source[slot])
        born_phase, revision_phase = int(self._born_phase[slot]), int(self._revision_phase[slot])
        life = (int(at) + born_phase) // LIFETIME_S
        revision = (int(at) + revision_phase) // REVISION_S
        generation = life - (EPOCH + born_phase) // LIFETIME_S
        draw = Random(_mix_int(self._station_key + slot * 0x9E3779B97F4A7C15 + life))
        random = draw.random
        city = CITIES[self.city[slot]]
        party = PARTIES[self.party[slot]]
        kind = KINDS[self.kind[slot]]
        station_status = int(self.station_status[slot])
        district = city.districts[self._district[slot]]
        words = word_station(
            draw, brand=party.brand, city=city, district=district, places=kind.places, suspended=station_status == 51
        )
        lon, lat = float(self.lon[slot]), float(self.lat[slot])
        if generation:
            lon, lat = round(lon + (random() - 0.5) * 0.004, 6), round(lat + (random() - 0.5) * 0.004, 6)
        guns, dc_guns = int(self.guns[slot]), int(self.dc_guns[slot])
        cabinets = tuple(_fill(guns, dc_guns, random(), random()))
        flat_price, hours_draw, always_draw = random() < 0.35, random(), random()
        national_standard = 1 if random() < 0.08 else 2
        supports_order = random() < 0.05
        picture_count = max(0, int(random() * 5) - 1)
        production_date = f"{2017 + int(random() * 9)}-{1 + int(random() * 12):02d}-{1 + int(random() * 28):02d}"
        owner_number = int(random() ** 3 * 118)
        bays = 0 if random() < 0.2 else guns + int(random() * 3)
        phone = f"400{int(random() * 10_000_000):07d}"
        random = Random(_mix_int(self._station_key + slot * 0x9E3779B97F4A7C15 + life * 4096 + revision)).random
        return Station(
            slot=slot,
            rank=int(self.rank[slot]),
            generation=generation,
            party=party,
            city=city,
            district=district,
            kind=kind,
            dirt=Dirt(self.dirt[slot]),
            name=words.name,
            address=words.address,
            site_guide=words.site_guide,
            lon=lon,
            lat=lat,
            station_status=station_status,
            bays=bays,
            owner_number=owner_number,
            phone=phone,
            hours=_hours(always_draw, hours_draw),
            prices=_prices(random(), random(), flat=flat_price, free=kind.station_type == BUS_STATION_TYPE),
            flat_price=flat_price,
            park_fee=PARK_FEES[int(random() * len(PARK_FEES))],
            payment=PAYMENTS[int(random() * len(PAYMENTS))],
            remark=REMARKS[int(random() * len(REMARKS))],
            supports_order=supports_order,
            national_standard=national_standard,
            production_date=production_date,
            picture_count=picture_count,
            cabinets=cabinets,
            gun_count=guns,
            modified_at=max(life * LIFETIME_S - born_phase, revision * REVISION_S - revision_phase),
        )

    def statuses(self, slots: Slots, at: float) -> GunStatuses:
        """Return the T/CEC 102 status of every gun of these plots at a moment (0, 1, 2, 3, 4 or 255).

        ``since`` is when the gun last turned to a new phase of its day, never later than ``at``.
        """
        slots = self._source[slots].astype(np.int64)
        counts = self.guns[slots].astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        of_gun = np.repeat(slots, counts)
        number = np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], counts)
        generation = np.repeat(self.generations(slots, at), counts)
        gun = ((of_gun + (generation << 32)) * 512 + number).astype(np.uint64)
        is_dc = number < self.dc_guns[of_gun]

        turn_s = np.where(is_dc, float(_DC_TURN_S), float(_AC_TURN_S))
        turn, began, share = _turn(at, turn_s, _hashed(self._status_keys[0], gun))
        chance, stay = self._turn_draws(gun, turn)
        hour = (((began + BEIJING_OFFSET_S) % DAY_S) // 3600).astype(np.int64)
        rhythm = np.where(is_dc, _DC_RHYTHM[hour], _AC_RHYTHM[hour]) / _STAY_SHARE
        taken = np.minimum(rhythm * self._busyness[of_gun], 0.95)
        arrives, leaves = 0.02 + 0.28 * stay, 0.60 + 0.38 * ((stay * 7919.0) % 1.0)
        plugged = np.where(is_dc, arrives + 0.03, arrives)
        finished = leaves - np.where(is_dc, 0.06, 0.20)
        edges = (arrives, plugged, finished, leaves)
        occupied = [(share >= low) & (share < high) for low, high in pairwise(edges)]
        status = np.select(occupied, [np.uint8(2), np.uint8(3), np.uint8(2)], np.uint8(1))
        reserved = (share >= arrives) & (share < leaves) & (chance >= taken) & (chance < taken + _RESERVED_SHARE)
        status = np.where(chance < taken, status, np.where(reserved, np.uint8(4), np.uint8(1))).astype(np.uint8)
        phase = np.select([share >= edge for edge in edges[::-1]], edges[::-1], 0.0)
        since = began + phase * turn_s

        fault_turn, fault_began, _ = _turn(at, _FAULT_TURN_S, _hashed(self._status_keys[2], gun))
        faulty = _hashed(self._status_keys[3], gun * _GOLDEN + fault_turn) < _FAULT_SHARE
        place = (of_gun + (generation << 32)).astype(np.uint64)
        offline_turn, offline_began, _ = _turn(at, _OFFLINE_TURN_S, _hashed(self._status_keys[4], place))
        offline = _hashed(self._status_keys[5], place * _GOLDEN + offline_turn) < _OFFLINE_SHARE
        dark = offline | np.isin(self.station_status[of_gun], _DARK_STATUSES)
        status = np.where(dark, np.uint8(0), np.where(faulty, np.uint8(255), status)).astype(np.uint8)
        phase_s = self._born_phase[of_gun]
        born = ((int(at) + phase_s) // LIFETIME_S * LIFETIME_S - phase_s).astype(np.float64)
        since = np.where(dark, offline_began, np.maximum(offline_began, np.where(faulty, fault_began, since)))
        since = np.maximum(born, np.where(dark | faulty, since, np.maximum(since, fault_began)))
        return GunStatuses(offsets, status, np.minimum(since, at))

    def _turn_draws(
        self, gun: NDArray[np.uint64], turn: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        bits = _mix(gun * _GOLDEN + turn * np.uint64(0xD1B54A32D192ED03) + np.uint64(self._status_keys[1]))
        high, low = bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)
        return high.astype(np.float64) * 2.0**-32, low.astype(np.float64) * 2.0**-32

    def _key(self, stream: str) -> int:
        return int.from_bytes(blake2b(f"{self.seed}/{stream}".encode(), digest_size=8).digest(), "big")

    def _uniforms(self, stream: str, index: NDArray[np.uint64]) -> NDArray[np.float64]:
        return _hashed(self._key(stream), index)

    def _draw_cities(self, index: NDArray[np.uint64]) -> NDArray[np.uint8]:
        draws = self._uniforms("city", index)
        cities = np.empty(len(index), dtype=np.uint8)
        for number, party in enumerate(PARTIES):
            mine = self.party == number
            cities[mine] = _choose(draws[mine], [_city_weight(party, city) for city in CITIES])
        return cities

    def _draw_guns(self, index: NDArray[np.uint64]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        normals = _normals(self._uniforms("size", index), self._uniforms("size2", index))
        guns = np.clip(np.rint(5.0 * np.exp(normals)), 1, MAX_GUNS).astype(np.int16)
        share = np.array([{"NONE": 0.0, "SOME": 0.45, "ALL": 1.0}[kind.dc] for kind in KINDS])[self.kind]
        spread = np.where(share == 0.45, 0.9 * self._uniforms("dc", index), share)
        return guns, np.rint(guns * spread).astype(np.int16)

    def _place(self, index: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
        """Return district, longitude and latitude: clusters of a few stations in a street, streets around a centre."""
        in_city = np.bincount(self.city, minlength=len(CITIES))
        clusters = np.maximum(1, in_city // 4)[self.city]
        cluster = np.floor(self._uniforms("cluster", index) ** 1.25 * clusters).astype(np.uint64)
        street = self.city.astype(np.uint64) * np.uint64(1 << 24) + cluster
        city_radius = np.array([city.radius_km for city in CITIES])[self.city]
        rural = (
            self._uniforms("rural", street)
            < np.array([0.0 if c.province in _ISLANDS else 0.2 for c in CITIES])[self.city]
        )
        radius = np.where(rural, 40.0, city_radius)
        east = radius * _normals(self._uniforms("street1", street), self._uniforms("street2", street))
        north = radius * _normals(self._uniforms("street3", street), self._uniforms("street4", street))
        distance = -0.13 * np.log1p(-self._uniforms("along", index))
        bearing = 2 * np.pi * self._uniforms("bearing", index)
        east, north = _on_land(self.city, east + distance * np.sin(bearing), north + distance * np.cos(bearing))
        self._share_points(index, street, east, north)
        lat = np.array([city.lat for city in CITIES])[self.city] + north / _KM_PER_DEGREE
        lon = np.array([city.lon for city in CITIES])[self.city] + east / (_KM_PER_DEGREE * np.cos(np.radians(lat)))
        districts = np.array([len(city.districts) for city in CITIES])[self.city]
        district = np.floor(self._uniforms("district", street) * districts).astype(np.uint8)
        return district, np.round(lon, 6), np.round(lat, 6)

    def _share_points(
        self,
        index: NDArray[np.uint64],
        street: NDArray[np.uint64],
        east: NDArray[np.float64],
        north: NDArray[np.float64],
    ) -> None:
        """Move some stations onto the very point of a neighbour, and some (as an aggregator's doubles) within 30 m."""
        order = np.argsort(street, kind="stable")
        ordinal = np.arange(len(order)) - np.searchsorted(street[order], street[order])
        follower = order[ordinal % 2 == 1]
        leader = order[np.flatnonzero(ordinal % 2 == 1) - 1]
        draws = self._uniforms("share", index[follower])
        reach_km = np.where(draws < 0.09, 0.0, 0.03 * self._uniforms("double", index[follower]))
        turn = 2 * np.pi * self._uniforms("double2", index[follower])
        moved = draws < 0.26
        east[follower[moved]] = (east[leader] + reach_km * np.sin(turn))[moved]
        north[follower[moved]] = (north[leader] + reach_km * np.cos(turn))[moved]

    def _link_repeats(self, slots: Slots) -> None:
        repeated = np.flatnonzero(self.dirt[slots] == Dirt.REPEATED_STATION)
        for position in repeated[repeated > 0].tolist():
            self._source[slots[position]] = self._source[slots[position - 1]]


def _city_weight(party: Party, city: City) -> float:
    if party.name == OCPI_PARTY:
        return _OCPI_CITIES.get(city.name, 0.0)
    if city.province in _ISLANDS or (party.name == "csg" and city.province not in _SOUTHERN):
        return 0.0
    if party.name == "stategrid" and city.province in _SOUTHERN:
        return 0.0
    return city.weight


def _on_land(
    city: NDArray[np.uint8], east: NDArray[np.float64], north: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mirror the points that lie beyond a city's shore."""
    bearing = np.radians([city.sea_bearing_deg or 0.0 for city in CITIES])
    margin = np.array([np.inf if city.sea_bearing_deg is None else city.sea_margin_km for city in CITIES])[city]
    toward_east, toward_north = np.sin(bearing)[city], np.cos(bearing)[city]
    excess = np.maximum(0.0, east * toward_east + north * toward_north - margin)
    return east - 2 * excess * toward_east, north - 2 * excess * toward_north


def _fill(guns: int, dc_guns: int, dc_draw: float, ac_draw: float) -> list[Cabinet]:
    """Return the cabinets of a station: DC guns first, one make of each kind, the last cabinet perhaps half filled."""
    cabinets: list[Cabinet] = []
    for first, last, model in ((0, dc_guns, _pick(_DC_MODELS, dc_draw)), (dc_guns, guns, _pick(_AC_MODELS, ac_draw))):
        step, number = model.gun_count, len(cabinets) + 1
        cabinets.extend(
            Cabinet(number + (gun - first) // step, model, gun, min(step, last - gun))
            for gun in range(first, last, step)
        )
    return cabinets


def _pick(models: tuple[tuple[Model, float], ...], draw: float) -> Model:
    for model, share in models:
        draw -= share
        if draw < 0:
            return model
    return models[0][0]


def _hours(always_draw: float, draw: float) -> Hours:
    if always_draw < 0.80:
        return ALWAYS_OPEN[int(draw * len(ALWAYS_OPEN))]
    if always_draw < 0.94:
        return LIMITED[int(draw * len(LIMITED))]
    return UNCLEAR[int(draw * len(UNCLEAR))]


_TARIFF: Final = (
    ("00:00", "07:00", 0.40),
    ("07:00", "10:00", 1.00),
    ("10:00", "15:00", 1.65),
    ("15:00", "18:00", 1.00),
    ("18:00", "21:00", 1.75),
    ("21:00", "23:00", 1.00),
    ("23:00", "24:00", 0.40),
)


def _prices(base_draw: float, service_draw: float, *, flat: bool, free: bool) -> tuple[PricePeriod, ...]:
    if free:
        return (PricePeriod("00:00", "24:00", 0, 0),)
    base, service = 5500 + int(base_draw * 3000), (20 + int(service_draw * 13) * 5) * 100
    if flat:
        return (PricePeriod("00:00", "24:00", base // 100 * 100, service),)
    return tuple(PricePeriod(start, end, int(base * level), service) for start, end, level in _TARIFF)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finish splitmix64: every bit of the result depends on every bit given."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed


def _mix_int(bits: int) -> int:
    """Finish splitmix64 for one number, as _mix does for many."""
    bits &= _MASK_64
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return bits ^ (bits >> 31)


def _hashed(key: int, index: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a uniform number in [0, 1) for each index; the same key and index always give the same."""
    bits: NDArray[np.uint64] = _mix((index + np.uint64(1)) * _GOLDEN + np.uint64(key)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _normals(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    normals: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
    return normals


def _choose(draws: NDArray[np.float64], weights: list[float]) -> NDArray[np.int64]:
    bounds = np.cumsum(weights) / np.sum(weights)
    bounds[-1] = 1.0
    return np.minimum(np.searchsorted(bounds, draws, side="right"), len(weights) - 1)


def _choose_shares(draws: NDArray[np.float64], shares: dict[Dirt, float]) -> NDArray[np.uint8]:
    bounds = np.cumsum(list(shares.values()))
    values = np.array([*shares, Dirt.CLEAN], dtype=np.uint8)
    return values[np.searchsorted(bounds, draws, side="right")]


def _turn(
    at: float, turn_s: NDArray[np.float64] | float, phase: NDArray[np.float64]
) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64]]:
    """Cut a gun's time into turns: which one ``at`` lies in, when it began, and how much of it has passed."""
    shifted = at + phase * turn_s
    turn = np.floor(shifted / turn_s)
    began = (turn - phase) * turn_s
    return turn.astype(np.uint64), began, (at - began) / turn_s
