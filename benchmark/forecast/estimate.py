"""What cells will take before they run: seconds, memory and disk, from what this machine has recorded.

For each cell the nearest thing that is known counts: the same cell; cells of the same shape (all but the seed); cells
of the same kind (the same network and batches), by how much more or less the cell has to do; a trial of that kind
(`trial_store.py`); another version of a plug-in or command; and else the usual seconds (`cost.py`), times one scale: the
median of recorded to usual seconds. Cells of the same kind with the same callbacks, losses and metrics of the user's own
come first; what such code takes is unknown until it has run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeAlias

from benchmark.catalog.backends import BACKENDS, runs_commands
from benchmark.errors import NewerRecordError
from benchmark.forecast.cost import counted, stored_bytes, usual_peak_bytes
from benchmark.forecast.shapes import Shape, Shapes, own_code
from benchmark.forecast.simulation import Room, Work, ends
from benchmark.forecast.trial_store import Find, Trial, seconds_by
from benchmark.matrix.cell import Cell

Basis: TypeAlias = Literal[
    "same cell", "same shape", "same model", "trial", "other code", "cost model", "usual", "unknown"
]

MEASURED: frozenset[Basis] = frozenset({"same cell", "same shape", "same model", "trial"})
"""What an estimate may follow from when this machine has recorded a cell of the same model, or tried one."""

START_SECONDS: Mapping[str, float] = {name: backend.start_seconds for name, backend in BACKENDS.items()}
"""From the begin of a run to its first worker: the imports of the template process, where no run was recorded."""

_LONGEST_START = 3.0
"""Of a recorded run that took more than so many times as long, most went into preparing its data."""

BETWEEN_SECONDS = 0.05
"""From the end of one worker to the first line of the next, and back."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one cell will take.

    Attributes:
        seconds: From its start to its end.
        peak_rss_bytes: Most main memory of its process.
        disk_bytes: What it leaves on the disk.
        basis: What the seconds follow from: `same cell`, `same shape`, `same model`, a `trial`, the `cost model` of
            this machine, or the `usual` speed elsewhere; `other code` is the same model with other callbacks, losses or
            metrics of the user's own or none, or an earlier version of it; of a command that has not run here yet they are `unknown`, and
            a guess stands for them.
        without_own_code: Whether the cell has callbacks, losses or metrics of the user's own that the seconds take no notice of,
            because no cell of its model has run here.
        guessed_images: Whether the seconds are those of `UNKNOWN_EXAMPLES` images, because how many its source has is unknown.
    """

    seconds: float
    peak_rss_bytes: int
    disk_bytes: int
    basis: Basis
    without_own_code: bool = False
    guessed_images: bool = False


class Durations:
    """Expected seconds, memory and disk of cells on this machine.

    Args:
        known: Completed executions of cells, oldest first: `cell_id`, `total_seconds`.
        efforts: What like executions took on average; see `results.read.durations.efforts`.
        trials: Finds what trials have measured; asked for kinds of cells that have not been recorded.
        starts: Seconds from the begin of a run to its first worker, by backend; see `results.read.durations.starts`.
        shapes: Shared with other durations, so that cells have the same shapes in both.
    """

    def __init__(
        self,
        known: Iterable[Mapping[str, Any]] = (),
        efforts: Iterable[Mapping[str, Any]] = (),
        trials: Find | None = None,
        starts: Mapping[str, float] | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        self.shapes = shapes or Shapes()
        self._starts = {
            **START_SECONDS,
            **{name: min(took, _LONGEST_START * START_SECONDS.get(name, 4.0)) for name, took in (starts or {}).items()},
        }
        self._find_trial: Find = trials or (lambda _: None)
        self._trials: dict[Hashable, Trial | None] = {}
        self._cells = {row["cell_id"]: row["total_seconds"] for row in known if row["total_seconds"] is not None}
        self._of_shape: defaultdict[Shape, list[float]] = defaultdict(list)
        self._scales: defaultdict[Hashable, list[float]] = defaultdict(list)
        self._peaks: dict[Hashable, int] = {}
        self._memory_scales: defaultdict[Hashable, list[float]] = defaultdict(list)
        self._answers: dict[Shape, tuple[float, Basis]] = {}
        for row in efforts:
            self._take_in(row)

    # ---- learning

    def _take_in(self, row: Mapping[str, Any]) -> None:
        """An average over like executions."""
        if not row["total_seconds"]:
            return
        try:
            cell = Cell.from_dict(json.loads(row["spec"]))
        except NewerRecordError:
            return
        self.learn(cell, row["total_seconds"], row["epochs"] or None, row.get("shared_seconds") or 0.0)
        if row["peak_rss_bytes"]:
            shape = self.shapes.of(cell)
            self._memory_scales[shape.group].append(row["peak_rss_bytes"] / usual_peak_bytes(cell))
            for key in (shape.kind, shape.any_version):
                self._peaks[key] = max(self._peaks.get(key, 0), row["peak_rss_bytes"])

    def learn(self, cell: Cell, seconds: float, epochs: float | None = None, shared_seconds: float = 0.0) -> None:
        """Takes in how long a cell took.

        Args:
            cell: The cell.
            seconds: Its own, from its start to its end.
            epochs: That it really took, where that is known.
            shared_seconds: What others trained for it: no reason to take its work for less. Cells of the same shape
                will share their stages as it did.
        """
        shape = self.shapes.of(cell)
        self._of_shape[shape].append(seconds)
        scale = (seconds + shared_seconds) / shape.cost.total(epochs)
        for key in (shape.program, shape.kind, shape.any_version, shape.group):
            self._scales[key].append(scale)
        self._answers.clear()

    # ---- telling

    def seconds(self, cell: Cell) -> float:
        """Expected seconds of the cell from its start to its end."""
        return self.expected(cell)[0]

    def expected(self, cell: Cell) -> tuple[float, Basis]:
        """Expected seconds of the cell from its start to its end, and what they follow from."""
        if cell.cell_id in self._cells:
            return self._cells[cell.cell_id], "same cell"
        shape = self.shapes.of(cell)
        if shape not in self._answers:
            self._answers[shape] = self._computed(cell, shape)
        return self._answers[shape]

    def _computed(self, cell: Cell, shape: Shape) -> tuple[float, Basis]:
        if shape in self._of_shape:
            return median(self._of_shape[shape]), "same shape"
        scaled = self._scale(shape) * shape.cost.total()
        if shape.program in self._scales:
            return scaled, "same model"
        if shape.kind in self._scales:
            return scaled, "other code"
        if (trial := self._trial(cell, shape)) is not None:
            return seconds_by(trial, cell), "other code" if own_code(cell) else "trial"
        if shape.any_version in self._scales:
            return scaled, "other code"
        if runs_commands(cell.backend):
            return shape.cost.total(), "unknown"
        return scaled, "cost model" if shape.group in self._scales else "usual"

    def _scale(self, shape: Shape) -> float:
        """Recorded to usual seconds: of the cells nearest to these, or else of all like devices."""
        nearest = (shape.program, shape.kind, shape.any_version, shape.group)
        scales = next((self._scales[key] for key in nearest if key in self._scales), None)
        return median(scales) if scales else 1.0

    def _trial(self, cell: Cell, shape: Shape) -> Trial | None:
        if shape.kind not in self._trials:
            self._trials[shape.kind] = self._find_trial(cell)
        return self._trials[shape.kind]

    def estimate(self, cell: Cell) -> Estimate:
        """All that can be said of the cell beforehand."""
        seconds, basis = self.expected(cell)
        without = basis in {"cost model", "usual"} and bool(own_code(cell))
        guessed = (
            basis not in {"same cell", "same shape", "trial"}
            and cell.data.train_examples is None
            and counted(cell.data) is None
        )
        return Estimate(seconds, self._peak_bytes(cell), stored_bytes(cell), basis, without, guessed)

    def _peak_bytes(self, cell: Cell) -> int:
        shape = self.shapes.of(cell)
        if shape.kind in self._peaks:
            return self._peaks[shape.kind]
        trial = self._trial(cell, shape)
        if trial is not None and trial.peak_rss_bytes:
            return trial.peak_rss_bytes
        if shape.any_version in self._peaks:
            return self._peaks[shape.any_version]
        return round(usual_peak_bytes(cell) * median(self._memory_scales.get(shape.group) or [1.0]))

    def start_seconds(self, cells: Iterable[Cell]) -> float:
        """What a run of these cells takes before its first one begins."""
        return max((self._starts.get(backend, 4.0) for backend in {cell.backend for cell in cells}), default=0.0)

    def begin_seconds(self, cell: Cell) -> float:
        """Seconds from the cell's first line to the steady steps of its stages: building, tracing."""
        shape = self.shapes.of(cell)
        return self._scale(shape) * (shape.cost.start + sum(stage.begin for stage in shape.cost.stages))

    def heaviest_stage(self, cell: Cell) -> int:
        """The number of the stage that takes longest, counted from 1."""
        spent = [stage.epochs * stage.epoch for stage in self.shapes.of(cell).cost.stages]
        return spent.index(max(spent)) + 1

    def is_measured(self, cell: Cell) -> bool:
        """Whether any cell of its kind with its own code, itself included, has been measured on this machine."""
        return cell.cell_id in self._cells or self.program_of(cell) in self._scales

    def are_steps_measured(self, cell: Cell) -> bool:
        """Whether any cell of its kind has been measured on this machine: more a trial could not tell."""
        return cell.cell_id in self._cells or self.kind_of(cell) in self._scales

    def kind_of(self, cell: Cell) -> Hashable:
        """Equal for cells that differ only in names, seeds, amount of data, epochs, augmentation, callbacks and the like."""
        return self.shapes.of(cell).kind

    def program_of(self, cell: Cell) -> Hashable:
        """Equal for cells of one kind with the same code of the user's own."""
        return self.shapes.of(cell).program


def pioneers(cells: Iterable[Cell], durations: Durations) -> set[str]:
    """Ids of cells that should run first, so that the forecast is soon right: one of each kind not measured yet.

    Of a kind the first cell in the matrix that does not wait for another is taken.
    """
    cells = list(cells)
    ids = {cell.cell_id for cell in cells}
    first: dict[Hashable, str] = {}
    for cell in cells:
        if cell.parent_cell_id not in ids and not durations.is_measured(cell):
            first.setdefault(durations.program_of(cell), cell.cell_id)
    return set(first.values())


def work_of(cell: Cell, seconds: float, *, running: bool = False) -> Work:
    """The cell as `simulation.ends` takes it, with the seconds that it still needs."""
    gpu = cell.device_kind == "gpu"
    return Work(cell.cell_id, seconds + BETWEEN_SECONDS, cell.threads, gpu, cell.parent_cell_id, running)


def run_seconds(cells: Iterable[Cell], durations: Durations, room: Room) -> float | None:
    """What a run of these cells will take from its begin to its end; None when there are none."""
    cells = list(cells)
    if not cells:
        return None
    work = [work_of(cell, durations.seconds(cell)) for cell in cells]
    return durations.start_seconds(cells) + max(ends(work, room).values(), default=0.0)
