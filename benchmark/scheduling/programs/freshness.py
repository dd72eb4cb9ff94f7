"""Users' own files may have changed since a cell was finished: such data are prepared anew before a result is reused."""

from __future__ import annotations

import selectors
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from benchmark import machine
from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.programs.preparation import PROGRESS_SECONDS, Preparations
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
    ended: list[str] = []
    with selectors.DefaultSelector() as selector:
        preparations = Preparations(cells, options, selector, lambda _, problem: ended.append(problem))
        slots = Slots(machine.available_cores(), (), None)
        try:
            preparations.start(slots, observer.note)
            while selector.get_map():
                for key, _ in selector.select(PROGRESS_SECONDS):
                    key.data()
                preparations.start(slots, observer.note)
                preparations.report(partial(observer.tell, "preparing"))
        finally:
            preparations.close()
    for problem in filter(None, ended):
        observer.note(f"finished results are taken as they are, for their data cannot be looked at: {problem}")
