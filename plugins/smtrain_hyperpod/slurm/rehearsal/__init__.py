"""Executing a bundle on this machine: in its own Slurm where there is one, else with stand-ins for Slurm's commands."""
