"""Run jobs, commands of ours, on this machine or on a cluster."""
