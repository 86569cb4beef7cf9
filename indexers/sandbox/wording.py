"""How an operator words its stations and statuses: the nation's facts as T/CEC 102 objects in one dialect."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from indexers.sandbox.dialects import Absent, Dialect, Keys, PriceForm, Text
from indexers.sandbox.nation import Cabinet, Dirt, Nation, PricePeriod, Slots, Station

Words: TypeAlias = Any
"""A value that JSON can hold."""

_ABROAD: Final = ((10.99, 10.99), (126.977, 37.566), (0.1403, 29.29), (76.889, 43.238))
_ABSURD_PRICE: Final = "00:00-16:30 200.0元/度;16:30-18:00 500.0元/度"
_COARSE_STATUS: Final = {0: 0, 1: 1, 2: 3, 3: 3, 4: 3, 255: 255}
_PARK_STATUS: Final = {0: 0, 1: 10, 2: 50, 3: 50, 4: 10, 255: 0}
_GENERATIONS: Final = 4
"""A StationID ends in rank × 4 + generation modulo 4, so that a plot built anew gets a new id."""


def small_first(key: str) -> str:
    """Return ``stationID`` for ``StationID``."""
    return key[:1].lower() + key[1:]


def with_small_keys(value: Words) -> Words:
    """Return a copy in which every key of every object begins with a small letter."""
    if isinstance(value, dict):
        return {small_first(key): with_small_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_small_keys(item) for item in value]
    return value


class Wording:
    """Words one operator's stations. Pure: the same station at the same moment gives the same words."""

    def __init__(self, dialect: Dialect, nation: Nation) -> None:
        """Prepare what does not change from station to station."""
        self._dialect = dialect
        self._nation = nation
        self._slots = nation.slots_of(dialect.name)
        self._id_prefix = len(dialect.station_id.partition("{n")[0].format(area="000000"))
        self._integer: Callable[[int | None], Words] = _text_or_none if dialect.text is Text.INTEGERS else _same
        self._power: Callable[[float | None], Words] = _text_or_none if dialect.text is Text.POWERS else _same
        self._position: Callable[[float | None], Words] = _text_or_none if dialect.text is Text.POSITIONS else _same
        small = dialect.keys is Keys.SMALL_IDS_IN_STATUS
        self._status_station_key = "stationID" if small else "StationID"
        self._status_connector_key = "connectorID" if small else "ConnectorID"

    def station_id(self, station: Station) -> str:
        """Return the StationID, also for a station that is published with a blank one."""
        return self._dialect.station_id.format(area=station.district.adcode, n=self._number(station))

    def find_slot(self, station_id: str, at: float) -> int | None:
        """Return the plot of a published StationID, or None for one that this operator does not have now."""
        digits = station_id[self._id_prefix :]
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            return None
        rank = int(digits) // _GENERATIONS
        if rank >= len(self._slots):
            return None
        slot = int(self._slots[rank])
        station = self._nation.station(slot, at)
        is_there = station.dirt is not Dirt.BLANK_STATION_ID and self.station_id(station) == station_id
        return slot if is_there else None

    def connector_id(self, station: Station, gun: int) -> str:
        """Return the ConnectorID of a gun counted from 0, with the dirt that the operator publishes it with."""
        if station.dirt is Dirt.BLANK_CONNECTOR_ID and gun == 0:
            return ""
        connector_id = self._dialect.connector_id.format(
            station=self.station_id(station), area=station.district.adcode, n=self._number(station), gun=gun + 1
        )
        return " " + connector_id if station.dirt is Dirt.LEADING_SPACE else connector_id

    def status(self, station: Station, gun: int, status: int) -> dict[str, Words]:
        """Return one ConnectorStatusInfo, its keys as they stand in a status answer or a push."""
        dialect = self._dialect
        value = _COARSE_STATUS[status] if dialect.coarse_status else status
        words = {
            self._status_connector_key: self.connector_id(station, gun),
            "Status": self._integer(value),
        }
        if dialect.park_and_lock:
            words["ParkStatus"] = _PARK_STATUS[status]
            words["LockStatus"] = 50 if status == 4 else 10 if gun % 3 == 0 else 0
        return with_small_keys(words) if dialect.keys is Keys.LOWER_CAMEL else words

    def station_statuses(self, slots: Slots, at: float) -> list[dict[str, Words]]:
        """Return a StationStatusInfo for each plot."""
        guns = self._nation.statuses(slots, at)
        status, offsets = guns.status.tolist(), guns.offsets.tolist()
        infos = []
        for index, slot in enumerate(slots.tolist()):
            station = self._nation.station(slot, at)
            infos.append(
                {
                    self._status_station_key: self.station_id(station),
                    "ConnectorStatusInfos": [
                        self.status(station, gun, value)
                        for gun, value in enumerate(status[offsets[index] : offsets[index + 1]])
                    ],
                }
            )
        return infos

    def station(self, station: Station) -> dict[str, Words]:
        """Return a StationInfo with its equipment and connectors."""
        dialect, dirt = self._dialect, station.dirt
        integer = self._integer
        station_id = self.station_id(station)
        lon, lat = self._place(station)
        bays = 0 if dialect.bays_unknown else station.bays
        words: dict[str, Words] = {
            "StationID": "" if dirt is Dirt.BLANK_STATION_ID else station_id,
            "OperatorID": dialect.operator_id,
            "EquipmentOwnerID": self._owner(station),
            "StationName": "测试" + station.name if dirt is Dirt.TEST_STATION else station.name,
            "CountryCode": "CN",
            "AreaCode": station.district.adcode,
            "Address": station.address,
            "ServiceTel": "4000000000",
            "StationType": integer(station.kind.station_type),
            "StationStatus": integer(station.station_status),
            "ParkNums": integer(bays),
            "StationLng": lon,
            "StationLat": lat,
            "Construction": integer(station.kind.construction),
            "BusinetHours" if dialect.misspelt else "BusineHours": station.hours.text,
            "ElectricityFee": self._price("电费", station, [period.electricity for period in station.prices]),
            "ServiceFee": self._price("服务费", station, [period.service for period in station.prices]),
            "ParkFee": station.park_fee,
            "payMent" if dialect.misspelt else "Payment": station.payment,
            "SupportOrder": integer(1 if station.supports_order else 0),
        }
        pictures = [
            f"https://pictures.sandbox.invalid/{station_id}/{number + 1}.jpg" for number in range(station.picture_count)
        ]
        optional = {
            "StationTel": station.phone if station.rank % 2 else "",
            "SiteGuide": station.site_guide,
            "MatchCars": "",
            "ParkInfo": "",
            "Pictures": ",".join(pictures) if dialect.pictures_joined else pictures,
            "Remark": station.remark,
        }
        self._add_optional(words, optional)
        if dirt is Dirt.MISSING_INTS:
            self._lose_integers(words, station)
        if dialect.java_keys:
            words["serialVersionUID"] = 1
        if dialect.later_fields:
            self._add_later_fields(words, station, station_id)
        words["EquipmentInfos"] = self._equipment(station, station_id, lon, lat)
        return with_small_keys(words) if dialect.keys is Keys.LOWER_CAMEL else words

    def _number(self, station: Station) -> int:
        return station.rank * _GENERATIONS + station.generation % _GENERATIONS

    def _owner(self, station: Station) -> str:
        if station.dirt is Dirt.MALFORMED_OWNER:
            return "20745323-4"
        return f"MA5{station.owner_number:03d}SBX" if station.owner_number else self._dialect.operator_id

    def _place(self, station: Station) -> tuple[Words, Words]:
        lon, lat = station.lon, station.lat
        match station.dirt:
            case Dirt.ZERO_POSITION:
                lon, lat = 0.0, 0.0
            case Dirt.NO_POSITION:
                return ("", "") if self._dialect.text is Text.POSITIONS else (None, None)
            case Dirt.SWAPPED_POSITION:
                lon, lat = lat, lon
            case Dirt.OUT_OF_CHINA:
                lon, lat = _ABROAD[station.rank % len(_ABROAD)]
            case _:
                pass
        return self._position(lon), self._position(lat)

    def _price(self, title: str, station: Station, values: list[int]) -> str:
        if station.dirt is Dirt.ABSURD_PRICE:
            return _ABSURD_PRICE
        form = self._dialect.price_form
        if form is PriceForm.FLAT and station.flat_price:
            return f"{_yuan(values[0])}/度"
        return _price_text(form, title, station.prices, values)

    def _add_optional(self, words: dict[str, Words], optional: dict[str, Words]) -> None:
        match self._dialect.absent:
            case Absent.LEFT_OUT:
                words.update({key: value for key, value in optional.items() if value})
            case Absent.NULL:
                words.update({key: value or None for key, value in optional.items()})
            case Absent.EMPTY:
                words.update(optional)

    def _lose_integers(self, words: dict[str, Words], station: Station) -> None:
        lost = (("ParkNums", "Construction"), ("StationType",), ("StationStatus", "SupportOrder"))[station.rank % 3]
        for key in lost:
            if self._dialect.absent is Absent.LEFT_OUT:
                del words[key]
            else:
                words[key] = None

    def _add_later_fields(self, words: dict[str, Words], station: Station, station_id: str) -> None:
        words["StationUniqueNumber"] = station.district.adcode + self._dialect.operator_id + station_id
        words["StationClassification"] = 1
        words["RoundTheClock"] = 1 if station.hours.always else 0
        words["ParkType"] = 0 if station.park_fee.startswith("免费") else 255
        words["ParkingLockFlag"] = 1 if station.rank % 5 == 0 else 0
        words["ElectricityType"] = 1
        words["PolicyInfos"] = [
            {
                "StartTime": period.start.replace(":", "") + "00",
                "EndTime": period.end.replace(":", "") + "00",
                "ElecFee": period.electricity / 10_000,
                "ServiceFee": period.service / 10_000,
            }
            for period in station.prices
        ]

    def _equipment(self, station: Station, station_id: str, lon: Words, lat: Words) -> Words:
        if station.dirt is Dirt.NO_EQUIPMENT:
            return None if self._dialect.empty_list_is_null else []
        return [self._cabinet(station, station_id, cabinet, lon, lat) for cabinet in station.cabinets]

    def _cabinet(self, station: Station, station_id: str, cabinet: Cabinet, lon: Words, lat: Words) -> dict[str, Words]:
        dialect, model = self._dialect, cabinet.model
        words: dict[str, Words] = {
            "EquipmentID": dialect.equipment_id.format(
                station=station_id, area=station.district.adcode, n=self._number(station), cabinet=cabinet.number
            ),
            "ManufacturerID": dialect.operator_id,
            "ManufacturerName": "沙盒电气",
            "EquipmentModel": model.name,
            "ProductionDate": station.production_date,
            "EquipmentType": self._integer(1 if model.is_dc else 2),
            "Power": self._rating(station, model.cabinet_kw),
            "EquipmentName": f"{cabinet.number}号{'直流' if model.is_dc else '交流'}桩",
            "ConnectorInfos": [
                self._connector(station, cabinet, gun)
                for gun in range(cabinet.first_gun, cabinet.first_gun + cabinet.gun_count)
            ],
        }
        if station.dirt is Dirt.REPEATED_CONNECTOR and cabinet.number == 1:
            words["ConnectorInfos"].append(words["ConnectorInfos"][0])
        if dialect.equipment_position is not None:
            words["EquipmentLng"] = lon if dialect.equipment_position else 0.0
            words["EquipmentLat"] = lat if dialect.equipment_position else 0.0
        if dialect.java_keys:
            words["serialVersionUID"] = 1
        return words

    def _connector(self, station: Station, cabinet: Cabinet, gun: int) -> dict[str, Words]:
        model, integer = cabinet.model, self._integer
        words = {
            "ConnectorID": self.connector_id(station, gun),
            "ConnectorName": f"{gun + 1}号枪",
            "ConnectorType": integer(model.connector_type),
            "VoltageUpperLimits": integer(model.max_v),
            "VoltageLowerLimits": integer(model.min_v),
            "Current": integer(model.current_a),
            "Power": self._rating(station, model.gun_kw),
            "ParkNo": f"{gun + 1:02d}",
            "NationalStandard": integer(station.national_standard),
        }
        if station.dirt is Dirt.MISSING_INTS:
            words["NationalStandard"] = None
        return words

    def _rating(self, station: Station, power_kw: float) -> Words:
        if station.dirt is Dirt.NO_POWER:
            return self._power(0.0 if station.rank % 2 else None)
        return self._power(power_kw * 1000 if station.dirt is Dirt.POWER_IN_W else power_kw)


def _same(value: Words) -> Words:
    return value


def _text_or_none(value: float | None) -> str | None:
    return None if value is None else str(value)


def _yuan(ten_thousandths: int) -> str:
    """Return a price as the TELD family writes it: four places, trailing zeros dropped."""
    return f"{ten_thousandths / 10_000:.4f}".rstrip("0").rstrip(".")


def _price_text(form: PriceForm, title: str, periods: Iterable[PricePeriod], values: list[int]) -> str:
    timed = list(zip(periods, values, strict=True))
    match form:
        case PriceForm.SEMICOLONS:
            return f"{title}:" + ";".join(f"{p.start}~{p.end},{value / 10_000:.4f}" for p, value in timed)
        case PriceForm.YUAN_PER_KWH:
            return ";".join(f"{p.start}-{p.end} {_yuan(value)}元/度" for p, value in timed)
        case PriceForm.COLONS | PriceForm.FLAT:
            zero = "0.0000"
            return f"{title}:" + ",".join(f"{p.start}~{p.end}:{_yuan(value) if value else zero}" for p, value in timed)
