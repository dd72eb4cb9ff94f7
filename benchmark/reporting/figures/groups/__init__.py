"""Figures of groups of seeds: curves, and what compares groups with each other."""
