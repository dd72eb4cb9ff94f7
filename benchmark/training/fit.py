"""The training loop over stages, epochs and batches: events, checkpoints, and resuming where an earlier attempt ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import keras

from benchmark import faults
from benchmark.events import CheckpointFailed, EpochFinished, Event, Progress, StageStarted, StageStored
from benchmark.matrix.cell import Cell, Stage
from benchmark.training.artifacts.checkpoints import SharedEpochs, State, StateWriter
from benchmark.training.artifacts.stored_stages import StoredStages
from benchmark.training.augmenting.augmentation import reseed
from benchmark.training.augmenting.mixing import mixed_batch
from benchmark.training.callbacks import BestWeights, Metrics, StageCallbacks, WeightArrays, monitored, monitors_of
from benchmark.training.data.dataset import Dataset
from benchmark.training.evaluation import Scores, evaluate
from benchmark.training.features.feature_store import FeatureUse
from benchmark.training.features.frozen_features import Features, FeatureSource
from benchmark.training.learning_rates import rate_after
from benchmark.training.losses import example_losses
from benchmark.training.networks.network import Network
from benchmark.training.plugin_losses import plugin_loss
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DataError, DivergedError
from benchmark.training.process.runtime import Runtime
from benchmark.training.stages import epoch_positions, set_trainable, stage_steps, training_model
from benchmark.training.steps.base import BatchResult, Steps
from benchmark.training.updates import Updates
from benchmark.training.weight_average import WeightAverage
from benchmark.training.weights.weight_files import array_copy, assign_weights, weight_arrays

Emit = Callable[[Event], object]
_PROGRESS_EVERY_SECONDS = 0.2


@dataclass(slots=True)
class _Sums:
    """Sums over the batches of an epoch; the times are wall-clock seconds."""

    examples: int = 0
    loss: float = 0.0
    correct: int = 0
    input_seconds: float = 0.0
    step_seconds: float = 0.0

    def add(self, result: BatchResult) -> bool:
        """Waits for the result of a batch and adds it; False when its loss is NaN or infinite."""
        loss = float(result.loss)
        self.examples += result.examples
        self.loss += loss * result.examples
        self.correct += int(result.correct)
        return math.isfinite(loss)


@dataclass(slots=True)
class _Stage:
    """A stage that is being trained, on images or on the features of its frozen layers.

    Attributes:
        number: Counted from 1.
        model: What random states are set in: the core behind the augmentation, also where features are trained on.
        average: Of the weights, where it is what is scored and kept.
        fresh: Whether no epoch was trained yet, so that the first one includes tracing.
    """

    number: int
    spec: Stage
    callbacks: StageCallbacks
    dataset: Dataset
    on_features: bool
    model: keras.Model
    optimizer: Any
    steps: Steps
    average: WeightAverage | None
    fresh: bool = True

    @property
    def is_scheduled(self) -> bool:
        """Whether the learning rate is set anew before each update, and not by the callbacks."""
        return self.spec.schedule != "constant"


class Heartbeat:
    """Emits `Progress` from the training thread, at most five times a second, and obeys SIGTERM between batches."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._emitted_at = -math.inf

    def beat(self, stage: int, epoch: int, batch: int, batches: int) -> None:
        """Reports that work goes on; all numbers count from 1.

        Raises:
            StopRequestedError: SIGTERM came.
        """
        faults.point("batch")
        interrupt.check()
        now = perf_counter()
        if now - self._emitted_at >= _PROGRESS_EVERY_SECONDS:
            self._emitted_at = now
            self._emit(Progress(stage, epoch, batch, batches))


