"""Looking after a submitted job: its state, its log, its results, its end."""
