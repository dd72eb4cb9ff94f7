"""How a command names the images that it is to look at: files by their paths, images of the test set by their numbers."""

from __future__ import annotations

TEST = "test:"
"""Begins the name of an image of the test set; its index in the prepared arrays follows."""
SHOWN_BY_DEFAULT = 6
"""How many images are explained where none is named."""
