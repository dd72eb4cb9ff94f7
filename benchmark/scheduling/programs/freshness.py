"""Users' own files may have changed since a cell was finished: such data are prepared anew before a result is reused."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from benchmark import machine
from benchmark.catalog.backends import trains
from benchmark.catalog.cache import PreparedDirectories
from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.decisions.reuse import Before
from benchmark.scheduling.options import RunOptions
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.programs.preparation import FINGERPRINT_FILE, Preparations
from benchmark.status import FINAL


def refresh(
    cells: Iterable[Cell],
    before: Mapping[str, Before],
    options: RunOptions,
    note: Callable[[str], None],
    signals: StopSignals,
) -> None:
    """Prepares users' files whose arrays the cache does not have, where finished cells wait to be compared with them.

    The cache knows files by place, size and time. Whether they hold other images than before is told by the
    fingerprint of the new arrays, which `reuse` compares; files that were only copied or touched change nothing.

    Args:
        cells: Of the plan.
        before: The latest execution of each cell on this machine.
        options: Of the run.
        note: Told what is prepared, and what cannot be: a result whose files are gone stands as it is.
        signals: A stop ends the preparation.
    """
    directories = PreparedDirectories(options.cache_root)
    stale = [
        replace(cell, weights=Weights("none"))
        for cell in cells
        if cell.data.location is not None
        and trains(cell.backend)
        and not options.rerun
        and cell.cell_id in before
        and before[cell.cell_id].status in FINAL
        and not (directories.of(cell.data) / FINGERPRINT_FILE).exists()
    ]
    if stale:
        _prepare(stale, options, note, signals)


def _prepare(cells: Iterable[Cell], options: RunOptions, note: Callable[[str], None], signals: StopSignals) -> None:
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
