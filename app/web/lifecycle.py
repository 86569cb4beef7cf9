"""Where a process is in its life: it starts, it serves, it drains, it ends."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from app.telemetry import metrics

Checks: TypeAlias = Mapping[str, Awaitable[object]]
"""A question to each part of the service, by name; one that is not ready raises a ChargegraphError."""


class Lifecycle:
    """One process's, asked by whoever answers for it.

    What holds connections for long ends them politely when draining begins (``at_draining``): from then on no new ones
    of that kind belong here, and the process ends within the settings' drain time.
    """

    def __init__(self) -> None:
        """Begin to start."""
        self.draining = False
        """Set by the signal to end; never taken back."""
        self._checks: Callable[[], Checks] | None = None
        self._at_draining: list[Callable[[], None]] = []

    @property
    def started(self) -> bool:
        """Whether every store was opened and loaded."""
        return self._checks is not None

    def start(self, checks: Callable[[], Checks]) -> None:
        """Serve from now on; ``checks`` asks every store whether it is ready."""
        self._checks = checks
        metrics.STARTED.set(1)

    def at_draining(self, end: Callable[[], None]) -> None:
        """Have this called when draining begins."""
        self._at_draining.append(end)

    def drain(self) -> None:
        """Say no to new work from now on: the process is about to end."""
        if self.draining:
            return
        self.draining = True
        metrics.DRAINING.set(1)
        for end in self._at_draining:
            end()

    def checks(self) -> Checks:
        """Return a question to each store; none before the start is complete."""
        return {} if self._checks is None else self._checks()
