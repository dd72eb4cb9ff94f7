"""Figures of images and classes: counts, confusion, mistakes, overlays."""
