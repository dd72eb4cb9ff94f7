"""The training loop over stages, epochs and batches: events, checkpoints, and resuming where an earlier attempt ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from benchmark import faults, units
from benchmark.errors import DataError
from benchmark.events import CheckpointFailed, EpochFinished, Event, StageStarted, StageStored
from benchmark.matrix.cell import Cell, Stage
from benchmark.training.artifacts.checkpoints import SharedEpochs, State, StateWriter
from benchmark.training.artifacts.plain_values import NotPlainError
from benchmark.training.artifacts.stored_stages import StoredStages
from benchmark.training.augmenting.augmentation import reseed
from benchmark.training.augmenting.mixing import mixed_batch
from benchmark.training.callbacks import (
    LOWER,
    BestWeights,
    Metrics,
    StageCallbacks,
    WeightArrays,
    monitored,
    monitors_of,
)
from benchmark.training.data.dataset import Dataset
from benchmark.training.epoch_sums import EpochSums, epoch_row, watched_values
from benchmark.training.evaluation import Scores, evaluate
from benchmark.training.features.feature_store import FeatureUse
from benchmark.training.features.frozen_features import Features, FeatureSource
from benchmark.training.heartbeat import Heartbeat
from benchmark.training.learning_rates import rate_after
from benchmark.training.losses import example_losses
from benchmark.training.networks.network import Network
from benchmark.training.own_callbacks import StageHooks, load_callbacks
from benchmark.training.plugin_losses import plugin_loss
from benchmark.training.plugin_metrics import monitored_metrics
from benchmark.training.process.failures import DivergedError
from benchmark.training.process.plugin_code import PluginError
from benchmark.training.process.runtime import Runtime
from benchmark.training.running_stage import RunningStage
from benchmark.training.stages import epoch_positions, set_trainable, stage_steps, training_model
from benchmark.training.steps.base import BatchResult, Steps
from benchmark.training.updates import Updates, updates_of
from benchmark.training.weight_average import WeightAverage
from benchmark.training.weights.weight_files import array_copy, assign_weights, weight_arrays

Emit = Callable[[Event], object]


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
        self._metrics = monitored_metrics(cell, allowed=allow_plugins)
        lower = LOWER.union(name for name, each in self._metrics.items() if not each.higher_is_better)
        self._lower = lower
        self._own_callbacks = [load_callbacks(stage, allowed=allow_plugins) for stage in cell.stages]
        self.best = BestWeights(cell.keep, cell.monitor, lower)
        self._monitors = monitors_of(cell)
        self._steps = partial(stage_steps, cell, allow_plugins=allow_plugins)
        self.history: list[EpochFinished] = []
        self._stage: RunningStage | None = None
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

    def _begin(self, number: int, spec: Stage, state: State | None) -> RunningStage:
        set_trainable(self._network, spec.train)
        core, features = self._network.core, self._features_of(number, spec, state)
        if features:
            # random states are those of the whole network, so that the same numbers are drawn as on images
            model, dataset, rest = core, features.dataset, features.rest
            steps, optimizer = self._steps(spec, dataset, rest, rest, given=rest.inputs[0].dtype)
        else:
            model, dataset = training_model(self._network, spec), self._images
            steps, optimizer = self._steps(spec, dataset, model, core)
        callbacks = StageCallbacks(spec, self._lower)
        hooks = StageHooks(self._own_callbacks[number - 1], core, optimizer, spec, callbacks)
        if not (state and state.stage_done):
            self._begin_hooks(hooks, number, spec, state)
        average = WeightAverage(core, spec.ema) if spec.ema else None
        if state:
            for variable, array in zip(optimizer.variables, state.optimizer, strict=True):
                variable.assign(array)
            callbacks.restore(state.callbacks)
            if average:
                average.restore(state.averages)
        self._stage = RunningStage(
            number, spec, callbacks, dataset, features is not None, model, optimizer, steps, average, hooks
        )
        return self._stage

    def _begin_hooks(self, hooks: StageHooks, number: int, spec: Stage, state: State | None) -> None:
        params = {"epochs": spec.epochs, "steps": self._batches(spec), "verbose": 0, "stage": number}
        cell = {"cell_id": self._cell.cell_id, "seed": self._cell.seed}
        hooks.begin({**params, **cell}, self._cell.stream_seed("augment_seed"))
        if state and hooks:
            hooks.restore(state.callbacks["own"], state.callback_arrays)
            assign_weights(self._network.core, state.weights)  # a callback may have changed some as it began

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

    def _run_stage(self, stage: RunningStage) -> None:
        faults.point("stage")
        self._emit_started(stage)
        done = sum(epoch.stage == stage.number for epoch in self.history)
        for stage_epoch in range(done + 1, stage.spec.epochs + 1):
            self._run_epoch(stage, stage_epoch)
            if stage.callbacks.stopped:
                break

    def _emit_started(self, stage: RunningStage) -> None:
        trainable = sum(math.prod(variable.shape) for variable in self._network.core.trainable_variables)
        used, shared = self.features, self._shared
        origin = (used.how, used.seconds, used.alone_seconds, shared.epochs, shared.seconds)
        self._emit(StageStarted(stage.number, stage.spec.epochs, trainable, *origin))

    def _run_epoch(self, stage: RunningStage, stage_epoch: int) -> None:
        epoch = len(self.history) + 1
        stage.steps.begin_epoch(stage_epoch)
        reseed(stage.model, self._cell.stream_seed("augment_seed"), epoch)
        if not stage.is_scheduled:
            stage.optimizer.learning_rate = stage.callbacks.learning_rate
        hooks, hooks_began = stage.hooks, perf_counter()
        hooks.epoch_begin(stage_epoch - 1, self._cell.stream_seed("augment_seed"), epoch)
        hooks_seconds = perf_counter() - hooks_began
        sums, diverged_batch = self._train(stage, epoch, stage_epoch)
        began = perf_counter()
        validation = self._validate(stage, epoch) if not diverged_batch else None
        rate = stage.callbacks.learning_rate
        if stage.is_scheduled:
            per_epoch = self._updates(stage.spec).per_epoch
            rate = rate_after(stage.spec, stage_epoch * per_epoch, per_epoch)
        own_rate = stage.steps.end_epoch(watched_values(sums, validation))
        rate = rate if own_rate is None else own_rate
        row = epoch_row(
            stage.number, epoch, stage_epoch, sums, validation, rate, perf_counter() - began, traced=stage.fresh
        )
        if diverged_batch or (validation and not math.isfinite(validation.loss)):
            self._emit(row)
            raise DivergedError(epoch, diverged_batch or self._batches(stage.spec))
        metrics = self._further(validation)
        if hooks:
            row = self._end_hooks(stage, row, validation, hooks_seconds)
        self._finish(stage, row, metrics)
        stage.fresh = False

    def _end_hooks(
        self, stage: RunningStage, row: EpochFinished, validation: Scores | None, seconds: float
    ) -> EpochFinished:
        """Tells the user's own callbacks of an epoch; returns its row with the seconds that they took."""
        began = perf_counter()
        logs: dict[str, Any] = {"loss": row.train_loss, "accuracy": row.train_accuracy}
        if validation:
            further = {f"val_{name}": value for name, value in validation.further.items() if value is not None}
            logs |= {"val_loss": validation.loss, "val_accuracy": validation.accuracy, **further}
        stage.hooks.epoch_end(row.stage_epoch - 1, {**logs, "learning_rate": row.learning_rate})
        return replace(row, seconds=row.seconds + seconds + perf_counter() - began)

    def _train(self, stage: RunningStage, epoch: int, stage_epoch: int) -> tuple[EpochSums, int]:
        """The sums of an epoch, and the first batch whose loss was not finite (0 when all were)."""
        training, batch_size = stage.dataset.training, stage.spec.batch_size
        order = epoch_positions(self._cell, stage.spec, training, epoch)
        batches, updates, sums = self._batches(stage.spec), self._updates(stage.spec), EpochSums()
        augment_seed = self._cell.stream_seed("augment_seed")
        waiting: BatchResult | None = None
        requested = perf_counter()
        for batch, (images, labels) in enumerate(training.batches(batch_size, order), 1):
            received = perf_counter()
            sums.input_seconds += received - requested
            stage.hooks.batch_begin(batch - 1)
            if stage.is_scheduled:
                before = (stage_epoch - 1) * updates.per_epoch + updates.before(batch)
                stage.optimizer.learning_rate = rate_after(stage.spec, before, updates.per_epoch)
            mixed = mixed_batch(stage.spec, images, labels, (augment_seed, epoch, batch))
            result = stage.steps.train(*mixed, updates.share_of(batch), update=updates.follow(batch))
            if stage.average and updates.follow(batch):
                stage.average.update()
            if stage.hooks.wants_batches:
                finite = sums.add(result)
                stage.hooks.batch_end(batch - 1, sums.means())
                if not finite:
                    return sums, batch
            else:
                # read one batch late, so that a GPU already works on the new batch meanwhile
                if waiting and not sums.add(waiting):
                    return sums, batch - 1
                waiting = result
            requested = perf_counter()
            sums.step_seconds += requested - received
            self.heartbeat.beat(stage.number, epoch, batch, batches)
            if stage.hooks.stopped:
                break
        received = perf_counter()
        finite = waiting is None or sums.add(waiting)
        sums.step_seconds += perf_counter() - received
        return sums, 0 if finite else batches

    def _validate(self, stage: RunningStage, epoch: int) -> Scores | None:
        examples, batches = stage.dataset.validation, self._batches(stage.spec)
        beat = partial(self.heartbeat.beat, stage.number, epoch, batches, batches)
        losses = example_losses(stage.spec, plugin_loss(self._cell, stage.spec, allowed=self._allow_plugins))
        if not len(examples):
            return None
        further, own = bool(stage.hooks or self._monitors - self._metrics.keys()), self._metrics.values()
        stage.hooks.test_begin()
        with stage.average.in_place() if stage.average else nullcontext():
            scores = evaluate(stage.steps, examples, stage.spec.batch_size, beat, losses, further=further, own=own)
        stage.hooks.test_end({"loss": scores.loss, "accuracy": scores.accuracy})
        return scores

    def _further(self, validation: Scores | None) -> Metrics:
        """The further metrics that decide something.

        Raises:
            DataError: The validation images do not define one of them.
            PluginError: One of the user's own is not defined.
        """
        if validation is None:
            return {}
        metrics = {name: validation.further.get(name.removeprefix("val_")) for name in sorted(self._monitors)}
        if undefined := [name for name, value in metrics.items() if value is None]:
            if (own := self._metrics.get(undefined[0])) is not None:
                raise PluginError(
                    f"{own.place}: expected a finite number of {own.name}, which is monitored, in epoch {len(self.history) + 1}, "
                    f"found none for the {len(self._images.validation)} validation images; return one, or monitor another metric"
                )
            is_source = self._cell.data.validation == "source"
            cure = "add some to that split" if is_source else "take more train_examples or a larger validation_fraction"
            raise DataError(
                f"{undefined[0]} is monitored and not defined on {units.plural(len(self._images.validation), 'validation image')}: "
                f"it needs images of every class; {cure}, or monitor another metric"
            )
        return metrics

    def _batches(self, spec: Stage) -> int:
        return self._updates(spec).batches

    def _updates(self, spec: Stage) -> Updates:
        return updates_of(spec, len(self._images.training))

    def _finish(self, stage: RunningStage, row: EpochFinished, metrics: Metrics) -> None:
        """Updates callbacks, writes the checkpoint, then emits the epoch, in this order.

        So an emitted epoch can be resumed from, or is computed again if its checkpoint was not due.
        """
        stage.callbacks.update(row, metrics)
        stage.callbacks.stopped |= stage.hooks.stopped
        is_over = stage.callbacks.stopped or row.stage_epoch == stage.spec.epochs
        if is_over:
            stage.hooks.end({})
        began = perf_counter()
        weights = weight_arrays(self._network.core)
        averages = stage.average.arrays() if stage.average else {}
        improved = self.best.update(
            row, {**weights, **averages} if averages else weights, weights if averages else None, metrics
        )
        row = replace(row, improved=improved, monitored=monitored(row, self._cell.monitor, metrics))
        self.history.append(row)
        state, stored = self._state(stage, row, weights, averages, is_over=is_over), None
        if state is not None:
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

    def _state(
        self, stage: RunningStage, row: EpochFinished, weights: WeightArrays, averages: WeightArrays, *, is_over: bool
    ) -> State | None:
        """The state after an epoch; None in a stage with a callback that holds what no state can hold, which is told once."""
        arrays: list[NDArray[Any]] = []
        own: dict[str, Any] = {}
        try:
            if stage.hooks and not is_over:
                own = {"own": stage.hooks.state(arrays)}
        except NotPlainError as error:
            if not stage.unkept:
                stage.unkept = True
                reason = f"{error}: where stage {stage.number} is interrupted, it begins anew"
                self._emit(CheckpointFailed(row.epoch, reason))
            return None
        return State(
            cell_id=self._cell.cell_id,
            stage=stage.number,
            stage_epoch=row.stage_epoch,
            stage_done=is_over,
            callbacks={**stage.callbacks.state(), **own},
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
            callback_arrays=arrays,
        )
