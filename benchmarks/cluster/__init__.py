"""The same cells on many machines: `python -m benchmarks submit`, by Ray or by Slurm."""
