"""The port "who may call us": ``base`` is its contract, the other files are one technology each."""
