"""Engines that place agents of ours on other computers: Ray, Slurm, those of installed packages."""
