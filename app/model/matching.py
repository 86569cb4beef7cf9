"""What of a filter can be told from a station's record alone, and which of its Evses the live rest is about."""

import msgspec

from app.model.search import StationFilter
from app.model.station import NOT_OPERATING, Station


def without_live(wanted: StationFilter) -> StationFilter:
    """Return the filter without what changes from one second to the next: every station that matches, matches this."""
    return msgspec.structs.replace(wanted, available_now=False, max_status_age_s=None, open_now=False)


def asks_for_live(wanted: StationFilter) -> bool:
    """Tell whether the filter asks for an Evse with a certain live status."""
    return wanted.available_now or wanted.max_status_age_s is not None


def qualifying_evses(station: Station, wanted: StationFilter) -> list[int]:
    """Return the places of the Evses that operate and have one of the types with the power on one connector."""
    if station.presence in NOT_OPERATING:
        return []
    kinds, least_w = wanted.connector_types, wanted.min_power_w
    return [
        place
        for place, evse in enumerate(station.evses)
        if evse.presence not in NOT_OPERATING
        and (
            (not kinds and least_w is None)
            or any(
                (not kinds or connector.type in kinds)
                and (least_w is None or (connector.max_power_w is not None and connector.max_power_w >= least_w))
                for connector in evse.connectors
            )
        )
    ]


def matches_record(station: Station, wanted: StationFilter) -> bool:
    """Tell whether a station matches a filter as far as its record says, but for ``text``."""
    return (
        (not wanted.operator_ids or station.operator_id in wanted.operator_ids)
        and (not wanted.access or station.access in wanted.access)
        and not wanted.hidden.holds(station.operator_id)
        and ((not wanted.connector_types and wanted.min_power_w is None) or bool(qualifying_evses(station, wanted)))
    )
