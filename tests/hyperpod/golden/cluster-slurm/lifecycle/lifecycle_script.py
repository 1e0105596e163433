print("starts Slurm")
