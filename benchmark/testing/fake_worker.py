"""The `fake` backend: everything a worker does except training, for tests of all that surrounds it.

The weights are 64 numbers that walk about, one epoch of 5 ms each (`BENCH_FAKE_EPOCH_SECONDS`, for one thread; t
threads take that over t to the power `BENCH_FAKE_THREADS_EXPONENT`, which is 0), and the losses come from them; so an
epoch's numbers follow from the seed and from the weights before it, and a cell that goes on from a wrong state shows it.
With `BENCH_FAKE_GATE=EPOCH:FILE` that epoch waits until the file is there, or until the worker is asked to stop: then a
test that has to strike before it need not be fast.
"""

from __future__ import annotations

import math
import os
import time
import traceback
import zipfile  # noqa: F401  NumPy imports it when it writes; here the template does, once for all
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from benchmark import faults, layout
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
    StageStored,
    Started,
    Tried,
)
from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell, Stream
from benchmark.testing.fake_data import (
    EXAMPLES,
    data_fingerprint,
    locked_examples,
    training_examples,
    validation_examples,
)
from benchmark.testing.fake_state import (
    PARAMETERS,
    FakeState,
    Weights,
    begin,
    packed_arrays,
    unpacked,
    write_with_faults,
)
from benchmark.training.artifacts.checkpoints import write_state
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.artifacts.stored_stages import StoredStages
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DivergedError, StopRequestedError, cause_of

Emit = Callable[[Event], None]

BATCHES = 4
_LEAST_TRIED = 3


def main(job: Job, emit: Emit) -> int:
    """Plays one attempt from `Started` to its last word.

    Returns:
        The exit code of the process: 0 whenever the last word was said.
    """
    begun = time.perf_counter()
    cell = Cell.from_dict(job.cell)
    faults.in_cell(cell.cell_id)
    interrupt.install()
    try:
        faults.point("start")
        emit(Started("fake", "fake", cell.threads, _device()))
        if job.trial_seconds is None:
            _play(job, cell, emit, begun)
        else:
            _try_out(job, cell, job.trial_seconds, emit, begun)
    except DivergedError as diverged:
        emit(Diverged(diverged.epoch, diverged.batch))
    except Exception as error:  # noqa: BLE001  whatever it is, the scheduler is told
        emit(Failed(cause_of(error), type(error).__name__, str(error), traceback.format_exc()))
        return 1
    faults.point("leave")
    return 0


def _try_out(job: Job, cell: Cell, seconds: float, emit: Emit, begun: float) -> None:
    """The same as `training/trial.py`, with steps as long as the epochs say."""
    _build(job, cell, emit, begun)
    training = training_examples(cell)
    step = _epoch_seconds(cell) * cell.stages[job.trial_stages[-1] - 1].batch_size / training
    emit(Progress(job.trial_stages[-1], 1, 0, BATCHES))
    ends = [time.monotonic()]
    while len(ends) < _LEAST_TRIED or (ends[-1] - ends[0] < seconds and not interrupt.is_requested()):
        faults.point("batch")
        time.sleep(step)
        ends.append(time.monotonic())
    batches = [_epoch_seconds(cell) * cell.stages[number - 1].batch_size / training for number in job.trial_stages]
    nothing = tuple(0.0 for _ in batches)
    emit(Tried(nothing, tuple(batches), nothing, tuple(ends)))


def _play(job: Job, cell: Cell, emit: Emit, begun: float) -> None:
    state = begin(job, cell)
    _build(job, cell, emit, begun)
    stored = StoredStages(job, cell.cell_id, {"weights": job.parent_weights_sha256}, emit)
    if state.history:
        emit(Resumed(len(state.history)))
    elif taken := stored.load_longest():
        state = unpacked(taken)
    for told in state.history:
        emit(replace(told, replayed=True))
    try:
        _train(job, cell, state, stored, emit)
    except StopRequestedError:
        emit(Interrupted(state.saved))
    else:
        _finish(job, cell, state, emit, begun)


