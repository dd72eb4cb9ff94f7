"""One file for each verb of `bench`, and nothing else."""
