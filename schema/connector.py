"""Connectors: the plugs of an Evse."""

import strawberry

from app.model import station as model
from app.model.station import ConnectorFormat, ConnectorType, Current, Flag, PowerBasis
from schema.scalars import api_enum
from schema.shown import shown

WATTS_PER_KW = 1_000

api_enum(
    ConnectorType,
    "ConnectorType",
    "The kind of plug.",
    {
        "UNKNOWN": "The source does not say.",
        "OTHER": "The source names a kind that we do not know; see `rawType`.",
        "GBT_AC": "GB/T 20234.2, alternating current.",
        "GBT_DC": "GB/T 20234.3, direct current.",
        "CHAOJI": "ChaoJi (GB/T 20234.4, CHAdeMO 3).",
        "TYPE1": "IEC 62196 type 1 (SAE J1772).",
        "TYPE1_COMBO": "CCS 1: type 1 with two direct-current pins.",
        "TYPE2": "IEC 62196 type 2 (Mennekes).",
        "TYPE2_COMBO": "CCS 2: type 2 with two direct-current pins.",
        "TYPE3A": "IEC 62196 type 3A (Scame).",
        "TYPE3C": "IEC 62196 type 3C (Scame).",
        "CHADEMO": "CHAdeMO.",
        "NACS": "SAE J3400, the North American Charging Standard.",
        "TESLA_S": "Tesla's plug of the Model S.",
        "TESLA_ROADSTER": "Tesla's plug of the Roadster.",
        "MCS": "Megawatt Charging System.",
        "DOMESTIC": "A household socket.",
        "CEE_SINGLE_16": "IEC 60309 (CEE) single-phase, 16 A.",
        "CEE_THREE_16": "IEC 60309 (CEE) three-phase, 16 A.",
        "CEE_THREE_32": "IEC 60309 (CEE) three-phase, 32 A.",
        "CEE_THREE_64": "IEC 60309 (CEE) three-phase, 64 A.",
        "NEMA": "A NEMA socket of North America.",
        "PANTOGRAPH": "A pantograph for buses and trucks.",
        "WIRELESS": "Inductive charging.",
        "BATTERY_SWAP": "Batteries are changed here, not charged.",
    },
)
api_enum(
    ConnectorFormat,
    "ConnectorFormat",
    "Who brings the cable.",
    {
        "UNKNOWN": "The source does not say.",
        "SOCKET": "A socket: the driver brings the cable.",
        "CABLE": "A cable hangs at the Evse.",
    },
)
api_enum(
    Current,
    "Current",
    "The kind of current.",
    {
        "UNKNOWN": "The source does not say.",
        "AC_1_PHASE": "Alternating current, one phase.",
        "AC_2_PHASE": "Alternating current, two phases.",
        "AC_3_PHASE": "Alternating current, three phases.",
        "AC": "Alternating current; the source does not say how many phases.",
        "DC": "Direct current.",
    },
)
api_enum(
    PowerBasis,
    "PowerBasis",
    "What a power figure rests on.",
    {
        "UNKNOWN": "There is no figure, or its origin is not known.",
        "DECLARED": "The source stated it.",
        "DERIVED": "Computed from voltage and current.",
        "REPAIRED": "The source's figure was wrong in a way that we understand; see `flags`.",
        "SHARED": "The limit of a cabinet that several Evses share.",
    },
)
api_enum(
    Flag,
    "Flag",
    "What was repaired, inferred or found doubtful in a record.",
    {
        "COORDINATES_SWAPPED": "Longitude and latitude stood in each other's place and were exchanged.",
        "COORDINATES_MISSING": "The source gave no usable position.",
        "COORDINATES_DOUBTFUL": "The position contradicts what else the record says.",
        "COORDINATES_FROM_EVSES": "The position is that of the station's Evses.",
        "COUNTRY_INFERRED": "The country was inferred from other members.",
        "KW_IN_W_FIELD": "A figure in kilowatts stood where watts belong.",
        "POWER_IMPLAUSIBLE": "The power cannot be true and was left out.",
        "POWER_UNIT_DOUBTFUL": "The power may be in another unit than the protocol says.",
        "TYPE_INFERRED": "The plug was inferred from other members.",
        "IDENTIFIER_TRIMMED": "White space round an identifier was removed.",
        "DUPLICATE_DROPPED": "An identifier occurred more than once; one record was kept.",
        "VALUE_UNREADABLE": "A value could not be read and was left out.",
        "TEXT_CLEANED": "Control characters were removed from a text.",
        "NO_EVSES": "The source lists no Evses for this station.",
    },
)


@strawberry.type(
    name="Connector", description="One plug of an Evse. An Evse charges one vehicle at a time, whatever its plugs."
)
class Connector:
    """A connector as it is shown: what stands for it is the model's own."""

    id: strawberry.ID = shown("id", "Unique within its Evse only.")
    type: ConnectorType = shown("type", "The kind of plug.")
    raw_type: str | None = shown("raw_type", "What the source wrote for the kind, where it is kept.")
    format: ConnectorFormat = shown("format", "Who brings the cable.")
    current: Current = shown("current", "The kind of current.")
    power_basis: PowerBasis = shown("power_basis", "What `maxPowerKw` rests on.")
    voltage_v: int | None = shown("voltage_v", "Highest voltage in volts, where stated.")
    amperage_a: int | None = shown("amperage_a", "Highest current in amperes, where stated.")
    standard_revision: str | None = shown(
        "standard_revision",
        "The revision of the plug's national standard, where stated (GB/T 2011, 2015 …).",
    )
    flags: list[Flag] = shown("flags", "What was repaired, inferred or found doubtful in this record.")

    @strawberry.field(description="The most that it delivers, in kW; null where no figure can be had or trusted.")
    def max_power_kw(self: model.Connector) -> float | None:
        """Show the power."""
        return kilowatts(self.max_power_w)


def kilowatts(watts: int | None) -> float | None:
    """Return kilowatts for watts."""
    return None if watts is None else watts / WATTS_PER_KW
