"""Figures of recorded results: one module for each kind, all in one style, written as PNG and SVG.

matplotlib is used without pyplot, so that no global state and no display is needed; nothing outside this package
imports it, and the command line imports this package only when figures are asked for.
"""
