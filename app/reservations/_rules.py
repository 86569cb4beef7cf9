"""What every ledger says in the same words: ids, keys, refusals, and how a reservation stands at a moment."""

import re
import secrets

import msgspec

from app.model.clock import Instant
from app.model.reservation import (
    MAX_HOLD_S,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_TOTAL_HOLD_S,
    MIN_HOLD_S,
    Outcome,
    Refusal,
    RefusalCode,
    Reservation,
    ReservationState,
)

ANSWERS_KEPT_S = 48 * 3_600
"""How long an idempotency key is remembered; longer than any reservation lives."""

_ID = re.compile(r"rsv_[A-Za-z0-9_-]{24}", re.ASCII)


def make_reservation_id() -> str:
    """Return an id that nobody can guess and that no other reservation has."""
    return f"rsv_{secrets.token_urlsafe(18)}"


def is_reservation_id(text: str) -> bool:
    """Tell whether a text can be the id of a reservation."""
    return _ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Tell whether a text can be an idempotency key."""
    return 0 < len(text) <= MAX_IDEMPOTENCY_KEY_CHARACTERS and text.isprintable()


def as_of(reservation: Reservation, now: Instant) -> Reservation:
    """Return the reservation as it stands now, whatever was written last."""
    if reservation.ended_at is not None or now < reservation.expires_at:
        return reservation
    return msgspec.structs.replace(reservation, state=ReservationState.EXPIRED, ended_at=reservation.expires_at)


def too_many(live: int) -> Outcome:
    """Refuse a partner that holds as many Evses as it may."""
    return _refuse(RefusalCode.TOO_MANY_RESERVATIONS, f"you hold {live} Evses, which is the most you may")


def ended(state: ReservationState) -> Outcome:
    """Refuse to change a reservation that ended before, in this state."""
    return _refuse(RefusalCode.RESERVATION_ENDED, f"the reservation ended before: {state.value}", "reservationId")


def _refuse(code: RefusalCode, message: str, field: str | None = None) -> Outcome:
    return Outcome(refusals=(Refusal(code, message, field),))


KEY_INVALID = _refuse(
    RefusalCode.IDEMPOTENCY_KEY_INVALID,
    f"the key must be 1 to {MAX_IDEMPOTENCY_KEY_CHARACTERS} printable characters",
    "idempotencyKey",
)
KEY_REUSED = _refuse(
    RefusalCode.IDEMPOTENCY_KEY_REUSED, "the key was used before with other arguments", "idempotencyKey"
)
HOLD_OUT_OF_RANGE = _refuse(RefusalCode.HOLD_OUT_OF_RANGE, f"a hold lasts from {MIN_HOLD_S} to {MAX_HOLD_S} s", "holdS")
TOTAL_HOLD_OUT_OF_RANGE = _refuse(
    RefusalCode.HOLD_OUT_OF_RANGE, f"a reservation lasts at most {MAX_TOTAL_HOLD_S} s in all", "holdS"
)
ALREADY_RESERVED = _refuse(RefusalCode.ALREADY_RESERVED, "somebody holds this Evse", "evseId")
UNKNOWN_RESERVATION = _refuse(RefusalCode.UNKNOWN_RESERVATION, "you have no reservation with this id", "reservationId")
