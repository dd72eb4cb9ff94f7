"""Weights read from files: those of parent cells, of ImageNet, and of users."""
