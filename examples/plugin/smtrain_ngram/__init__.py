"""A trainer and a backend for smtrain, small enough to start from."""
