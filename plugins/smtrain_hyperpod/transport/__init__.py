"""The way to a login node, and what is copied there."""
