"""The `fake` backend: everything a worker does except training. For rehearsals and for tests of all that surrounds it.

The weights are 64 numbers that walk about, one epoch of 5 ms each (`BENCH_FAKE_EPOCH_SECONDS`), and the losses come
from them; so an epoch's numbers follow from the seed and from the weights before it, and a cell that goes on from a
wrong state shows it. `BENCH_TESTING=1` opens the fault points of `benchmark/faults.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import signal
import time
import traceback
import zipfile  # noqa: F401  NumPy imports it when it writes; here the template does, once for all
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from benchmark import faults
from benchmark.events import (
    ArtifactWritten,
    CheckpointFailed,
    Completed,
    Diverged,
    EpochFinished,
    Evaluated,
    Event,
    Failed,
    Interrupted,
    Job,
    ModelBuilt,
    Predicted,
    Progress,
    Resumed,
    StageStarted,
    Started,
)
from benchmark.matrix.cell import Cell
from benchmark.training.predictions import PREDICTIONS_NAME, packed

BATCHES = 4
EXAMPLES = 256
PARAMETERS = 64
STATE_NAME = "state.npz"
PREVIOUS_STATE_NAME = "state.previous.npz"
WEIGHTS_NAME = "weights.npz"

Emit = Callable[[Event], None]
Weights = npt.NDArray[np.float64]


@dataclass(slots=True)
class _State:
    """What an epoch leaves for the next one."""

    weights: Weights
    history: list[EpochFinished]

    @property
    def best(self) -> EpochFinished:
        return [epoch for epoch in self.history if epoch.improved][-1]


class _StopRequestedError(Exception):
    """SIGTERM came."""


class _DivergedError(Exception):
    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


def main(job: Job, emit: Emit) -> int:
    """Plays one attempt from `Started` to its last word.

    Returns:
        The exit code of the process: 0 whenever the last word was said.
    """
    begun = time.perf_counter()
    cell = Cell.from_dict(job.cell)
    faults.in_cell(cell.cell_id)
    stop = _StopFlag()
    saved: list[EpochFinished] = []
    try:
        _play(job, cell, emit, stop, saved, begun)
    except _StopRequestedError:
        emit(Interrupted(len(saved)))
    except _DivergedError as diverged:
        emit(Diverged(diverged.epoch, 1))
    except Exception as error:  # noqa: BLE001  whatever it is, the scheduler is told
        cause = "oom" if isinstance(error, MemoryError) else "failed"
        emit(Failed(cause, type(error).__name__, str(error), traceback.format_exc()))
        return 1
    faults.point("leave")
    return 0


class _StopFlag:
    """SIGTERM as a flag that is looked at between batches."""

    def __init__(self) -> None:
        self._set = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True

    def check(self) -> None:
        if self._set:
            raise _StopRequestedError


def _play(job: Job, cell: Cell, emit: Emit, stop: _StopFlag, saved: list[EpochFinished], begun: float) -> None:
    faults.point("start")
    emit(Started("fake", "fake", cell.threads, "fake"))
    state = _resumed(job, cell)
    _build(job, cell, emit, begun)
    if state.history:
        emit(Resumed(len(state.history)))
        for told in state.history:
            emit(replace(told, replayed=True))
    saved += state.history
    _train(job, cell, state, emit, stop, saved)
    _finish(job, cell, state, emit, begun)


def _build(job: Job, cell: Cell, emit: Emit, begun: float) -> None:
    faults.point("build")
    digest = None
    if job.parent_weights is not None:
        digest = hashlib.sha256(Path(job.parent_weights).read_bytes()).hexdigest()
        if digest != job.parent_weights_sha256:
            raise ValueError(f"{job.parent_weights}: expected sha256 {job.parent_weights_sha256}, got {digest}")
    validation = round(EXAMPLES * cell.data.validation_fraction)
    seconds = time.perf_counter() - begun
    emit(
        ModelBuilt(
            PARAMETERS, PARAMETERS, EXAMPLES - validation, validation, EXAMPLES, "fake", digest, "float64", seconds
        )
    )


def _train(job: Job, cell: Cell, state: _State, emit: Emit, stop: _StopFlag, saved: list[EpochFinished]) -> None:
    epoch, entered = 0, 0
    for stage, plan in enumerate(cell.stages, start=1):
        for stage_epoch in range(1, plan.epochs + 1):
            epoch += 1
            if epoch <= len(state.history):
                continue
            if stage != entered:
                entered = stage
                faults.point("stage")
                emit(StageStarted(stage, plan.epochs, PARAMETERS))
            told = _epoch(cell, state, stage, epoch, stage_epoch, emit, stop)
            state.history.append(told)
            _checkpoint(job, cell, state, emit, saved)
            emit(told)
            faults.point("epoch.sent")
            if math.isnan(told.train_loss):
                raise _DivergedError(epoch)


def _epoch(
    cell: Cell, state: _State, stage: int, epoch: int, stage_epoch: int, emit: Emit, stop: _StopFlag
) -> EpochFinished:
    length = float(os.environ.get("BENCH_FAKE_EPOCH_SECONDS", "0.005"))
    begun = time.perf_counter()
    for batch in range(1, BATCHES + 1):
        stop.check()
        faults.point("batch")
        time.sleep(length / BATCHES)
        if batch == 1 or length > 1:
            emit(Progress(stage, epoch, batch, BATCHES))
    stop.check()
    seconds = time.perf_counter() - begun
    state.weights = _step(state.weights, cell.seed, epoch)
    loss, accuracy = _measure(state.weights)
    if os.environ.get("BENCH_FAKE_DIVERGES") == str(epoch):
        loss = math.nan
    has_validation = cell.data.validation_fraction > 0
    best = max((told.val_accuracy or told.train_accuracy for told in state.history), default=-1.0)
    return EpochFinished(
        stage=stage,
        epoch=epoch,
        stage_epoch=stage_epoch,
        train_accuracy=accuracy,
        train_loss=loss,
        val_accuracy=accuracy if has_validation else None,
        val_loss=loss if has_validation else None,
        learning_rate=cell.stages[stage - 1].learning_rate,
        seconds=seconds,
        input_seconds=0.0,
        step_seconds=seconds,
        validation_seconds=0.0,
        checkpoint_seconds=0.0,
        images_per_second=EXAMPLES / max(seconds, 1e-9),
        traced=stage_epoch == 1,
        improved=not state.history or cell.keep == "last" or accuracy > best,
    )


def _step(weights: Weights, seed: int, epoch: int) -> Weights:
    noise = default_rng([seed, epoch]).standard_normal(PARAMETERS)
    return 0.9 * weights + 0.05 * noise


def _measure(weights: Weights) -> tuple[float, float]:
    loss = float(np.sqrt(np.mean(weights**2)))
    return loss, 1.0 / (1.0 + loss)


def _start_weights(job: Job, cell: Cell) -> Weights:
    if job.parent_weights is None:
        return default_rng([cell.seed]).standard_normal(PARAMETERS)
    with np.load(job.parent_weights, allow_pickle=False) as stored:
        return np.asarray(stored["weights"], dtype=np.float64)


def _resumed(job: Job, cell: Cell) -> _State:
    """The newest whole state of this cell among the attempts so far, or the beginning."""
    for directory in (job.directory, *job.earlier_directories):
        for name in (STATE_NAME, PREVIOUS_STATE_NAME):
            state = _load(Path(directory) / name, cell.cell_id)
            if state is not None:
                return state
    return _State(_start_weights(job, cell), [])


def _checkpoint(job: Job, cell: Cell, state: _State, emit: Emit, saved: list[EpochFinished]) -> None:
    try:
        _save(Path(job.directory), cell.cell_id, state)
    except OSError as error:
        emit(CheckpointFailed(len(state.history), str(error)))
    else:
        saved[:] = state.history
        faults.point("ckpt.done")


def _save(directory: Path, cell_id: str, state: _State) -> None:
    header = {"cell_id": cell_id, "history": [asdict(epoch) for epoch in state.history]}
    content = _packed(weights=state.weights, header=np.array(json.dumps(header)))
    path = directory / STATE_NAME
    if path.exists():
        path.replace(directory / PREVIOUS_STATE_NAME)
    _write_whole(path, hashlib.sha256(content).digest() + content, "ckpt.write")


def _load(path: Path, cell_id: str) -> _State | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as stored:
        header = json.loads(str(stored["header"]))
        weights = np.asarray(stored["weights"], dtype=np.float64)
    if header["cell_id"] != cell_id:
        return None
    return _State(weights, [EpochFinished(**epoch) for epoch in header["history"]])


def _packed(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _write_whole(path: Path, content: bytes, place: str) -> None:
    """The file appears whole or not at all, and stays after a power cut. `place` is its fault point, reached thrice."""
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        faults.point(place)
        file.write(content[: len(content) // 2])
        file.flush()
        faults.point(place)
        file.write(content[len(content) // 2 :])
        file.flush()
        faults.point(place)
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _finish(job: Job, cell: Cell, state: _State, emit: Emit, begun: float) -> None:
    faults.point("evaluate")
    loss, accuracy = _measure(state.weights)
    views = {"tta_accuracy": accuracy, "tta_loss": loss} if cell.tta else {}
    emit(Evaluated(accuracy, loss, state.best.epoch, 0.0, **views))
    files = (
        ("weights", WEIGHTS_NAME, _packed(weights=state.weights), "artifact"),
        ("predictions", PREDICTIONS_NAME, _predictions(cell, accuracy), "prediction"),
    )
    for kind, name, content, place in files:
        _write_whole(Path(job.directory) / name, content, place)
        emit(ArtifactWritten(kind, name, hashlib.sha256(content).hexdigest(), len(content)))
    names = tuple(f"class {number}" for number in range(cell.data.num_classes))
    emit(Predicted(PREDICTIONS_NAME, EXAMPLES, names))
    faults.point("complete")
    fit_seconds = sum(epoch.seconds for epoch in state.history)
    emit(Completed(len(state.history), fit_seconds, time.perf_counter() - begun))


def _predictions(cell: Cell, accuracy: float) -> bytes:
    """About `accuracy` of the images right, the others taken for the next class."""
    classes = cell.data.num_classes
    labels = np.arange(EXAMPLES) % classes
    right = default_rng([cell.seed, EXAMPLES]).random(EXAMPLES) < accuracy
    probabilities = np.full((EXAMPLES, classes), 0.2 / max(classes - 1, 1), dtype=np.float32)
    probabilities[np.arange(EXAMPLES), np.where(right, labels, (labels + 1) % classes)] = 0.8
    return packed(np.arange(EXAMPLES), labels, probabilities, probabilities if cell.tta else None)
