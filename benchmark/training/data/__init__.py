"""Data sources, the prepared arrays that they become, and the batches that a cell sees of them."""
