"""OCPI Locations, 2.1.1 to 2.3.0."""

from indexers.feeds.ocpi.feed import OcpiFeed

__all__ = ["OcpiFeed"]
