"""One partner's windows in one process."""

from collections.abc import Sequence

from app.model.quota import Left, Verdict, Window, Windows

TOLERANCE_S = 1e-6
"""What sums of floating-point numbers may be off by."""


class Bucket:
    """How far ahead of the clock each window is: its theoretical arrival time, as GCRA calls it."""

    __slots__ = ("_largest", "_paces", "arrivals", "owed", "windows")

    def __init__(self, windows: Windows) -> None:
        """Begin with nothing used."""
        self.windows = windows
        self._paces = [window.period_s / window.limit for window in windows]
        self._largest = max(window.limit for window in windows)
        self.arrivals = [0.0] * len(windows)
        self.owed = 0
        """What was taken here and is not known elsewhere yet."""

    def take(self, amount: int, now: float) -> Verdict:
        """Take an amount, or nothing where a window does not hold it any more."""
        arrivals = []
        wait_s = 0.0
        for window, pace, arrival in zip(self.windows, self._paces, self.arrivals, strict=True):
            after = max(arrival, now) + min(amount, window.limit) * pace
            wait_s = max(wait_s, after - now - window.period_s)
            arrivals.append(after)
        if wait_s > TOLERANCE_S:
            return Verdict(self.left(now), wait_s)
        self.arrivals = arrivals
        return Verdict(self.left(now))

    def owe(self, amount: int) -> None:
        """Note what others have to hear of; what is more than a whole window changes nothing for them."""
        self.owed = min(self.owed + amount, self._largest)

    def learn(self, ahead_s: Sequence[float], now: float) -> None:
        """Take over how far ahead of the clock all processes together are, but for what is owed since."""
        self.arrivals = [
            now + ahead + min(self.owed, window.limit) * pace
            for window, pace, ahead in zip(self.windows, self._paces, ahead_s, strict=True)
        ]

    def left(self, now: float) -> tuple[Left, ...]:
        """Return what is left of each window."""
        return tuple([left(window, arrival - now) for window, arrival in zip(self.windows, self.arrivals, strict=True)])


def left(window: Window, ahead_s: float) -> Left:
    """Return what is left of a window that is so far ahead of the clock."""
    if ahead_s <= 0.0:
        return Left(window.limit, 0.0)
    used = (ahead_s - TOLERANCE_S) * window.limit / window.period_s
    return Left(max(0, int(window.limit - used)), ahead_s)
