"""Who holds which Evse until when."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from app.model.clock import Instant

MIN_HOLD_S = 60
MAX_HOLD_S = 3_600
MAX_TOTAL_HOLD_S = 4 * 3_600
MAX_IDEMPOTENCY_KEY_CHARACTERS = 255


class ReservationState(Enum):
    """The life of a reservation; LIVE_STATES keep the Evse, the others are final."""

    REQUESTED = "REQUESTED"
    HELD = "HELD"
    PENDING_OPERATOR = "PENDING_OPERATOR"
    CONFIRMED = "CONFIRMED"
    ACTIVE = "ACTIVE"
    IN_DOUBT = "IN_DOUBT"
    FULFILLED = "FULFILLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    CANCELLED_BY_OPERATOR = "CANCELLED_BY_OPERATOR"
    FAILED = "FAILED"
    NO_SHOW = "NO_SHOW"


LIVE_STATES = frozenset(
    {
        ReservationState.REQUESTED,
        ReservationState.HELD,
        ReservationState.PENDING_OPERATOR,
        ReservationState.CONFIRMED,
        ReservationState.ACTIVE,
        ReservationState.IN_DOUBT,
    }
)


TRANSITIONS: Mapping[ReservationState, frozenset[ReservationState]] = MappingProxyType(
    {
        ReservationState.REQUESTED: frozenset(
            {
                ReservationState.HELD,
                ReservationState.REJECTED,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
            }
        ),
        ReservationState.HELD: frozenset(
            {
                ReservationState.PENDING_OPERATOR,
                ReservationState.ACTIVE,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
            }
        ),
        ReservationState.PENDING_OPERATOR: frozenset(
            {
                ReservationState.CONFIRMED,
                ReservationState.IN_DOUBT,
                ReservationState.REJECTED,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
                ReservationState.CANCELLED_BY_OPERATOR,
            }
        ),
        ReservationState.IN_DOUBT: frozenset(
            {
                ReservationState.CONFIRMED,
                ReservationState.REJECTED,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
                ReservationState.CANCELLED_BY_OPERATOR,
            }
        ),
        ReservationState.CONFIRMED: frozenset(
            {
                ReservationState.ACTIVE,
                ReservationState.NO_SHOW,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
                ReservationState.CANCELLED_BY_OPERATOR,
            }
        ),
        ReservationState.ACTIVE: frozenset(
            {
                ReservationState.FULFILLED,
                ReservationState.FAILED,
                ReservationState.CANCELLED,
                ReservationState.CANCELLED_BY_OPERATOR,
            }
        ),
    }
)
"""Where a live reservation may go next; the final states lead nowhere.

EXPIRED is no step here: only the store's clock leads there, from every live state. HELD goes to ACTIVE where no
operator has to be asked (Guarantee.HUB_HOLD).
"""


class Guarantee(Enum):
    """What stands behind it. HUB_HOLD: partners of this hub respect it, a passer-by with a card does not."""

    HUB_HOLD = "HUB_HOLD"
    OPERATOR = "OPERATOR"


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. It is dead once the store's clock reaches ``expires_at``, whatever ``state`` was written last.

    ``fence`` rises with each grant of the same Evse: a late message with an older fence changes nothing.
    """

    id: str
    evse_id: str
    partner_id: str
    state: ReservationState
    guarantee: Guarantee
    fence: int
    created_at: Instant
    expires_at: Instant
    ended_at: Instant | None = None


class RefusalCode(Enum):
    """Why a mutation changed nothing; part of the public API."""

    UNKNOWN_EVSE = "UNKNOWN_EVSE"
    EVSE_NOT_AVAILABLE = "EVSE_NOT_AVAILABLE"
    STATUS_UNKNOWN = "STATUS_UNKNOWN"
    ALREADY_RESERVED = "ALREADY_RESERVED"
    NOT_RESERVABLE = "NOT_RESERVABLE"
    UNKNOWN_RESERVATION = "UNKNOWN_RESERVATION"
    RESERVATION_ENDED = "RESERVATION_ENDED"
    HOLD_OUT_OF_RANGE = "HOLD_OUT_OF_RANGE"
    IDEMPOTENCY_KEY_INVALID = "IDEMPOTENCY_KEY_INVALID"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    TOO_MANY_RESERVATIONS = "TOO_MANY_RESERVATIONS"
    UNAVAILABLE = "UNAVAILABLE"


class Refusal(msgspec.Struct, frozen=True):
    """A refusal as data: a stable code, a sentence for people, and the argument it is about (or None)."""

    code: RefusalCode
    message: str
    field: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a mutation did: the reservation as it stands now, or the refusals; ``replayed`` when the key was known."""

    reservation: Reservation | None = None
    refusals: tuple[Refusal, ...] = ()
    replayed: bool = False
