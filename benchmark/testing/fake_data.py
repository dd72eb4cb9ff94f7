"""The data of the `fake` backend: none, but how many images there would be, and their fingerprint."""

from __future__ import annotations

import contextlib
import os

from benchmark.matrix.cell import Cell

EXAMPLES = 256


def data_fingerprint() -> str:
    """That of all fake data; with `BENCH_FAKE_OTHER_DATA=FILE` the worker that makes the file sees other data."""
    with contextlib.suppress(KeyError, FileExistsError):
        os.close(os.open(os.environ["BENCH_FAKE_OTHER_DATA"], os.O_CREAT | os.O_EXCL))
        return "other"
    return "fake"


def locked_examples(cell: Cell) -> int:
    """How many images are locked away."""
    return round(EXAMPLES * cell.data.lockbox)


def training_examples(cell: Cell) -> int:
    """How many images are trained on."""
    return EXAMPLES - validation_examples(cell)


def validation_examples(cell: Cell) -> int:
    """How many images validate."""
    share = 0.1 if cell.data.validation == "source" else cell.data.validation_fraction
    return round(EXAMPLES * share)
