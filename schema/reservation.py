"""Reservations: holding an Evse, holding it longer, letting it go."""

import math
from collections.abc import AsyncIterator, Hashable
from typing import Annotated

import strawberry

from app.model import reservation as model
from app.model.clock import Instant
from app.model.reservation import LIVE_STATES, Guarantee, Outcome, Refusal, RefusalCode, ReservationState
from app.services.following import ReservationFollowing
from schema.context import Context, Info, Source
from schema.cost import about, page
from schema.evse import Evse
from schema.pagination import DEFAULT_PAGE_SIZE, PageInfo, digest_of, page_info, page_size, read_cursor, write_cursor
from schema.scalars import DateTime, api_enum
from schema.station import After, First, Station

_IDEMPOTENCY_KEY = (
    "Your own key of this wish (1 to 255 characters): repeated with the same input it does nothing twice."
)

api_enum(
    ReservationState,
    "ReservationState",
    "The life of a reservation. The first six keep the Evse; the others are final.",
    {
        "REQUESTED": "Asked for, not yet granted.",
        "HELD": "The hub holds the Evse.",
        "PENDING_OPERATOR": "The operator was asked and has not answered yet.",
        "CONFIRMED": "The operator confirmed it.",
        "ACTIVE": "The vehicle is there.",
        "IN_DOUBT": "The operator fell silent; the Evse stays blocked until this ends.",
        "FULFILLED": "The vehicle charged.",
        "REJECTED": "The operator refused.",
        "EXPIRED": "Its time ran out.",
        "CANCELLED": "The partner let it go.",
        "CANCELLED_BY_OPERATOR": "The operator took it back.",
        "FAILED": "It could not be carried out.",
        "NO_SHOW": "Nobody came.",
    },
)
api_enum(
    Guarantee,
    "Guarantee",
    "What stands behind a reservation.",
    {
        "HUB_HOLD": "Partners of this hub respect it; a passer-by with a card of the operator does not.",
        "OPERATOR": "The operator itself holds the Evse.",
    },
)
api_enum(
    RefusalCode,
    "UserErrorCode",
    "Why a mutation changed nothing.",
    {
        "UNKNOWN_EVSE": "There is no such Evse for this key.",
        "EVSE_NOT_AVAILABLE": "The Evse is not free now.",
        "STATUS_UNKNOWN": "Nobody knows whether the Evse is free.",
        "ALREADY_RESERVED": "Somebody holds the Evse.",
        "NOT_RESERVABLE": "Its operator does not let you reserve it.",
        "UNKNOWN_RESERVATION": "There is no such reservation of this partner.",
        "RESERVATION_ENDED": "The reservation has ended.",
        "HOLD_OUT_OF_RANGE": "The hold is too short or too long.",
        "IDEMPOTENCY_KEY_INVALID": "The idempotency key is empty or too long.",
        "IDEMPOTENCY_KEY_REUSED": "The idempotency key was used with another input.",
        "TOO_MANY_RESERVATIONS": "This partner has as many live reservations as it may have.",
        "UNAVAILABLE": "A store or an operator does not answer now: repeat with the same idempotency key.",
    },
)


