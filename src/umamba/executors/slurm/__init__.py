"""Run jobs on Slurm, with nothing but its own commands."""
