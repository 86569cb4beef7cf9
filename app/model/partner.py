"""Who calls us, and what its key allows."""

from enum import Enum

import msgspec

from app.model.clock import Instant


class PartnerKind(Enum):
    """What the partner is for; quotas and defaults depend on it."""

    NAVIGATION = "NAVIGATION"
    MAP = "MAP"
    FLEET = "FLEET"


class Scope(Enum):
    """What a key lets its bearer do."""

    DISCOVER = "discover"
    RESERVE = "reserve"
    INTROSPECT = "introspect"
    TRACE = "trace"
    """Learn how long each field took, by Apollo's federated tracing: for our own keys rather than for partners."""


class Partner(msgspec.Struct, frozen=True, kw_only=True):
    """The bearer of a valid key."""

    id: str
    kind: PartnerKind
    scopes: frozenset[Scope]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: its public id and whose it is, never its secret."""

    key_id: str
    partner: Partner
    created_at: Instant
    revoked_at: Instant | None = None
