"""A module for each kind of source: what it holds becomes the prepared arrays."""
