"""A specification becomes cells: the product of the axes, settings by precedence, parents added, what cannot work left out."""
