"""Where things are in a pod."""

from __future__ import annotations

BUNDLE = "/opt/smtrain"
"""Where the run's own files are mounted, read-only."""

FILES, SCRATCH, SHM = "smtrain-files", "smtrain-scratch", "smtrain-shm"
"""Volumes of our own."""

LIBRARY = "library"
SOURCE = "source"
INPUTS = "inputs"
AGENT = "agent"
"""Archives, by their names."""

SOURCE_INPUT = "source"
"""Name of the input that the user's code is, where it comes from S3."""
