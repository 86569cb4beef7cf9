"""T/CEC 102: the protocol between China's charging platforms."""
