"""The Chargegraph service: model, ports, use cases and the web."""

__version__ = "0.1.0"