@strawberry.federation.type(
    name="Reservation",
    keys=["id"],
    description="One grant of one Evse to this key's partner. Another partner's is as unknown as one that never was.",
)
class Reservation:
    """A reservation as it is shown to its partner."""

    id: strawberry.ID = strawberry.field(description="The identifier.")
    state: ReservationState = strawberry.field(description="Where it stands in its life.")
    live: bool = strawberry.field(description="Whether it keeps the Evse now.")
    guarantee: Guarantee = strawberry.field(description="What stands behind it.")
    created_at: DateTime = strawberry.field(description="When it was granted.")
    expires_at: DateTime = strawberry.field(description="When it is dead, on the clock of `serverTime`.")
    ended_at: DateTime | None = strawberry.field(description="When it ended otherwise; null while it has not.")
    server_time: DateTime = strawberry.field(description="The clock that `expiresAt` counts on, at this answer.")
    ttl_s: int = strawberry.field(description="Whole seconds that are left of it; 0 once it is no longer live.")
    evse_id: strawberry.ID = strawberry.field(description="The Evse that it is for.")

    @strawberry.field(
        description="The Evse as it is now; null when its operator has removed it since, or hides it from you."
    )
    async def evse(self, info: Info) -> Evse | None:
        """Look up the Evse, together with those of other reservations."""
        view = await info.context.evses.load(self.evse_id)
        return None if view is None else Evse(view=view, context=info.context)

    @strawberry.field(
        description="The station of the Evse; null when its operator has removed it since, or hides it from you."
    )
    async def station(self, info: Info) -> Station | None:
        """Look up the station, together with those of other reservations."""
        evse = await info.context.evses.load(self.evse_id)
        sighting = None if evse is None else await info.context.stations.load(evse.station_id)
        (station,) = await Station.of_each([sighting], info.context)
        return station

    @classmethod
    def of(cls, reservation: model.Reservation, now: Instant) -> "Reservation":
        """Show a reservation at an Instant of the store's clock."""
        live = reservation.state in LIVE_STATES and now < reservation.expires_at
        return cls(
            id=strawberry.ID(reservation.id),
            state=reservation.state,
            live=live,
            guarantee=reservation.guarantee,
            created_at=DateTime(reservation.created_at),
            expires_at=DateTime(reservation.expires_at),
            ended_at=None if reservation.ended_at is None else DateTime(reservation.ended_at),
            server_time=DateTime(now),
            ttl_s=math.floor(reservation.expires_at - now) if live else 0,
            evse_id=strawberry.ID(reservation.evse_id),
        )


@strawberry.type(description="A reservation in a list, and where it stands there.")
class ReservationEdge:
    """Relay's edge."""

    cursor: str = strawberry.field(description="The position of this reservation, to be given as `after`.")
    node: Reservation = strawberry.field(description="The reservation.")


@strawberry.type(description="One page of a partner's reservations.")
class ReservationConnection:
    """Relay's connection."""

    edges: list[ReservationEdge] = strawberry.field(description="The reservations of this page, newest first.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")


@strawberry.type(description="Why a mutation changed nothing.")
class UserError:
    """A refusal as data."""

    code: RefusalCode = strawberry.field(description="The reason; stable.")
    message: str = strawberry.field(description="The reason in words, for people.")
    field: str | None = strawberry.field(description="The member of `input` that it is about; null where none.")

    @classmethod
    def of(cls, refusal: Refusal) -> "UserError":
        """Show a refusal."""
        return cls(code=refusal.code, message=refusal.message, field=refusal.field)


@strawberry.type(description="What a mutation of a reservation did.")
class ReservationPayload:
    """The payload of every mutation of a reservation."""

    reservation: Reservation | None = strawberry.field(description="The reservation as it stands now; null if refused.")
    replayed: bool = strawberry.field(
        description="Whether the idempotency key was known, so that nothing was done anew."
    )
    user_errors: list[UserError] = strawberry.field(
        description="Why nothing was changed; empty where it was.", directives=[about(1)]
    )


@strawberry.input(name="ReserveEvseInput", description="An Evse to be held.")
class ReserveEvseInput:
    """What `reserveEvse` takes."""

    evse_id: strawberry.ID = strawberry.field(description="The Evse; it must be AVAILABLE with fresh news.")
    hold_s: int = strawberry.field(description="How long to hold it: 60 to 3600 seconds from now.")
    idempotency_key: str = strawberry.field(description=_IDEMPOTENCY_KEY)


@strawberry.input(name="ExtendReservationInput", description="A reservation to be held longer.")
class ExtendReservationInput:
    """What `extendReservation` takes."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation; it must be live.")
    hold_s: int = strawberry.field(
        description="How long to hold it from now: 60 to 3600 seconds; it never ends earlier than it would have."
    )
    idempotency_key: str = strawberry.field(description=_IDEMPOTENCY_KEY)


@strawberry.input(name="CancelReservationInput", description="A reservation to be let go.")
class CancelReservationInput:
    """What `cancelReservation` takes."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    idempotency_key: str = strawberry.field(description=_IDEMPOTENCY_KEY)


