"""One module or folder a kind of feed; importing this package registers them all."""

from indexers.feeds import cec102, ocpi

__all__ = ["cec102", "ocpi"]
