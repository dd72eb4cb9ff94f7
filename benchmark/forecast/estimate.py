"""What cells will take: seconds, memory and disk, from what this machine has recorded, and while they run.

For each cell the nearest thing that is known counts: the same cell; cells of the same shape (all but the seed); cells
of the same kind (the same network and batches), by how much more or less the cell has to do; a trial of that kind
(`trials.py`); and else the cost model (`costs.py`, `regression.py`), fitted to everything this machine has recorded. A machine without any record is taken
for the one that the usual coefficients were measured on: 2 cores of a Zen 4 server, TensorFlow 2.21, two cells of one
thread side by side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from benchmark.errors import NewerRecordError
from benchmark.forecast.cost import (
    QUANTITIES,
    CellWork,
    Quantities,
    added,
    peak_work_of,
    scaled,
    stored_bytes,
)
from benchmark.forecast.regression import Fit
from benchmark.forecast.shapes import Shape, Shapes
from benchmark.forecast.simulation import Room, Work, ends
from benchmark.forecast.trial_store import Find, Trial, no_trial, seconds_by
from benchmark.matrix.cell import Cell
from benchmark.scheduling.processes.slots import Slots

if TYPE_CHECKING:
    from benchmark.events import EpochFinished

Basis: TypeAlias = Literal["same cell", "same shape", "same model", "trial", "cost model", "usual"]

USUAL_SECONDS: Mapping[str, Mapping[str, float]] = {
    "cpu": {
        "attempt": 0.2, "epochs": 0.003, "built": 0.002, "traced": 0.007, "arithmetic": 0.017, "traffic": 0.05,
        "updates": 3.5, "launches": 90.0, "stored": 0.03, "augmented": 0.02,
    },
    # not measured: of a graphics processor that does 10 million million multiply-adds a second where it is kept busy
    "gpu": {
        "attempt": 2.0, "epochs": 0.003, "built": 0.005, "traced": 0.008, "arithmetic": 0.0003, "traffic": 0.004,
        "updates": 0.05, "launches": 20.0, "stored": 0.03, "augmented": 0.0005,
    },
    "fake": {"attempt": 0.03, "epochs": 0.007},
}  # fmt: skip
"""Seconds for each unit of each quantity, by the kind of device."""

USUAL_BYTES = (4.0e8, 3e5, 18e6, 30e6, 8e6)
"""Of main memory, for each unit of `costs.peak_work_of`: measured as `USUAL_SECONDS`."""

_FAKE_BYTES = (3e7, 0.0, 0.0, 0.0, 0.0)

START_SECONDS: Mapping[str, float] = {"tensorflow": 4.0, "jax": 4.0, "torch": 6.0, "fake": 0.3}
"""From the begin of a run to its first worker: the imports of the template process, where no run was recorded."""

_LONGEST_START = 3.0
"""Of a recorded run that took more than so many times as long, most went into preparing its data."""

BETWEEN_SECONDS = 0.05
"""From the end of one worker to the first line of the next, and back."""

_MOST_WEIGHT = 10.0
_KIND_TRUST = 0.3
"""How strongly the cost model holds against what its own kind of cells took: as much as 0.3 such cells."""

_OVERDUE = 0.1
"""A cell that has taken longer than expected will take another tenth of that."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one cell will take.

    Attributes:
        seconds: From its start to its end.
        peak_rss_bytes: Most main memory of its process.
        disk_bytes: What it leaves on the disk.
        basis: What the seconds follow from: `same cell`, `same shape`, `same model`, a `trial`, the `cost model` of
            this machine, or the `usual` costs elsewhere.
    """

    seconds: float
    peak_rss_bytes: int
    disk_bytes: int
    basis: Basis


@dataclass(slots=True)
class _Kind:
    """What cells of one kind took, and what they had to do: for each shape and all together."""

    seconds: float = 0.0
    done: Quantities | None = None
    count: float = 0.0

    def add(self, quantities: Quantities, seconds: float, count: float) -> None:
        self.seconds += seconds * count
        more = scaled(quantities, count)
        self.done = more if self.done is None else added(self.done, more)
        self.count += count

    def factor(self, fit: Fit) -> float:
        """How many times as long as the cost model says."""
        if self.done is None:
            return 1.0
        modelled = fit.value(self.done)
        prior = _KIND_TRUST * modelled / self.count
        return (self.seconds + prior) / (modelled + prior) if modelled > 0 else 1.0


@dataclass(slots=True)
class _Going:
    """A running cell, as its epochs have told.

    Attributes:
        steady: Seconds of the epochs of this stage that contained no tracing.
        at: Seconds since its start when the last epoch was told.
        resumed: Whether it did not begin at the beginning.
    """

    shape: Shape
    stage: int = 1
    stage_epoch: int = 0
    steady: list[float] = field(default_factory=list)
    at: float = 0.0
    resumed: bool = False

    def hear(self, event: EpochFinished, elapsed: float) -> None:
        if event.stage != self.stage:
            self.steady.clear()
        if not event.traced:
            self.steady.append(event.seconds + event.checkpoint_seconds)
        self.stage, self.stage_epoch, self.at = event.stage, event.stage_epoch, elapsed
        self.resumed = self.resumed or event.replayed

    def total(self, fit: Fit, factor: float) -> float:
        """Expected seconds from start to end: those that have gone, and what is left by the pace so far."""
        work: CellWork = self.shape.work
        stage = work.stages[self.stage - 1]
        modelled = fit.value(stage.epoch)
        epoch = factor * modelled
        if self.steady:
            # disturbed epochs are long ones: the middle of the last few
            recent = sorted(self.steady[-5:])
            epoch = recent[len(recent) // 2]
            factor = epoch / modelled if modelled > 0 else 1.0
        left = max(stage.epochs - self.stage_epoch, 0.0) * epoch
        later = [added(one.begin, scaled(one.epoch, one.epochs)) for one in work.stages[self.stage :]]
        return self.at + left + factor * fit.value(added(work.end, *later))


@dataclass(slots=True)
class _Pace:
    """How much slower the machine is in this run than in those before: a busy machine makes everything slower."""

    expected: float = 0.0
    seconds: float = 0.0
    count: int = 0

    def add(self, expected: float | None, seconds: float) -> None:
        if expected is not None:
            self.expected, self.seconds, self.count = self.expected + expected, self.seconds + seconds, self.count + 1

    @property
    def factor(self) -> float:
        """Cautious at first: as if one cell more had taken what was expected."""
        prior = self.expected / max(self.count, 1)
        return (self.seconds + prior) / (self.expected + prior) if prior > 0 else 1.0


class Durations:
    """Expected seconds, memory and disk of cells on this machine.

    Args:
        known: Completed executions of cells, oldest first: `cell_id`, `total_seconds`.
        efforts: What like executions took on average; see `results.past.efforts`.
        trials: Finds what trials have measured; asked for kinds of cells that have not been recorded.
        starts: Seconds from the begin of a run to its first worker, by backend; see `results.past.starts`.
    """

    def __init__(
        self,
        known: Iterable[Mapping[str, Any]] = (),
        efforts: Iterable[Mapping[str, Any]] = (),
        trials: Find = no_trial,
        starts: Mapping[str, float] | None = None,
    ) -> None:
        self._starts = {**START_SECONDS, **_without_data(starts or {})}
        self._find_trial = trials
        self._trials: dict[Hashable, Trial | None] = {}
        self._shapes = Shapes()
        self._fits: dict[Hashable, Fit] = {}
        self._memory: dict[bool, Fit] = {}
        self._of_shape: dict[Shape, _Kind] = {}
        self._of_kind: dict[Hashable, _Kind] = {}
        self._peaks: dict[Hashable, int] = {}
        self._going: dict[str, _Going] = {}
        self._measured_now: set[Hashable] = set()
        self._pace = _Pace()
        self._version = 0
        self._sizes: dict[Shape, tuple[int, int]] = {}
        self._cache: dict[Shape, tuple[int, float, Basis]] = {}
        self._cells: dict[str, float] = {
            row["cell_id"]: row["total_seconds"] for row in known if row["total_seconds"] is not None
        }
        for row in efforts:
            self._take_in(row)

    # ---- learning

    def learn(self, cell: Cell, seconds: float) -> None:
        """Takes in how long a cell of this run took, all its attempts together; it counts more than earlier runs."""
        going = self._going.pop(cell.cell_id, None)
        if going is not None and going.resumed:
            self._cells[cell.cell_id] = seconds
            return
        shape = self._shapes.of(cell)
        self._pace.add(self._recorded(cell, shape), seconds)
        self._cells[cell.cell_id] = seconds
        if shape.kind not in self._measured_now:
            # the machine as it is now: what earlier runs recorded of this kind counts no more
            self._measured_now.add(shape.kind)
            self._of_kind.pop(shape.kind, None)
            self._of_shape = {other: past for other, past in self._of_shape.items() if other.kind != shape.kind}
        total = shape.work.total(None if going is None else _epochs_done(going))
        self._fit(shape).add(total, seconds)
        self._note(shape, total, seconds, 1.0)

    def follow(self, cell: Cell, event: EpochFinished, elapsed: float) -> None:
        """Takes in an epoch of a running cell, `elapsed` seconds after the start of its attempt."""
        going = self._going.get(cell.cell_id)
        if going is None or elapsed < going.at:
            going = self._going[cell.cell_id] = _Going(self._shapes.of(cell))
        going.hear(event, elapsed)
        self._version += 1

    def forget(self, cell: Cell) -> None:
        """The cell does not run any more."""
        if self._going.pop(cell.cell_id, None) is not None:
            self._version += 1

    def _take_in(self, row: Mapping[str, Any]) -> None:
        """An average over like executions; the start of a cell and its epochs tell about different coefficients."""
        try:
            cell = Cell.from_dict(json.loads(row["spec"]))
        except NewerRecordError:
            return
        shape = self._shapes.of(cell)
        count = min(float(row["executions"]), _MOST_WEIGHT)
        epochs, own = row["epochs"], row["total_seconds"]
        if not own or not epochs:
            return
        # what others trained for it is no reason to take its work for less
        seconds = own + (row.get("shared_seconds") or 0.0)
        fit, work = self._fit(shape), shape.work
        steady = _steady_seconds(row) if len(work.stages) == 1 else None
        if steady is None or steady * epochs >= seconds:
            fit.add(work.total(epochs), seconds, count)
        else:
            fit.add(scaled(work.stages[0].epoch, epochs), steady * epochs, count)
            fit.add(added(work.start, work.stages[0].begin, work.end), seconds - steady * epochs, count)
        self._note(shape, work.total(epochs), seconds, count, own)
        if row["peak_rss_bytes"]:
            self._memory_fit(cell).add(peak_work_of(cell), row["peak_rss_bytes"], count)
            self._peaks[shape.kind] = max(self._peaks.get(shape.kind, 0), row["peak_rss_bytes"])

    def _note(self, shape: Shape, total: Quantities, seconds: float, count: float, own: float | None = None) -> None:
        # cells of the same shape will share their stages as these did
        self._of_shape.setdefault(shape, _Kind()).add(total, seconds if own is None else own, count)
        self._of_kind.setdefault(shape.kind, _Kind()).add(total, seconds, count)
        self._version += 1

    def _fit(self, shape: Shape) -> Fit:
        if shape.group not in self._fits:
            backend, device, _ = shape.group
            usual = USUAL_SECONDS["fake" if backend == "fake" else device]
            self._fits[shape.group] = Fit([usual.get(name, 0.0) for name in QUANTITIES])
        return self._fits[shape.group]

    def _memory_fit(self, cell: Cell) -> Fit:
        fake = cell.backend == "fake"
        return self._memory.setdefault(fake, Fit(_FAKE_BYTES if fake else USUAL_BYTES))

    # ---- telling

    def seconds(self, cell: Cell) -> float:
        """Expected seconds of the cell from its start to its end."""
        return self._expected(cell, self._shapes.of(cell))[0]

    def estimate(self, cell: Cell) -> Estimate:
        """All that can be said of the cell beforehand."""
        shape = self._shapes.of(cell)
        seconds, basis = self._expected(cell, shape)
        if shape not in self._sizes:
            trial = None if shape.kind in self._peaks else self._trial(cell, shape)
            peak = self._peaks.get(shape.kind) or (trial and trial.peak_rss_bytes)
            self._sizes[shape] = (peak or round(self._memory_fit(cell).value(peak_work_of(cell))), stored_bytes(cell))
        return Estimate(seconds, *self._sizes[shape], basis)

    def left(self, cell: Cell, spent: float | None) -> float:
        """Seconds that the cell still needs; `spent` are those since its start, None before it."""
        if spent is None:
            return self.seconds(cell)
        going = self._going.get(cell.cell_id)
        if going is None or not going.at:
            expected = self.seconds(cell)
        else:
            expected = going.total(self._fit(going.shape), self._factor(going.shape))
        return expected - spent if expected > spent else _OVERDUE * spent

    def start_seconds(self, cells: Iterable[Cell]) -> float:
        """What a run of these cells takes before its first one begins."""
        return max((self._starts.get(backend, 4.0) for backend in {cell.backend for cell in cells}), default=0.0)

    def begin_seconds(self, cell: Cell) -> float:
        """Seconds from the cell's first line to the steady steps of its stages, by the cost model: building, tracing."""
        shape = self._shapes.of(cell)
        return self._fit(shape).value(added(shape.work.start, *(stage.begin for stage in shape.work.stages)))

    def heaviest_stage(self, cell: Cell) -> int:
        """The number of the stage that takes longest, counted from 1."""
        shape = self._shapes.of(cell)
        fit = self._fit(shape)
        spent = [stage.epochs * fit.value(stage.epoch) for stage in shape.work.stages]
        return spent.index(max(spent)) + 1

    def is_measured(self, cell: Cell) -> bool:
        """Whether any cell of its kind, itself included, has been measured on this machine."""
        return cell.cell_id in self._cells or self._shapes.of(cell).kind in self._of_kind

    def kind_of(self, cell: Cell) -> Hashable:
        """Equal for cells that differ only in names, seeds, amount of data, epochs and augmentation."""
        return self._shapes.of(cell).kind

    def _expected(self, cell: Cell, shape: Shape) -> tuple[float, Basis]:
        recorded = self._recorded(cell, shape)
        if recorded is not None:
            basis: Basis = "same cell" if cell.cell_id in self._cells else self._of(cell, shape)[1]
            return recorded * self._pace.factor, basis
        return self._of(cell, shape)

    def _recorded(self, cell: Cell, shape: Shape) -> float | None:
        """What earlier runs say of the cell; None where they say nothing, or this run says something itself."""
        if shape.kind in self._measured_now:
            return None
        if cell.cell_id in self._cells:
            return self._cells[cell.cell_id]
        return self._of(cell, shape)[0] if shape.kind in self._of_kind else None

    def _of(self, cell: Cell, shape: Shape) -> tuple[float, Basis]:
        known = self._cache.get(shape)
        if known is None or known[0] != self._version:
            known = self._cache[shape] = (self._version, *self._computed(cell, shape))
        return known[1:]

    def _computed(self, cell: Cell, shape: Shape) -> tuple[float, Basis]:
        if shape in self._of_shape:
            of_shape = self._of_shape[shape]
            return of_shape.seconds / of_shape.count, "same shape"
        fit = self._fit(shape)
        modelled = self._factor(shape) * fit.value(shape.total)
        if shape.kind in self._of_kind:
            return modelled, "same model"
        trial = self._trial(cell, shape)
        if trial is not None:
            return seconds_by(trial, cell, fit.value), "trial"
        return modelled, "cost model" if fit.rows else "usual"

    def _trial(self, cell: Cell, shape: Shape) -> Trial | None:
        if shape.kind not in self._trials:
            self._trials[shape.kind] = self._find_trial(cell)
        return self._trials[shape.kind]

    def _factor(self, shape: Shape) -> float:
        """How many times as long as the cost model says cells of this kind take; running ones count in need."""
        if shape.kind in self._of_kind:
            return self._of_kind[shape.kind].factor(self._fit(shape))
        fit, going = self._fit(shape), _Kind()
        for one in self._going.values():
            if one.shape.kind == shape.kind and one.steady and not one.resumed:
                going.add(one.shape.total, one.total(fit, 1.0), 1.0)
        return going.factor(fit)


