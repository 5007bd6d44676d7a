"""Where a grid runs: SLURM and other clusters."""
