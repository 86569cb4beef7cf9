"""What every request passes before it is executed, however it came: its document, its cost, its partner's quota."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import ChargegraphError
from app.model.partner import Scope
from app.model.quota import Verdict, Windows
from app.services.metering import Metering
from app.services.viewer import Viewer
from app.web.http import Headers
from app.web.rate_limit import rate_limit_headers
from schema.engine import Answer, Engine, Plan
from schema.errors import ErrorCode, error_body

REFUSED_COST = 10
"""What a document costs that is refused: reading it was work, too."""


class OverQuotaError(ChargegraphError):
    """The partner used up its quota, and nothing was executed: HTTP's 429, with these errors and header fields."""

    def __init__(self, windows: Windows, verdict: Verdict) -> None:
        """Say when to come back."""
        super().__init__("the quota of this key's partner is used up for now")
        retry_after_s = math.ceil((verdict.retry_after_s or 0.0) * 1_000) / 1_000
        self.body = {"errors": [error_body(ErrorCode.RATE_LIMITED, str(self), retryAfterS=retry_after_s)]}
        self.headers = rate_limit_headers(windows, verdict)


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A request that was paid for: what to execute, or else the answer that refuses it."""

    text: str
    operation_name: str | None
    plan: Plan | Answer
    cost: int
    headers: Headers
    """What an answer by HTTP says of the quota."""


class Gate:
    """Plans, weighs and charges requests."""

    def __init__(self, engine: Engine, metering: Metering) -> None:
        """Take what knows the schema, and what counts."""
        self._engine = engine
        self._metering = metering

    async def admit(
        self, text: str, operation_name: str | None, variables: Mapping[str, Any] | None, viewer: Viewer
    ) -> Admitted:
        """Plan a request and take its cost from the partner's quota: once, also for what then goes on for hours.

        Raises OverQuotaError; and UnavailableError for a mutation while nobody can tell what is left.
        """
        partner = viewer.partner
        plan = self._engine.plan(text, may_introspect=Scope.INTROSPECT in partner.scopes)
        cost = REFUSED_COST
        if isinstance(plan, Plan):
            weighed = self._engine.weigh(plan, operation_name, variables)
            if isinstance(weighed, Answer):
                plan = weighed
            else:
                cost = weighed
        if isinstance(plan, Plan) and plan.changes(operation_name):
            verdict = await self._metering.take_surely(partner, cost)
        else:
            verdict = self._metering.take(partner, cost)
        windows = self._metering.windows_of(partner)
        if verdict.retry_after_s is not None:
            raise OverQuotaError(windows, verdict)
        return Admitted(text, operation_name, plan, cost, rate_limit_headers(windows, verdict))
