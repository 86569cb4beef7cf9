"""Operators to try against: T/CEC 102 platforms and an OCPI party over one seeded nation."""
