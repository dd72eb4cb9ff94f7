"""Users' own files may have changed since a cell was finished: such data are prepared anew before a result is reused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.programs.preparation import prepare_all
from benchmark.scheduling.run_options import GuardedObserver, RunOptions


def refresh(cells: Iterable[Cell], options: RunOptions, observer: GuardedObserver) -> None:
    """Prepares the data of finished cells whose arrays the cache does not have.

    The cache knows files by place, size and time. Whether they hold other images than before is told by the
    fingerprint of the new arrays, which `reuse` compares; files that were only copied or touched change nothing.

    Args:
        cells: Those that `reuse` has found unprepared.
        options: Of the run.
        observer: Told what is prepared, and what cannot be: a result whose files are gone stands as it is.
    """
    cells = [replace(cell, weights=Weights("none")) for cell in cells]
    problems, _, _ = prepare_all(cells, options, observer.note, partial(observer.tell, "preparing"))
    for problem in problems:
        observer.note(f"finished results are reused as they are, because their data cannot be checked: {problem}")