@strawberry.type
class ReservationQuery:
    """Queries about reservations."""

    @strawberry.field(description="One reservation of this key's partner; null where it has none with this id.")
    async def reservation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The identifier.")],
    ) -> Reservation | None:
        """Find a reservation."""
        context = info.context
        context.charge("id", 1)
        found = await context.services.booking.find_reservation(context.viewer, id)
        return None if found is None else Reservation.of(found, await context.services.booking.now())

    @strawberry.field(description="The reservations of this key's partner, newest first.", **page())
    async def reservations(
        self,
        info: Info,
        first: First = DEFAULT_PAGE_SIZE,
        after: After = None,
        live_only: Annotated[
            bool, strawberry.argument(description="Leave out those that no longer keep their Evse.")
        ] = False,
    ) -> ReservationConnection:
        """List the partner's reservations."""
        context = info.context
        size = page_size(first)
        digest = digest_of("reservations", context.viewer.partner.id, live_only)
        cursor = None if after is None else read_cursor(after, digest)
        context.charge("first", size)
        position = None if cursor is None else (cursor.key, cursor.id)
        booking = context.services.booking
        listed = await booking.list_reservations(context.viewer, size + 1, position, live_only=live_only)
        now = await booking.now()
        shown = listed[:size]
        cursors = [write_cursor(digest, reservation.created_at, reservation.id) for reservation in shown]
        return ReservationConnection(
            edges=[
                ReservationEdge(cursor=at, node=Reservation.of(reservation, now))
                for at, reservation in zip(cursors, shown, strict=True)
            ],
            page_info=page_info(cursors, has_next=len(listed) > size, after=after),
        )


class _Once:
    """A turn of one subscriber, which nobody shares."""

    def __init__(self) -> None:
        self.payloads: dict[Hashable, bytes] = {}


class _Updates(Source[_Once, Reservation]):
    """What a subscriber is told of a reservation."""

    def __init__(self, context: Context, following: ReservationFollowing) -> None:
        super().__init__(context)
        self._following = following

    async def ready(self) -> bool:
        return await self._following.ready()

    def take(self) -> _Once:
        return _Once()

    async def show(self, told: _Once, context: Context) -> Reservation:
        del told
        return Reservation.of(await self._following.take(), await context.services.booking.now())

    def retell(self) -> None:
        self._following.forget()

    def close(self) -> None:
        self._following.close()


@strawberry.type
class ReservationSubscription:
    """Subscriptions to reservations."""

    @strawberry.subscription(
        description=(
            "A reservation of this key's partner: as it is now, and each time that something of it changed, at most "
            "some seconds later where its time ran out. It is complete once the reservation no longer keeps its Evse."
        )
    )
    async def reservation_updated(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The identifier.")],
    ) -> AsyncIterator[Reservation]:
        """Follow a reservation."""
        context = info.context
        following = ReservationFollowing(context.services.booking, context.viewer, id)
        try:
            await following.ready()
        except BaseException:
            following.close()
            raise
        return _Updates(context, following)


@strawberry.type
class ReservationMutation:
    """Mutations of reservations."""

    @strawberry.mutation(description="Hold an Evse that is free now, so that it is still free when the driver arrives.")
    async def reserve_evse(
        self,
        info: Info,
        wish: Annotated[ReserveEvseInput, strawberry.argument(description="What to hold.", name="input")],
    ) -> ReservationPayload:
        """Hold an Evse."""
        context = info.context
        booking = context.services.booking
        outcome = await booking.reserve(context.viewer, wish.evse_id, wish.hold_s, wish.idempotency_key)
        return await _payload(context, outcome)

    @strawberry.mutation(description="Hold an Evse longer.")
    async def extend_reservation(
        self,
        info: Info,
        wish: Annotated[ExtendReservationInput, strawberry.argument(description="What to hold longer.", name="input")],
    ) -> ReservationPayload:
        """Extend a reservation."""
        context = info.context
        booking = context.services.booking
        outcome = await booking.extend(context.viewer, wish.reservation_id, wish.hold_s, wish.idempotency_key)
        return await _payload(context, outcome)

    @strawberry.mutation(description="Let an Evse go; it is free for others at once.")
    async def cancel_reservation(
        self,
        info: Info,
        wish: Annotated[CancelReservationInput, strawberry.argument(description="What to let go.", name="input")],
    ) -> ReservationPayload:
        """Cancel a reservation."""
        context = info.context
        booking = context.services.booking
        outcome = await booking.cancel(context.viewer, wish.reservation_id, wish.idempotency_key)
        return await _payload(context, outcome)


async def _payload(context: Context, outcome: Outcome) -> ReservationPayload:
    reservation = outcome.reservation
    return ReservationPayload(
        reservation=None if reservation is None else Reservation.of(reservation, await context.services.booking.now()),
        replayed=outcome.replayed,
        user_errors=[UserError.of(refusal) for refusal in outcome.refusals],
    )
