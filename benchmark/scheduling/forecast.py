"""How long cells take, from what is known of others like them; simple, and None where nothing is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmark.matrix.cell import Cell


class Durations:
    """Expected seconds of cells on this machine.

    In this order: the same cell before; cells of the same model and dataset, in proportion to their epochs; the mean
    over the cells of this run, in proportion to epochs.

    Args:
        known: Rows with `cell_id`, `dataset`, `model`, `epochs_planned`, `total_seconds`, oldest first.
    """

    def __init__(self, known: Iterable[Mapping[str, Any]] = ()) -> None:
        self._cells: dict[str, float] = {}
        self._kinds: dict[tuple[str, str], _Mean] = {}
        self._run = _Mean()
        for row in known:
            if row["total_seconds"] is not None:
                self._cells[row["cell_id"]] = float(row["total_seconds"])
                kind = self._kinds.setdefault((row["dataset"], row["model"]), _Mean())
                kind.add(float(row["total_seconds"]), row["epochs_planned"] or 1)

    def learn(self, cell: Cell, seconds: float) -> None:
        """Takes in how long a cell of this run took."""
        self._cells[cell.cell_id] = seconds
        self._kinds.setdefault((cell.dataset, cell.model), _Mean()).add(seconds, cell.epochs or 1)
        self._run.add(seconds, cell.epochs or 1)

    def seconds(self, cell: Cell) -> float | None:
        """Expected seconds of the cell; None while nothing like it is known."""
        if cell.cell_id in self._cells:
            return self._cells[cell.cell_id]
        mean = self._kinds.get((cell.dataset, cell.model), self._run).rate
        return None if mean is None else mean * (cell.epochs or 1)


class _Mean:
    """Seconds for each epoch, over all that was added."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._epochs = 0

    def add(self, seconds: float, epochs: int) -> None:
        self._seconds += seconds
        self._epochs += epochs

    @property
    def rate(self) -> float | None:
        return self._seconds / self._epochs if self._epochs else None


class Remaining:
    """Seconds that a run still needs: the work left, shared out over what can run side by side.

    Args:
        durations: Expectations for single cells.
        work: Calls back for the unfinished cells, with the seconds each has been running already.
        width: How many cores a cell takes.
        cores, jobs: What there is to share.
    """

    def __init__(
        self,
        durations: Durations,
        work: Callable[[], Iterable[tuple[Cell, float]]],
        width: Callable[[Cell], int],
        cores: int,
        jobs: int,
    ) -> None:
        self._durations = durations
        self._work = work
        self._width = width
        self._cores = cores
        self._jobs = jobs
        self._answer: float | None = None
        self._next_time = 0.0

    def __call__(self) -> float | None:
        # A large matrix is summed up again only so often that it does not cost more than 2 % of a core.
        begun = time.monotonic()
        if begun >= self._next_time:
            self._answer = self._sum_up()
            now = time.monotonic()
            self._next_time = now + 50 * (now - begun)
        return self._answer

    def _sum_up(self) -> float | None:
        alone = shared = longest = 0.0
        for cell, spent in self._work():
            expected = self._durations.seconds(cell)
            if expected is None:
                return None
            left = max(expected - spent, 0.0)
            alone += left
            shared += left * self._width(cell)
            longest = max(longest, left)
        return max(shared / self._cores, alone / self._jobs, longest)
