"""T/CEC 102: the protocol between China's charging platforms. Importing this registers the kind ``cec102``."""

from indexers.feeds.cec102.feed import make_feed

__all__ = ["make_feed"]
