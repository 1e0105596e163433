"""Executing a bundle on this machine as pods would: the same scripts, the same files, the operator's variables."""
