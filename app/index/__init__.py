"""The port "where stations are": ``base`` is its contract, the other files are one technology each."""
