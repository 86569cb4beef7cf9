"""One partner's windows in one process."""

from collections.abc import Sequence

from app.model.quota import Left, Verdict, Windows

TOLERANCE_S = 1e-6
"""What sums of floating-point numbers may be off by."""

_ROUNDED = 1e-3
"""The same, as a share of what one unit takes."""


class Bucket:
    """How far ahead of the clock each window is: its theoretical arrival time, as GCRA calls it."""

    __slots__ = ("_arrivals", "_largest", "_terms", "owed", "windows")

    def __init__(self, windows: Windows) -> None:
        """Begin with nothing used."""
        self.windows = windows
        self._terms = [(each.limit, each.period_s, each.period_s / each.limit) for each in windows]
        self._largest = max(each.limit for each in windows)
        self._arrivals = [0.0] * len(windows)
        self.owed = 0
        """What was taken here and is not known elsewhere yet."""

    def take(self, amount: int, now: float) -> Verdict:
        """Take an amount, or nothing where a window does not hold it any more."""
        ahead_s = []
        wait_s = TOLERANCE_S
        for (limit, period_s, pace), arrival in zip(self._terms, self._arrivals, strict=True):
            before = arrival - now
            after = (max(0.0, before)) + (min(limit, amount)) * pace
            wait_s = max(wait_s, after - period_s)
            ahead_s.append(after)
        if wait_s > TOLERANCE_S:
            return self.verdict([arrival - now for arrival in self._arrivals], wait_s)
        self._arrivals = [now + each for each in ahead_s]
        return self.verdict(ahead_s)

    def owe(self, amount: int) -> None:
        """Note what others have to hear of; what is more than a whole window changes nothing for them."""
        self.owed = min(self.owed + amount, self._largest)

    def learn(self, ahead_s: Sequence[float], now: float) -> None:
        """Take over how far ahead of the clock all processes together are, but for what is owed since."""
        self._arrivals = [
            now + ahead + min(self.owed, limit) * pace
            for (limit, _, pace), ahead in zip(self._terms, ahead_s, strict=True)
        ]

    def verdict(self, ahead_s: Sequence[float], wait_s: float | None = None) -> Verdict:
        """Say what is left of windows that are so far ahead of the clock."""
        left = []
        for (limit, _, pace), ahead in zip(self._terms, ahead_s, strict=True):
            if ahead > 0.0:
                remaining = int(limit - ahead / pace + _ROUNDED)
                left.append(Left(max(0, remaining), ahead))
            else:
                left.append(Left(limit, 0.0))
        return Verdict(tuple(left), wait_s)
