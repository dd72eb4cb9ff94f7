"""Users' own files may have changed since a cell was finished: such data are prepared anew before a result is reused."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable
from dataclasses import replace

from benchmark import machine
from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.programs.preparation import Preparations
from benchmark.scheduling.run_options import RunOptions


def refresh(cells: Iterable[Cell], options: RunOptions, note: Callable[[str], None], signals: StopSignals) -> None:
    """Prepares the data of finished cells whose arrays the cache does not have.

    The cache knows files by place, size and time. Whether they hold other images than before is told by the
    fingerprint of the new arrays, which `reuse` compares; files that were only copied or touched change nothing.

    Args:
        cells: Those that `reuse` has found unprepared.
        options: Of the run.
        note: Told what is prepared, and what cannot be: a result whose files are gone stands as it is.
        signals: A stop ends the preparation.
    """
    cells = [replace(cell, weights=Weights("none")) for cell in cells]
    ended: list[str] = []
    with selectors.DefaultSelector() as selector:
        preparations = Preparations(cells, options, selector, lambda _, problem: ended.append(problem))
        slots = Slots(machine.available_cores(), (), None)
        selector.register(signals.fd, selectors.EVENT_READ, lambda: None)
        try:
            preparations.start(slots, note)
            while len(ended) < len(preparations.names) and not signals.count:
                for key, _ in selector.select():
                    key.data()
                preparations.start(slots, note)
        finally:
            preparations.close()
    for problem in filter(None, ended):
        note(f"finished results are taken as they are, for their data cannot be looked at: {problem}")
