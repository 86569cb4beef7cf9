"""The port "what is free now": ``base`` is its contract, ``board`` the arrays that each process answers from."""
