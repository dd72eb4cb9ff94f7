"""What the fake worker keeps: its weights, and its state after each epoch as `training/artifacts` keeps states.

Its other files are written with fault points too, so that tests may break every write.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from benchmark import faults
from benchmark.events import EpochFinished, Job
from benchmark.files import write_whole
from benchmark.matrix.cell import Cell
from benchmark.training.artifacts.checkpoints import SharedEpochs, State, newest_state

PARAMETERS = 64

Weights = npt.NDArray[np.float64]


@dataclass(slots=True)
class FakeState:
    """What an epoch leaves for the next one; of `saved` epochs the state is on disk."""

    weights: Weights
    history: list[EpochFinished] = field(default_factory=list)
    shared: SharedEpochs = field(default_factory=SharedEpochs)
    saved: int = 0

    @property
    def best(self) -> EpochFinished:
        return [epoch for epoch in self.history if epoch.improved][-1]

    def packed(self, cell: Cell) -> State:
        """As a state that `training/artifacts` keeps."""
        last, weights = self.history[-1], {"weights": self.weights}
        return State(
            cell_id=cell.cell_id,
            stage=last.stage,
            stage_epoch=last.stage_epoch,
            stage_done=last.stage_epoch == cell.stages[last.stage - 1].epochs,
            callbacks={},
            best={},
            history=tuple(self.history),
            weights=weights,
            optimizer=[],
            best_weights=weights,
            shared=self.shared,
        )


def begin(job: Job, cell: Cell) -> FakeState:
    """The newest whole state of this cell among the attempts so far, or the beginning."""
    directories = map(Path, (job.directory, *job.earlier_directories))
    state, _ = newest_state(directories, cell.cell_id)
    if state is not None:
        return unpacked(state)
    if job.parent_weights is None:
        return FakeState(default_rng([cell.stream_seed("weights_seed")]).standard_normal(PARAMETERS))
    with np.load(job.parent_weights, allow_pickle=False) as stored:
        return FakeState(np.asarray(stored["weights"], dtype=np.float64))


def unpacked(state: State) -> FakeState:
    """What `FakeState.packed` made a state of."""
    return FakeState(state.weights["weights"], list(state.history), state.shared, len(state.history))


def packed_arrays(**arrays: npt.NDArray[Any]) -> bytes:
    """Arrays as the bytes of an `.npz` file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_with_faults(path: Path, content: bytes, place: str) -> None:
    """As `files.write_whole`; `place` is its fault point, reached three times: empty, half written, whole."""

    def write(file: BinaryIO) -> None:
        faults.point(place)
        file.write(content[: len(content) // 2])
        file.flush()
        faults.point(place)
        file.write(content[len(content) // 2 :])
        file.flush()
        faults.point(place)

    write_whole(path, write)