class Trainer:
    """Trains one cell. After `run`, `network.core` holds the last weights and `best` the kept ones.

    Attributes:
        heartbeat: Reports progress; also for what is computed after training.
        best: The weights to keep.
        history: All epochs so far, those of a resumed state included.
        features: Whether the stages so far computed or reused features of their frozen layers, and what it took.

    Args:
        cell: What to train.
        network: Its model, with the weights to start from.
        dataset: Its images.
        runtime: Versions, threads and device of this process.
        writer: Writes checkpoints.
        stored: Keeps states at the ends of stages that other cells begin with.
        emit: Called with every event, in order.
        resume: The state to go on from; its epochs are emitted again, marked as replayed.
        allow_plugins: Whether the user has allowed plug-ins to run.
    """

    def __init__(
        self,
        cell: Cell,
        network: Network,
        dataset: Dataset,
        runtime: Runtime,
        writer: StateWriter,
        stored: StoredStages,
        emit: Emit,
        resume: State | None,
        *,
        allow_plugins: bool = False,
    ) -> None:
        self._cell = cell
        self._network = network
        self._images = dataset
        self._runtime = runtime
        self._writer = writer
        self._stored = stored
        self._emit = emit
        self._resume = resume
        self._allow_plugins = allow_plugins
        self.heartbeat = Heartbeat(emit)
        self.best = BestWeights(cell.keep, cell.monitor)
        self._monitors = monitors_of(cell)
        self._steps = partial(stage_steps, cell, allow_plugins=allow_plugins)
        self.history: list[EpochFinished] = []
        self._stage: _Stage | None = None
        self.features = FeatureUse()
        self._shared = SharedEpochs()

    def run(self) -> None:
        """Trains all stages that the resumed state has not finished.

        Raises:
            DivergedError: A loss became NaN or infinite; that epoch has been emitted.
            StopRequestedError: SIGTERM came; the state of the last whole epoch is in the writer, perhaps not on disk.
        """
        self._restore()
        last = self._resume
        for number, spec in enumerate(self._cell.stages, 1):
            if last and (number < last.stage or (number == last.stage and last.stage_done)):
                continue
            self._run_stage(self._begin(number, spec, last if last and number == last.stage else None))
        if self._stage is None:
            self._emit_started(self._begin(len(self._cell.stages), self._cell.stages[-1], last))

    def kept_inputs(self) -> tuple[Steps, Dataset]:
        """Steps and data (images or features) to predict with, once the network has its kept weights.

        Features of the last stage serve weights of that stage only: an earlier one may have trained the layers that
        the last one freezes.
        """
        assert self._stage is not None
        kept = self.history[self.best.epoch - 1]
        if self._stage.on_features and kept.stage == len(self._cell.stages):
            return self._stage.steps, self._stage.dataset
        return self.steps_on_images(), self._images

    def steps_on_images(self) -> Steps:
        """Steps that predict for images: those of the last stage, or new ones where it trained on features."""
        if self._stage is not None and not self._stage.on_features:
            return self._stage.steps
        core = self._network.core
        return self._steps(self._cell.stages[-1], self._images, core, core)[0]

    def _restore(self) -> None:
        if self._resume is None:
            return
        assign_weights(self._network.core, self._resume.weights)
        self.best.restore(self._resume.best, self._resume.best_weights, self._resume.best_plain)
        self.history = list(self._resume.history)
        self.features = self._resume.features
        self._shared = self._resume.shared
        for epoch in self.history:
            self._emit(replace(epoch, replayed=True))

    def _begin(self, number: int, spec: Stage, state: State | None) -> _Stage:
        set_trainable(self._network, spec.train)
        core, features = self._network.core, self._features_of(number, spec, state)
        if features:
            # random states are those of the whole network, so that the same numbers are drawn as on images
            model, dataset, rest = core, features.dataset, features.rest
            steps, optimizer = self._steps(spec, dataset, rest, rest, given=rest.inputs[0].dtype)
        else:
            model, dataset = training_model(self._network, spec), self._images
            steps, optimizer = self._steps(spec, dataset, model, core)
        callbacks, average = StageCallbacks(spec), WeightAverage(core, spec.ema) if spec.ema else None
        if state:
            for variable, array in zip(optimizer.variables, state.optimizer, strict=True):
                variable.assign(array)
            callbacks.restore(state.callbacks)
            if average:
                average.restore(state.averages)
        self._stage = _Stage(number, spec, callbacks, dataset, features is not None, model, optimizer, steps, average)
        return self._stage

    def _features_of(self, number: int, spec: Stage, state: State | None) -> Features | None:
        if state and not state.on_features:
            return None  # a stage that began on images stays on them, even if there is room for features by now
        beat = partial(self.heartbeat.beat, number, len(self.history) + 1, 0, self._batches(spec))
        source = FeatureSource(self._cell, self._runtime, beat)
        features = source.of_stage(self._network, spec, self._images, is_last=number == len(self._cell.stages))
        if features:
            # the state of a resumed stage has counted what others saved it
            repeated = replace(features.use, alone_seconds=features.use.seconds)
            self.features = self.features.plus(repeated if state else features.use)
        return features

    def _run_stage(self, stage: _Stage) -> None:
        faults.point("stage")
        self._emit_started(stage)
        done = sum(epoch.stage == stage.number for epoch in self.history)
        for stage_epoch in range(done + 1, stage.spec.epochs + 1):
            self._run_epoch(stage, stage_epoch)
            if stage.callbacks.stopped:
                break

    def _emit_started(self, stage: _Stage) -> None:
        trainable = sum(math.prod(variable.shape) for variable in self._network.core.trainable_variables)
        used, shared = self.features, self._shared
        origin = (used.how, used.seconds, used.alone_seconds, shared.epochs, shared.seconds)
        self._emit(StageStarted(stage.number, stage.spec.epochs, trainable, *origin))

    def _run_epoch(self, stage: _Stage, stage_epoch: int) -> None:
        epoch = len(self.history) + 1
        reseed(stage.model, self._cell.stream_seed("augment_seed"), epoch)
        if not stage.is_scheduled:
            stage.optimizer.learning_rate = stage.callbacks.learning_rate
        sums, diverged_batch = self._train(stage, epoch, stage_epoch)
        began = perf_counter()
        validation = self._validate(stage, epoch) if not diverged_batch else None
        rate = stage.callbacks.learning_rate
        if stage.is_scheduled:
            per_epoch = self._updates(stage.spec).per_epoch
            rate = rate_after(stage.spec, stage_epoch * per_epoch, per_epoch)
        own_rate = stage.steps.end_epoch(validation.loss if validation else None)
        rate = rate if own_rate is None else own_rate
        row = _row(stage, epoch, stage_epoch, sums, validation, rate, perf_counter() - began)
        if diverged_batch or (validation and not math.isfinite(validation.loss)):
            self._emit(row)
            raise DivergedError(epoch, diverged_batch or self._batches(stage.spec))
        self._finish(stage, row, self._further(validation))
        stage.fresh = False

    def _train(self, stage: _Stage, epoch: int, stage_epoch: int) -> tuple[_Sums, int]:
        """The sums of an epoch, and the first batch whose loss was not finite (0 when all were)."""
        training, batch_size = stage.dataset.training, stage.spec.batch_size
        order = epoch_positions(self._cell, stage.spec, training, epoch)
        batches, updates, sums = self._batches(stage.spec), self._updates(stage.spec), _Sums()
        augment_seed = self._cell.stream_seed("augment_seed")
        waiting: BatchResult | None = None
        requested = perf_counter()
        for batch, (images, labels) in enumerate(training.batches(batch_size, order), 1):
            received = perf_counter()
            sums.input_seconds += received - requested
            if stage.is_scheduled:
                before = (stage_epoch - 1) * updates.per_epoch + updates.before(batch)
                stage.optimizer.learning_rate = rate_after(stage.spec, before, updates.per_epoch)
            mixed = mixed_batch(stage.spec, images, labels, (augment_seed, epoch, batch))
            result = stage.steps.train(*mixed, updates.share_of(batch), update=updates.follow(batch))
            if stage.average and updates.follow(batch):
                stage.average.update()
            # read one batch late, so that a GPU already works on the new batch meanwhile
            if waiting and not sums.add(waiting):
                return sums, batch - 1
            waiting = result
            requested = perf_counter()
            sums.step_seconds += requested - received
            self.heartbeat.beat(stage.number, epoch, batch, batches)
        received = perf_counter()
        finite = waiting is None or sums.add(waiting)
        sums.step_seconds += perf_counter() - received
        return sums, 0 if finite else batches

    def _validate(self, stage: _Stage, epoch: int) -> Scores | None:
        examples, batches = stage.dataset.validation, self._batches(stage.spec)
        beat = partial(self.heartbeat.beat, stage.number, epoch, batches, batches)
        losses = example_losses(stage.spec, plugin_loss(self._cell, stage.spec, allowed=self._allow_plugins))
        with stage.average.in_place() if stage.average else nullcontext():
            if not len(examples):
                return None
            further = bool(self._monitors)
            return evaluate(stage.steps, examples, stage.spec.batch_size, beat, losses, further=further)

    def _further(self, validation: Scores | None) -> Metrics:
        """The further metrics that decide something.

        Raises:
            DataError: The validation images do not define one of them.
        """
        if validation is None:
            return {}
        metrics = {name: validation.further.get(name.removeprefix("val_")) for name in sorted(self._monitors)}
        if undefined := [name for name, value in metrics.items() if value is None]:
            raise DataError(
                f"{undefined[0]} is monitored and not defined on these {len(self._images.validation)} validation images: "
                "it needs images of every class; take more train_examples or a larger validation_fraction, or monitor "
                "another metric"
            )
        return metrics

    def _batches(self, spec: Stage) -> int:
        return math.ceil(len(self._images.training) / spec.batch_size)

    def _updates(self, spec: Stage) -> Updates:
        return Updates(self._batches(spec), spec.gradient_accumulation)

    def _finish(self, stage: _Stage, row: EpochFinished, metrics: Metrics) -> None:
        """Updates callbacks, writes the checkpoint, then emits the epoch, in this order.

        So an emitted epoch can be resumed from, or is computed again if its checkpoint was not due.
        """
        stage.callbacks.update(row, metrics)
        began = perf_counter()
        weights = weight_arrays(self._network.core)
        averages = stage.average.arrays() if stage.average else {}
        improved = self.best.update(
            row, {**weights, **averages} if averages else weights, weights if averages else None, metrics
        )
        row = replace(row, improved=improved, monitored=monitored(row, self._cell.monitor, metrics))
        self.history.append(row)
        state = self._state(stage, row, weights, averages)
        try:
            self._writer.offer(state)
        except OSError as error:
            self._emit(CheckpointFailed(row.epoch, f"{type(error).__name__}: {error}"))
        stored = self._stored.offer(state)
        faults.point("ckpt.done")
        self._emit(replace(row, checkpoint_seconds=perf_counter() - began))
        if stored is not None:
            self._emit(StageStored(stage.number, stored))
        faults.point("epoch.sent")

    def _state(self, stage: _Stage, row: EpochFinished, weights: WeightArrays, averages: WeightArrays) -> State:
        return State(
            cell_id=self._cell.cell_id,
            stage=stage.number,
            stage_epoch=row.stage_epoch,
            stage_done=stage.callbacks.stopped or row.stage_epoch == stage.spec.epochs,
            callbacks=stage.callbacks.state(),
            best=self.best.state(),
            history=tuple(self.history),
            weights=weights,
            optimizer=[array_copy(variable) for variable in stage.optimizer.variables],
            best_weights=self.best.weights,
            on_features=stage.on_features,
            features=self.features,
            data_fingerprint=self._images.fingerprint,
            shared=self._shared,
            averages=averages,
            best_plain=self.best.plain,
        )


def _row(
    stage: _Stage,
    epoch: int,
    stage_epoch: int,
    sums: _Sums,
    validation: Scores | None,
    learning_rate: float,
    validation_seconds: float,
) -> EpochFinished:
    spent = sums.input_seconds + sums.step_seconds
    return EpochFinished(
        stage=stage.number,
        epoch=epoch,
        stage_epoch=stage_epoch,
        train_accuracy=sums.correct / sums.examples,
        train_loss=sums.loss / sums.examples,
        val_accuracy=validation.accuracy if validation else None,
        val_loss=validation.loss if validation else None,
        learning_rate=learning_rate,
        seconds=spent + validation_seconds,
        input_seconds=sums.input_seconds,
        step_seconds=sums.step_seconds,
        validation_seconds=validation_seconds if validation else 0.0,
        checkpoint_seconds=0.0,
        images_per_second=sums.examples / spent,
        traced=stage.fresh,
        improved=False,
    )
