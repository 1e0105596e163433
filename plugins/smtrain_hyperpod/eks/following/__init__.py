"""How a job is doing: its state, its log, its results, and its end."""
