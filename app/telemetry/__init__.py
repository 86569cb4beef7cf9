"""What a process tells of itself: metrics, traces, and which request a line of the log belongs to."""