def _steady_seconds(row: Mapping[str, Any]) -> float | None:
    """Of one epoch without tracing."""
    first, fit, epochs = row["first_epoch_seconds"], row["fit_seconds"], row["epochs"]
    if first is None or fit is None or epochs <= 1 or fit <= first:
        return None
    return float((fit - first) / (epochs - 1))


def _without_data(starts: Mapping[str, float]) -> dict[str, float]:
    return {
        backend: min(seconds, _LONGEST_START * START_SECONDS.get(backend, 4.0)) for backend, seconds in starts.items()
    }


def _epochs_done(going: _Going) -> float | None:
    """Epochs of the whole cell, where it has one stage and may have been stopped early."""
    return float(going.stage_epoch) if len(going.shape.work.stages) == 1 and going.stage_epoch else None


def pioneers(cells: Iterable[Cell], durations: Durations) -> set[str]:
    """Ids of cells that should run first, so that the forecast is soon right: one of each kind not measured yet.

    Of a kind the first cell in the matrix that does not wait for another is taken.
    """
    cells = list(cells)
    there = {cell.cell_id for cell in cells}
    found: dict[Hashable, str] = {}
    for cell in cells:
        if cell.parent_cell_id not in there and not durations.is_measured(cell):
            found.setdefault(durations.kind_of(cell), cell.cell_id)
    return set(found.values())


