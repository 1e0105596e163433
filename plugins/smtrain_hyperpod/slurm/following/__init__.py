"""Giving a job to Slurm and looking after it, from wherever its login node can be reached."""
