"""The contract of quotas.

Windows are leaky buckets by the generic cell rate algorithm (GCRA): a bucket of ``limit`` that fills with each amount
and drains evenly within ``period_s``. An amount is taken from all windows, or from none of them. One that is larger
than a window's whole limit needs, and takes, all of that window.
"""

from abc import ABC, abstractmethod

from app.model.quota import Verdict, Windows


class Quotas(ABC):
    """What partners used lately. A partner's windows are always given with the same periods."""

    @abstractmethod
    async def open(self) -> None:
        """Make the quotas ready; needed once before anything else."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections; what was used and not told to others yet is forgotten."""

    @abstractmethod
    async def check(self) -> None:
        """Raise UnavailableError where other processes' use is not known now."""

    @abstractmethod
    def take(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount by what this process knows: at once, and whether or not anything else answers.

        Where several processes serve a partner, each hears of the others' use within SETTLED_WITHIN_S, while what they
        share answers: a partner may use more than its limit by what the others served it in that time, and has to
        wait for it afterwards. While nothing answers, each process knows its own use only.
        """

    @abstractmethod
    async def take_surely(self, partner_id: str, windows: Windows, amount: int) -> Verdict:
        """Take an amount by what all processes know. Raises UnavailableError where that cannot be told: not taken."""


SETTLED_WITHIN_S = 0.5
"""How soon processes hear of each other's use."""
