"""Longer texts that one verb prints: a cell, a forecast, a reason, the findings of `bench doctor`."""