class Remaining:
    """Seconds that a run still needs: what is left, played through on what there is to share.

    Args:
        durations: Expectations for single cells.
        work: Calls back for the unfinished cells, parents first, each with the seconds that it has been running; None
            for one that has not begun.
        slots: What there is to share.
    """

    def __init__(
        self,
        durations: Durations,
        work: Callable[[], Iterable[tuple[Cell, float | None]]],
        slots: Slots,
    ) -> None:
        self._durations = durations
        self._work = work
        self._slots = slots
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

    def _sum_up(self) -> float:
        work = list(self._work())
        tasks = work_left(work, self._durations, self._slots)
        seconds = max(ends(tasks, room_of(self._slots)).values(), default=0.0)
        begun = any(spent is not None for _, spent in work)
        return seconds if begun else seconds + self._durations.start_seconds(cell for cell, _ in work)


def room_of(slots: Slots) -> Room:
    """All that there is to share, lent out or not."""
    return Room(len(slots.cores), slots.jobs, len(slots.gpus) * slots.gpu_share)


def run_seconds(cells: Iterable[Cell], durations: Durations, slots: Slots) -> float | None:
    """What a run of these cells will take from its begin to its end; None when there are none."""
    work = [(cell, None) for cell in cells]
    return Remaining(durations, lambda: work, slots)() if work else None


def work_left(work: Iterable[tuple[Cell, float | None]], durations: Durations, slots: Slots) -> list[Work]:
    """The cells as `makespan.ends` takes them."""
    return [
        Work(
            cell_id=cell.cell_id,
            seconds=durations.left(cell, spent) + BETWEEN_SECONDS,
            cores=slots.width(cell),
            gpu=cell.device_kind == "gpu",
            parent=cell.parent_cell_id,
            running=spent is not None,
        )
        for cell, spent in work
    ]
