"""The Chargegraph service: model, ports, use cases and the web."""
