"""The port "what is free now": ``base`` is its contract, ``_board`` the arrays that each process answers from."""
