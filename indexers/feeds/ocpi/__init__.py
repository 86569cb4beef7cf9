"""OCPI Locations, 2.1.1 to 2.3.0."""
