"""Use cases, in our words."""
