"""Figures of recorded results: one module for each kind, all in one style, written as PNG and SVG.

matplotlib is used without pyplot, so that no global state and no display is needed; nothing outside this package
imports it, and the command line imports this package only when figures are asked for.
"""

import contextlib
import os

# matplotlib reads the first `matplotlibrc` that it finds while it is imported, in the working folder before all others,
# and may set the locale by it; a damaged one, or an unknown backend, would end the import
os.environ["MATPLOTLIBRC"] = os.devnull
os.environ.pop("MPLBACKEND", None)
with contextlib.chdir(os.sep):
    import matplotlib as mpl  # noqa: F401
