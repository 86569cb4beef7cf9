"""The port "who holds what until when": ``base`` is its contract, the other files are one technology each."""
