"""The port "what feeds reported and need to remember": ``base`` is its contract, then one file a technology."""
