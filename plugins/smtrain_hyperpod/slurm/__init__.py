"""The backend `hyperpod_slurm`: batch jobs of Slurm."""
