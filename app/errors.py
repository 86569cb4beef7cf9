"""Our errors, one tree; foreign exceptions are mapped to it at the border where they occur.

ChargegraphError
├── SettingsError        the environment or a configuration file is wrong; says which name and what to do
├── InvalidInputError    a caller's value is wrong; names the field
├── NotAllowedError      the caller is known but its key does not carry the scope
├── UnavailableError     a store or an operator does not answer now; may say when to come back
└── FeedError            an operator's platform failed us
    ├── FeedUnreachableError   no connection, time-out, 5xx, busy
    └── FeedProtocolError      it answered something that the protocol does not allow
"""


class ChargegraphError(Exception):
    """The root of everything that we raise on purpose."""


class SettingsError(ChargegraphError):
    """The environment or a configuration file is wrong; the message names the key and the remedy."""


class InvalidInputError(ChargegraphError):
    """A caller's value is wrong. ``field`` is the path of the argument, in the caller's spelling."""

    def __init__(self, field: str, problem: str) -> None:
        """Make the message ``field: problem``."""
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class NotAllowedError(ChargegraphError):
    """The caller's key lacks a scope, or there is no key."""


class UnavailableError(ChargegraphError):
    """A store or an operator does not answer now. ``retry_after_s`` says when to try again, where that is known."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        """Keep the message and the delay."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FeedError(ChargegraphError):
    """An operator's platform failed us; the feed goes on with what it has."""


class FeedUnreachableError(FeedError):
    """The platform could not be reached in time, or said that it is busy: worth another try later."""


class FeedProtocolError(FeedError):
    """The platform answered something that its protocol does not allow: another try gives the same."""
