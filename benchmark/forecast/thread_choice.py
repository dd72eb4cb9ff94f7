"""What `threads = "auto"` comes to on this machine: how it is chosen from what was measured, and where that is kept.

A choice becomes part of the ids of cells, so it must not change from run to run: it is a file of its own,
`$BENCH_CACHE/trials/threads-<key>.json`, whose key holds the cells' speed key, the processor and the number of cores, but
neither versions of libraries nor `--jobs`; results that are there already count after an upgrade too. Whoever deletes
the file has the machine measured again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import layout, machine
from benchmark.events import ModelBuilt, Tried
from benchmark.files import read_record, sha256_of
from benchmark.forecast.cost import cost_of
from benchmark.forecast.trial_store import FORMAT, processor, write_record
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import canonical_json

TIE = 0.05
"""Rates this close to the best are taken for equal; two measurements on a busy machine differ by as much."""


def choose(rates: Mapping[int, float]) -> int:
    """The number of threads with the most images per second of the whole machine.

    A tie goes to the fewest threads: they use the least processor time for the same, they do not wait for each other
    where a core is disturbed, and one thread is what matrices have by default, so that results are there already.

    Args:
        rates: For each number of threads that was measured.
    """
    enough = (1 - TIE) * max(rates.values())
    return min(count for count, rate in rates.items() if rate >= enough)


def machine_rate(cell: Cell, stage: int, told: Sequence[tuple[ModelBuilt, Tried]]) -> float | None:
    """Images that the machine trains on in a second, with several workers at once.

    As in a run: what a cell takes until it trains (building, tracing) counts too, and for short cells decides, since more
    threads do not make it shorter; so does validation.

    `told` is what each of the workers said of the same stage of `cell`, counted from 1.

    Returns:
        None when they were not all at it at one time.
    """
    steps = steps_together([tried.step_ends for _, tried in told])
    if steps is None:
        return None
    epochs, batch = cost_of(cell).stages[stage - 1].epochs, cell.stages[stage - 1].batch_size
    rate = 0.0
    for (built, tried), step in zip(told, steps, strict=True):
        full = min(batch, built.train_examples)
        epoch = built.train_examples / full * step + built.validation_examples / batch * tried.predict_seconds[-1]
        seconds = built.setup_seconds + tried.tracing_seconds[-1] + epochs * epoch
        rate += epochs * built.train_examples / seconds
    return rate


def steps_together(ends: Sequence[Sequence[float]]) -> list[float] | None:
    """Seconds of a step of each of several workers, while all of them were at it.

    Args:
        ends: For each worker when its steps ended, in the same clock; the first is the begin of its first.

    Returns:
        The median of its steps in the time that all have in common, so that a disturbance of a moment does not count;
        None when there was no such time.
    """
    begin, end = max(one[0] for one in ends), min(one[-1] for one in ends)
    medians = []
    for one in ends:
        steps = [after - before for before, after in itertools.pairwise(one) if before >= begin and after <= end]
        if not steps:
            # steps longer than the common time: those that overlap it
            steps = [after - before for before, after in itertools.pairwise(one) if after > begin and before < end]
        if not steps or median(steps) <= 0:
            return None
        medians.append(median(steps))
    return medians


def stored_choices(cache_root: Path) -> dict[str, int]:
    """The choices made for this machine, by speed key; files that are damaged or of other machines are passed over."""
    every = layout.threads_file(cache_root, "*")
    try:
        paths = sorted(every.parent.glob(every.name))
    except OSError:
        return {}
    choices = {}
    for path in paths:
        record = read_record(path) or {}
        key, threads = record.get("key"), record.get("threads")
        pace = key.get("pace") if isinstance(key, dict) else None
        if type(threads) is int and 1 <= threads <= machine.cpu_cores() and isinstance(pace, str) and key == _key(pace):
            choices[pace] = threads
    return choices


def keep_choice(cache_root: Path, speed_key: str, threads: int, measured: Mapping[str, Any]) -> None:
    """Writes a choice down, with what was measured for whoever wonders.

    Raises:
        OSError: The cache cannot be written.
    """
    key = _key(speed_key)
    digest = sha256_of(canonical_json(key).encode("ascii"))[:24]
    write_record(layout.threads_file(cache_root, digest), {"key": key, "threads": threads, **measured})


def _key(speed_key: str) -> dict[str, Any]:
    return {"format": FORMAT, "pace": speed_key, "processor": processor(), "cores": machine.cpu_cores()}
