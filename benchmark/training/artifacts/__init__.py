"""The files that an attempt leaves: states, weights, models, predictions."""
