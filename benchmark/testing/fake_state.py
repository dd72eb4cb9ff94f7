"""What the fake worker keeps: its weights, its state after each epoch, and the ends of stages that cells share.

Files are written with the fault points of `training/artifacts`, so that tests may break every write.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from benchmark import faults, layout
from benchmark.events import CheckpointFailed, EpochFinished, Event, Job, StagesTaken
from benchmark.files import sha256_of, write_whole
from benchmark.matrix.cell import Cell

PARAMETERS = 64

Emit = Callable[[Event], None]
Weights = npt.NDArray[np.float64]


@dataclass(slots=True)
class FakeState:
    """What an epoch leaves for the next one."""

    weights: Weights
    history: list[EpochFinished]
    taken: int = 0

    @property
    def best(self) -> EpochFinished:
        return [epoch for epoch in self.history if epoch.improved][-1]


def _start_weights(job: Job, cell: Cell) -> Weights:
    if job.parent_weights is None:
        return default_rng([cell.stream_seed("weights_seed")]).standard_normal(PARAMETERS)
    with np.load(job.parent_weights, allow_pickle=False) as stored:
        return np.asarray(stored["weights"], dtype=np.float64)


def resumed_state(job: Job, cell: Cell) -> FakeState:
    """The newest whole state of this cell among the attempts so far, or the beginning."""
    for directory in (job.directory, *job.earlier_directories):
        for name in (layout.STATE, layout.PREVIOUS_STATE):
            state = _load(Path(directory) / name, cell.cell_id)
            if state is not None:
                return state
    return FakeState(_start_weights(job, cell), [])


def checkpoint(job: Job, cell: Cell, state: FakeState, emit: Emit, saved: list[EpochFinished]) -> None:
    """Writes the state after an epoch, and notes in `saved` what a resumed worker would know."""
    try:
        _save(Path(job.directory), cell.cell_id, state)
    except OSError as error:
        emit(CheckpointFailed(len(state.history), str(error)))
    else:
        saved[:] = state.history
        faults.point("ckpt.done")


def store_stage(job: Job, stage: int, state: FakeState, emit: Emit) -> bool:
    """Leaves the end of a stage for other cells, as `training/artifacts/stored_stages.py` does."""
    folder = _stored(job, stage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save(folder, folder.parent.name, FakeState(state.weights, state.history))
    except OSError as error:
        emit(CheckpointFailed(len(state.history), f"not stored for other cells: {error}"))
        return False
    return True


def take_stages(job: Job, emit: Emit) -> FakeState | None:
    """Where another cell ended the most stages of this one."""
    for stages in sorted(map(int, job.shared_stages), reverse=True):
        folder = _stored(job, stages)
        state = _load(folder / layout.STATE, folder.parent.name)
        if state is not None:
            emit(StagesTaken(stages))
            return FakeState(state.weights, state.history, len(state.history))
        if (folder / layout.STATE).exists():
            emit(CheckpointFailed(0, f"not begun from: {folder / layout.STATE} is damaged"))
    return None


def _stored(job: Job, stages: int) -> Path:
    return Path(job.shared_stages[str(stages)]) / (job.parent_weights_sha256 or "none")[:16]


def _save(directory: Path, cell_id: str, state: FakeState) -> None:
    epochs = [asdict(epoch) for epoch in state.history]
    header = {"cell_id": cell_id, "history": epochs, "taken": state.taken}
    content = packed_arrays(weights=state.weights, header=np.array(json.dumps(header)))
    content = bytes.fromhex(sha256_of(content)) + content
    write_with_faults(directory / layout.STATE, content, "ckpt.write", keep_previous=directory / layout.PREVIOUS_STATE)


def _load(path: Path, cell_id: str) -> FakeState | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if sha256_of(content[32:]) != content[:32].hex():
        return None
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as stored:
        header = json.loads(str(stored["header"]))
        weights = np.asarray(stored["weights"], dtype=np.float64)
    if header["cell_id"] != cell_id:
        return None
    return FakeState(weights, [EpochFinished(**epoch) for epoch in header["history"]], header["taken"])


def packed_arrays(**arrays: npt.NDArray[Any]) -> bytes:
    """Arrays as the bytes of an `.npz` file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_with_faults(path: Path, content: bytes, place: str, *, keep_previous: Path | None = None) -> None:
    """As `files.write_whole`; `place` is its fault point, reached three times: empty, half written, whole."""

    def write(file: BinaryIO) -> None:
        faults.point(place)
        file.write(content[: len(content) // 2])
        file.flush()
        faults.point(place)
        file.write(content[len(content) // 2 :])
        file.flush()
        faults.point(place)

    write_whole(path, write, keep_previous=keep_previous)
