"""How much a connector delivers: what is declared, what follows from volts and amperes, and what neither says."""

import math
from typing import NamedTuple

from app.model.station import ConnectorType, Current, Flag, PowerBasis

_AC_PLUGS = frozenset(
    {
        ConnectorType.GBT_AC,
        ConnectorType.TYPE1,
        ConnectorType.TYPE2,
        ConnectorType.TYPE3A,
        ConnectorType.TYPE3C,
        ConnectorType.DOMESTIC,
        ConnectorType.CEE_SINGLE_16,
        ConnectorType.CEE_THREE_16,
        ConnectorType.CEE_THREE_32,
        ConnectorType.CEE_THREE_64,
        ConnectorType.NEMA,
    }
)
_DC_PLUGS = frozenset(
    {
        ConnectorType.CHADEMO,
        ConnectorType.CHAOJI,
        ConnectorType.GBT_DC,
        ConnectorType.MCS,
        ConnectorType.PANTOGRAPH,
        ConnectorType.TYPE1_COMBO,
        ConnectorType.TYPE2_COMBO,
    }
)
_AC_CURRENTS = frozenset({Current.AC, Current.AC_1_PHASE, Current.AC_2_PHASE, Current.AC_3_PHASE})
_MOST_AC_W = 50_000
_MOST_DC_W = 1_500_000
_MOST_MEGAWATT_W = 4_500_000
_MOST_HOUSEHOLD_W = 3_700
_LEAST_W = 1_000
"""Nobody charges a car below a kilowatt: a smaller figure in this field is in kW, or wrong."""
_AGREEMENT = 0.2
_LINE_TO_NEUTRAL_V = (90.0, 300.0)
_LINE_TO_LINE_V = (360.0, 480.0)


class Power(NamedTuple):
    """Watts with the basis they rest on; None where no figure can be had or trusted."""

    max_power_w: int | None
    basis: PowerBasis
    flags: tuple[Flag, ...] = ()


_UNKNOWN = Power(None, PowerBasis.UNKNOWN)


def rate(
    declared: float | None,
    volts: float | None,
    amperes: float | None,
    connector_type: ConnectorType,
    current: Current,
    *,
    split_phase: bool = False,
    repair: bool = True,
) -> Power:
    """Return what the connector delivers at most.

    A declared figure stands as it is when it can be one. Below 1,000 it is kW in a field of watts: with ``repair``
    and volts and amperes that agree within a fifth it is repaired (KW_IN_W_FIELD), else left out
    (POWER_UNIT_DOUBTFUL). Without a declared figure it is derived for alternating current; volts times amperes of
    direct current are only an upper bound and no power, also where a plug of direct current is filed under another.
    What no such plug delivers is left out (POWER_IMPLAUSIBLE); a household plug above 3.7 kW keeps a declared figure,
    flagged.
    """
    is_direct = current is Current.DC or connector_type in _DC_PLUGS
    derived_w = None if is_direct else _derive(volts, amperes, current, split_phase=split_phase)
    if declared is None or declared <= 0:
        if derived_w is None:
            return _UNKNOWN
        if derived_w > _most_w(connector_type, current) or _is_too_much_for_a_household(connector_type, derived_w):
            return Power(None, PowerBasis.UNKNOWN, (Flag.POWER_IMPLAUSIBLE,))
        return Power(round(derived_w), PowerBasis.DERIVED)
    basis, watts = PowerBasis.DECLARED, declared
    flags: tuple[Flag, ...] = ()
    if declared < _LEAST_W:
        bound_w = _product(volts, amperes) if is_direct else derived_w
        if not repair or bound_w is None or abs(bound_w - declared * 1000) > _AGREEMENT * declared * 1000:
            return Power(None, PowerBasis.UNKNOWN, (Flag.POWER_UNIT_DOUBTFUL,))
        basis, flags, watts = PowerBasis.REPAIRED, (Flag.KW_IN_W_FIELD,), declared * 1000
    if watts > _most_w(connector_type, current):
        return Power(None, PowerBasis.UNKNOWN, (*flags, Flag.POWER_IMPLAUSIBLE))
    if _is_too_much_for_a_household(connector_type, watts):
        flags = (*flags, Flag.POWER_IMPLAUSIBLE)
    return Power(round(watts), basis, flags)


def _product(volts: float | None, amperes: float | None) -> float | None:
    return volts * amperes if volts and amperes and volts > 0 and amperes > 0 else None


def _derive(volts: float | None, amperes: float | None, current: Current, *, split_phase: bool) -> float | None:
    product = _product(volts, amperes)
    if product is None or volts is None:
        return None
    to_neutral = _LINE_TO_NEUTRAL_V[0] <= volts <= _LINE_TO_NEUTRAL_V[1]
    to_line = _LINE_TO_LINE_V[0] <= volts <= _LINE_TO_LINE_V[1]
    if current is Current.AC_1_PHASE and (to_neutral or to_line):
        return product
    if current is Current.AC_2_PHASE and to_neutral:
        return product if split_phase else 2 * product
    if current is Current.AC_3_PHASE and to_neutral:
        return 3 * product
    if current is Current.AC_3_PHASE and to_line:
        return math.sqrt(3) * product
    return None


def _most_w(connector_type: ConnectorType, current: Current) -> float:
    if connector_type in _AC_PLUGS:
        return _MOST_AC_W
    if connector_type in {ConnectorType.UNKNOWN, ConnectorType.OTHER} and current in _AC_CURRENTS:
        return _MOST_AC_W
    return _MOST_MEGAWATT_W if connector_type is ConnectorType.MCS else _MOST_DC_W


def _is_too_much_for_a_household(connector_type: ConnectorType, watts: float) -> bool:
    return connector_type is ConnectorType.DOMESTIC and watts > _MOST_HOUSEHOLD_W