def _device() -> str:
    """The GPU that CUDA would see, by its name there."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "-1")
    return "fake" if visible == "-1" else visible


def _build(job: Job, cell: Cell, emit: Emit, begun: float) -> None:
    faults.point("build")
    digest = None
    if job.parent_weights is not None:
        digest = sha256_of(Path(job.parent_weights))
        if digest != job.parent_weights_sha256:
            raise ValueError(f"{job.parent_weights}: expected sha256 {job.parent_weights_sha256}, got {digest}")
    validation = validation_examples(cell)
    seconds = time.perf_counter() - begun
    emit(
        ModelBuilt(
            PARAMETERS,
            PARAMETERS,
            EXAMPLES - validation,
            validation,
            EXAMPLES - locked_examples(cell),
            data_fingerprint(),
            digest,
            "float64",
            seconds,
        )
    )


def _train(job: Job, cell: Cell, state: FakeState, stored: StoredStages, emit: Emit) -> None:
    epoch, entered = 0, 0
    for stage, plan in enumerate(cell.stages, start=1):
        for stage_epoch in range(1, plan.epochs + 1):
            epoch += 1
            if epoch <= len(state.history):
                continue
            if stage != entered:
                entered = stage
                faults.point("stage")
                _tell_stage(cell, stage, state, emit)
            finished = _epoch(cell, state, stage, epoch, stage_epoch, emit)
            if math.isnan(finished.train_loss or 0.0):
                emit(finished)
                raise DivergedError(epoch, 1)
            state.history.append(finished)
            try:
                write_state(Path(job.directory), state.packed(cell))
            except OSError as error:
                emit(CheckpointFailed(epoch, str(error)))
            else:
                state.saved = epoch
                faults.point("ckpt.done")
            emit(finished)
            faults.point("epoch.sent")
        if entered == stage and (done := stored.offer(state.packed(cell))) is not None:
            emit(StageStored(stage, done))
    if not entered:
        _tell_stage(cell, len(cell.stages), state, emit)


def _tell_stage(cell: Cell, stage: int, state: FakeState, emit: Emit) -> None:
    shared, epochs = state.shared, cell.stages[stage - 1].epochs
    emit(StageStarted(stage, epochs, PARAMETERS, shared_epochs=shared.epochs, shared_seconds=shared.seconds))


def _epoch(cell: Cell, state: FakeState, stage: int, epoch: int, stage_epoch: int, emit: Emit) -> EpochFinished:
    length = _epoch_seconds(cell)
    begun = time.perf_counter()
    for batch in range(1, BATCHES + 1):
        interrupt.check()
        faults.point("batch")
        if batch == 1:
            _wait_at_gate(epoch)
        time.sleep(length / BATCHES)
        if batch == 1 or length > 1:
            emit(Progress(stage, epoch, batch, BATCHES))
    interrupt.check()
    seconds = time.perf_counter() - begun
    state.weights = _step(state.weights, cell, epoch)
    loss, accuracy = _measure(state.weights)
    if os.environ.get("BENCH_FAKE_DIVERGES") == str(epoch):
        loss = math.nan
    has_validation = cell.data.has_validation
    best = max((told.val_accuracy or told.train_accuracy or 0.0 for told in state.history), default=-1.0)
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
        monitored=accuracy if has_validation else None,
    )


def _wait_at_gate(epoch: int) -> None:
    number, _, file = os.environ.get("BENCH_FAKE_GATE", "").partition(":")
    while number == str(epoch) and not interrupt.is_requested() and not Path(file).exists():
        time.sleep(0.01)


def _epoch_seconds(cell: Cell) -> float:
    length = float(os.environ.get("BENCH_FAKE_EPOCH_SECONDS", "0.005"))
    return length / cell.threads ** float(os.environ.get("BENCH_FAKE_THREADS_EXPONENT", "0"))


def _step(weights: Weights, cell: Cell, epoch: int) -> Weights:
    def noise(stream: Stream) -> Weights:
        return default_rng([cell.stream_seed(stream), epoch]).standard_normal(PARAMETERS)

    # with one seed for all the sum is that seed's noise, exactly: its parts are powers of two
    drawn = 0.5 * noise("order_seed") + 0.25 * noise("split_seed") + 0.25 * noise("augment_seed")
    return 0.9 * weights + 0.05 * drawn


def _measure(weights: Weights) -> tuple[float, float]:
    loss = float(np.sqrt(np.mean(weights**2)))
    return loss, 1.0 / (1.0 + loss)


def _finish(job: Job, cell: Cell, state: FakeState, emit: Emit, begun: float) -> None:
    faults.point("evaluate")
    loss, accuracy = _measure(state.weights)
    views = {"tta_accuracy": accuracy, "tta_loss": loss} if cell.tta else {}
    emit(Evaluated(accuracy, loss, state.best.epoch, 0.0, **views))
    images, locked = np.arange(EXAMPLES), locked_examples(cell)
    splits = {"test": images[locked:], "validation": images[training_examples(cell) :], "lockbox": images[:locked]}
    answers = {layout.PREDICTIONS[split]: images for split, images in splits.items() if len(images)}
    files = {name: (_predictions(cell, accuracy, images), "prediction") for name, images in answers.items()}
    for name, (content, place) in {layout.WEIGHTS: (packed_arrays(weights=state.weights), "artifact"), **files}.items():
        write_with_faults(Path(job.directory) / name, content, place)
        emit(ArtifactWritten(Path(name).stem, name, sha256_of(content), len(content)))
    names = tuple(f"class {number}" for number in range(cell.data.num_classes))
    for name, images in answers.items():
        for part in Predicted(name, len(images), names).parts():
            emit(part)
    faults.point("complete")
    fit_seconds = sum(epoch.seconds for epoch in state.history)
    emit(Completed(len(state.history), fit_seconds, time.perf_counter() - begun))


def _predictions(cell: Cell, accuracy: float, images: NDArray[np.int64]) -> bytes:
    """About `accuracy` of the images right, the others taken for the next class."""
    classes = cell.data.num_classes
    labels = images % classes
    right = default_rng([cell.seed, EXAMPLES]).random(EXAMPLES)[images] < accuracy
    probabilities = np.full((len(images), classes), 0.2 / max(classes - 1, 1), dtype=np.float32)
    probabilities[np.arange(len(images)), np.where(right, labels, (labels + 1) % classes)] = 0.8
    return pack_predictions(images, labels, probabilities, probabilities if cell.tta else None)
