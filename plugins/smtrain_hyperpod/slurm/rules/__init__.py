"""What Slurm, or the nodes, would refuse, and what it takes to say so before."""
