"""The port "how much a partner may use": ``base`` is its contract, the other files are one technology each."""
