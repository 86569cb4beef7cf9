"""How much each partner may use: its own quota, else that of its kind, else none."""

from collections.abc import Mapping

from app.model.partner import Partner
from app.model.quota import Verdict, Windows
from app.quotas.base import Quotas


class Metering:
    """Takes what requests cost from the quotas of those who ask."""

    def __init__(self, quotas: Quotas, windows: Mapping[str, Windows]) -> None:
        """Take what counts, and the windows by partners' ids and by the names of their kinds."""
        self._quotas = quotas
        self._windows = windows

    def windows_of(self, partner: Partner) -> Windows:
        """Return a partner's windows; none where it has no quota."""
        own = self._windows.get(partner.id)
        return self._windows.get(partner.kind.value, ()) if own is None else own

    def take(self, partner: Partner, amount: int) -> Verdict:
        """Take what reading costs: at once, whatever is away."""
        windows = self.windows_of(partner)
        return self._quotas.take(partner.id, windows, amount) if windows else _NO_QUOTA

    async def take_surely(self, partner: Partner, amount: int) -> Verdict:
        """Take what changing costs. Raises UnavailableError where nobody can tell what is left."""
        windows = self.windows_of(partner)
        return await self._quotas.take_surely(partner.id, windows, amount) if windows else _NO_QUOTA


_NO_QUOTA = Verdict(())
