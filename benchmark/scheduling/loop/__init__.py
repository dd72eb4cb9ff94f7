"""The loop of a run: start cells, hear workers, enforce limits, write down how each attempt ended."""
