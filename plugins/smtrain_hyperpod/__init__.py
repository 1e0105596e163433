"""The backends `hyperpod_slurm` and `hyperpod_eks`, and the commands about their clusters."""
