"""The contract of the partners' directory: their keys, and what operators have agreed with them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from app.model.agreement import Agreement, Grant
from app.model.clock import Instant
from app.model.partner import ApiKey, Partner, PartnerKind, Scope

BELIEVED_S = 900.0
"""How long a key that was good is believed where nobody can tell whether it still is."""


class PartnerDirectory(ABC):
    """API keys, and the operators' agreements with who has them.

    A key's text is shown once, at its making; only a hash of its secret part is kept. Agreements are made and ended,
    never changed.
    """

    @abstractmethod
    async def open(self) -> None:
        """Make the directory ready; needed once before anything else."""

    @abstractmethod
    async def close(self) -> None:
        """Release files and connections."""

    @abstractmethod
    async def create_key(self, partner_id: str, kind: PartnerKind, scopes: Iterable[Scope]) -> tuple[ApiKey, str]:
        """Make a key and return it with its text, which cannot be had again. Raises InvalidInputError."""

    @abstractmethod
    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first."""

    @abstractmethod
    async def revoke_key(self, key_id: str) -> bool:
        """End a key for good; False when there is no such key or it was revoked before."""

    @abstractmethod
    async def find_partner(self, key_text: str) -> Partner | None:
        """Return whose key this is, None when it is unknown, damaged or revoked. A revocation is seen within 5 s.

        While the directory does not answer, whose key was good in the last BELIEVED_S is still let in: it may be the
        server of the reservations that is away, and searches need not be. Others hear UnavailableError.
        """

    @abstractmethod
    async def create_agreement(
        self,
        subject: str,
        partner_id: str,
        grants: Iterable[Grant],
        *,
        not_before: Instant | None = None,
        expires_at: Instant | None = None,
    ) -> Agreement:
        """Keep a new agreement (see there); durable once it returns. Raises InvalidInputError."""

    @abstractmethod
    async def list_agreements(self) -> list[Agreement]:
        """Return all agreements, ended ones too, oldest first."""

    @abstractmethod
    async def end_agreement(self, agreement_id: str) -> bool:
        """End an agreement for good; False when there is none with this id or it was ended before."""
