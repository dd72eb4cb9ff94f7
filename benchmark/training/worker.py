"""One attempt at one cell: `main` trains what a job describes and emits events.

Importing this module loads Keras and its backend but runs no operation, starts no thread and asks for no device, so
that a template process may import it once and fork a fresh worker for each attempt.
"""

from __future__ import annotations

import json
import math
import os
import traceback
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np

from benchmark import events, faults, layout, machine
from benchmark.catalog.facts import PLUGIN
from benchmark.errors import DataError
from benchmark.files import sha256_of, write_whole
from benchmark.matrix.cell import Cell
from benchmark.matrix.recipes.loss import is_binary
from benchmark.training.artifacts.checkpoints import State, StateWriter, delete_states, newest_state
from benchmark.training.artifacts.model_files import check_savable, save_network
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.artifacts.stored_stages import StoredStages
from benchmark.training.augmenting.test_time_augmentation import ViewGenerator, average_views
from benchmark.training.data.dataset import Dataset, ExampleSet, dataset_of
from benchmark.training.data.splits import Split
from benchmark.training.evaluation import compute_scores, predict
from benchmark.training.features.feature_store import LIMIT_VARIABLE
from benchmark.training.features.frozen_features import backend_environment
from benchmark.training.fit import Emit, Trainer
from benchmark.training.losses import example_losses, is_one_hot
from benchmark.training.networks.network import Network, build_network
from benchmark.training.plugin_losses import plugin_loss
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DivergedError, StopRequestedError, cause_of
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.plugin_code import naming_plugin_line
from benchmark.training.process.runtime import Runtime, peak_device_bytes, prepare_process, seed_process
from benchmark.training.stages import set_trainable
from benchmark.training.steps.base import Steps
from benchmark.training.trial import try_stages
from benchmark.training.weights import weight_files
from benchmark.training.weights.imagenet import verified_content

_SAMPLE_IMAGES = 32
"""Test images on which a saved model is compared with the network it was made from."""


def main(job: events.Job, emit: Emit) -> int:
    """Runs a job, or its trial, to its end and emits how it ended; no exception leaves this function.

    Events are emitted from this thread, in order.

    Returns:
        0 when the cell completed, diverged or was interrupted by SIGTERM; 1 when it failed.

    Side effects:
        Configures this process for the cell (threads, devices, seeds, SIGTERM, no network): use it for one job only.
        Writes artifacts and states into `job.directory`.
    """
    try:
        attempt = _Attempt(job, emit)
        if job.trial_seconds is None:
            attempt.run()
        else:
            attempt.try_out(job.trial_seconds)
    except DivergedError as error:
        emit(events.Diverged(error.epoch, error.batch))
    except Exception as error:  # noqa: BLE001  every failure becomes an event with its cause
        emit(
            events.Failed(cause_of(error), type(error).__name__, str(error)[:20_000], traceback.format_exc()[-60_000:])
        )
        return 1
    return 0


class _Attempt:
    """One run of `main`: the cell, its folders, and the steps from the job to its artifacts."""

    def __init__(self, job: events.Job, emit: Emit) -> None:
        self._began = perf_counter()
        self._job = job
        self._emit = emit
        self._cell = Cell.from_dict(job.cell)
        self._directory = Path(job.directory)
        self._state_directories = [self._directory, *map(Path, job.earlier_directories)]

    def run(self) -> None:
        runtime, dataset, network, digest = self._set_up()
        stored = StoredStages(self._job, self._cell.cell_id, _circumstances(runtime, dataset, digest), self._emit)
        state = self._resumable_state(dataset) or stored.load_longest()
        writer = StateWriter(self._directory, state.epoch if state else 0, every=self._job.every_state)
        try:
            allowed = self._job.allow_plugins
            trainer = Trainer(
                self._cell, network, dataset, runtime, writer, stored, self._emit, state, allow_plugins=allowed
            )
            with naming_plugin_line(self._cell.architecture.file):
                self._complete(trainer, network, dataset)
        except StopRequestedError:
            try:
                writer.flush()
            except OSError as error:
                self._emit(events.CheckpointFailed(writer.written_epoch, f"{type(error).__name__}: {error}"))
            self._emit(events.Interrupted(writer.written_epoch))

    def try_out(self, seconds: float) -> None:
        """Times a few steps of the stages that the job names, without writing files."""
        _, dataset, network, _ = self._set_up()
        numbers, allowed = self._job.trial_stages, self._job.allow_plugins
        self._emit(try_stages(self._cell, network, dataset, numbers, seconds, self._emit, allow_plugins=allowed))

    def _set_up(self) -> tuple[Runtime, Dataset, Network, str | None]:
        """Prepares the process, the data and the network; also the sha256 of the weights to start from, or None."""
        faults.in_cell(self._cell.cell_id)
        faults.point("start")
        interrupt.install()
        forbid_network()
        runtime = prepare_process(self._cell, self._job.gpu)
        self._emit(events.Started(runtime.backend_version, runtime.keras_version, runtime.threads, runtime.device_name))
        dataset = self._open_data()
        faults.point("build")
        network, digest = self._build(dataset)
        self._emit(self._model_built(network, dataset, digest))
        return runtime, dataset, network, digest

    def _open_data(self) -> Dataset:
        dataset = dataset_of(self._job.data_directory, self._cell, one_hot=is_one_hot(self._cell))
        if not len(dataset.validation) and any(
            stage.early_stopping or stage.reduce_learning_rate for stage in self._cell.stages
        ):
            raise DataError(
                f"{self._cell.data.source}: early_stopping and reduce_learning_rate need validation data, and the only "
                "training image of a class is never taken for that; add images, or set both to false"
            )
        return dataset

    def _build(self, dataset: Dataset) -> tuple[Network, str | None]:
        """The network with the weights it starts from, and their sha256 or None."""
        # in this order: clear_session resets the dtype policy, and building draws from the seed
        keras.backend.clear_session()
        seed_process(self._cell.stream_seed("weights_seed"))
        keras.config.set_dtype_policy(self._cell.precision)
        network = build_network(
            self._cell.architecture,
            self._cell.data,
            binary=is_binary(self._cell.stages),
            allow_plugins=self._job.allow_plugins,
        )
        for stage in self._cell.stages:  # what is wrong with the last one is said before the first is trained
            plugin_loss(self._cell, stage, allowed=self._job.allow_plugins)
        if self._cell.save and self._cell.architecture.name.startswith(PLUGIN):
            sample, _ = next(dataset.test.batches(_SAMPLE_IMAGES))
            check_savable(network.core, self._cell.save, self._directory, sample)
        return network, self._load_initial_weights(network, dataset)

    def _load_initial_weights(self, network: Network, dataset: Dataset) -> str | None:
        weights = self._cell.weights
        if weights.origin == "none":
            return None
        if weights.origin == "imagenet":
            name = self._cell.architecture.name
            return weight_files.load_published(network, verified_content(name), f"ImageNet for {name}")
        if weights.origin == "parent":
            if self._job.parent_weights is None:
                raise DataError(f"the weights of the parent cell {weights.parent_cell_id} are missing; run it first")
            path, source = Path(self._job.parent_weights), f"the parent cell {weights.parent_cell_id}"
        else:
            path, source = Path(weights.path or ""), str(weights.path)
        digest = self._job.parent_weights_sha256 if weights.origin == "parent" else None
        file = weight_files.read_weights(path, digest, network if weights.origin == "file" else None)
        weight_files.load_weights(network, file, dataset.class_names, source)
        return file.sha256

    def _model_built(self, network: Network, dataset: Dataset, digest: str | None) -> events.ModelBuilt:
        return events.ModelBuilt(
            parameters=network.parameters,
            trainable_parameters=set_trainable(network, self._cell.stages[-1].train),
            train_examples=len(dataset.training),
            validation_examples=len(dataset.validation),
            test_examples=len(dataset.test),
            data_fingerprint=dataset.fingerprint,
            weights_sha256=digest,
            compute_dtype=network.compute_dtype,
            setup_seconds=perf_counter() - self._began,
        )

    def _resumable_state(self, dataset: Dataset) -> State | None:
        """The newest usable state of this attempt or an earlier one."""
        state, rejected = newest_state(self._state_directories, self._cell.cell_id)
        if state and state.data_fingerprint not in {"", dataset.fingerprint}:
            state, rejected = None, [*rejected, "it was trained on other data; they have changed since"]
        for reason in rejected:
            self._emit(events.CheckpointFailed(state.epoch if state else 0, f"not resumed from: {reason}"))
        if state:
            self._emit(events.Resumed(state.epoch))
        return state

    def _complete(self, trainer: Trainer, network: Network, dataset: Dataset) -> None:
        trainer.run()
        faults.point("evaluate")
        weight_files.assign_weights(network.core, trainer.best.weights)
        evaluated, answers = self._test(trainer, network, dataset)
        self._emit(evaluated)
        faults.point("artifact")
        weight_files.write_weights(
            self._directory / layout.WEIGHTS, trainer.best.weights, self._cell.cell_id, dataset.class_names
        )
        self._emit_written("weights", layout.WEIGHTS)
        epochs = [asdict(epoch) for epoch in trainer.history]
        history = {"cell_id": self._cell.cell_id, "best_epoch": trainer.best.epoch, "epochs": epochs}
        write_whole(self._directory / layout.HISTORY, json.dumps(history, indent=1, allow_nan=False).encode())
        self._emit_written("history", layout.HISTORY)
        if len(dataset.validation):
            steps, inputs = trainer.kept_inputs()
            answers["validation"] = self._answers(trainer, steps, inputs.validation, dataset.validation.split)
        if len(dataset.lockbox):
            answers["lockbox"] = self._answers(
                trainer, trainer.steps_on_images(), dataset.lockbox, dataset.lockbox.split
            )
        for split, content in answers.items():
            name = layout.PREDICTIONS[split]
            write_whole(self._directory / name, content)
            self._emit_written(Path(name).stem, name)
            for part in events.Predicted(name, len(getattr(dataset, split)), dataset.class_names).parts():
                self._emit(part)
        for kind in self._cell.save:
            sample, _ = next(dataset.test.batches(_SAMPLE_IMAGES))
            self._emit_written(kind, save_network(network.core, kind, self._directory, sample))
        faults.point("complete")
        self._emit(
            events.Completed(
                epochs=len(trainer.history),
                fit_seconds=math.fsum([trainer.features.seconds, *(epoch.seconds for epoch in trainer.history)]),
                total_seconds=perf_counter() - self._began,
                peak_device_bytes=peak_device_bytes(self._cell),
            )
        )
        delete_states(self._state_directories)

    def _emit_written(self, kind: str, name: str) -> None:
        path = self._directory / name
        self._emit(events.ArtifactWritten(kind, name, sha256_of(path), path.stat().st_size))

    def _test(self, trainer: Trainer, network: Network, dataset: Dataset) -> tuple[events.Evaluated, dict[str, bytes]]:
        """Predicts for the test set, once, with the current weights: the event, and the content of `predictions.npz`."""
        test = dataset.test
        began, last = perf_counter(), trainer.history[-1]
        batch_size = self._cell.stages[-1].batch_size
        batches = math.ceil(len(dataset.training) / batch_size)
        beat = partial(trainer.heartbeat.beat, last.stage, last.epoch, batches, batches)
        stage = self._cell.stages[-1]
        losses = example_losses(stage, plugin_loss(self._cell, stage, allowed=self._job.allow_plugins))
        labels = test.split.labels
        steps, inputs = trainer.kept_inputs()
        plain = predict(steps, inputs.test, batch_size, beat)
        scores = compute_scores(plain, labels, losses)
        evaluated = events.Evaluated(scores.accuracy, scores.loss, trainer.best.epoch, perf_counter() - began)
        if any(stage.ema for stage in self._cell.stages):
            if trainer.best.plain is not None:
                weight_files.assign_weights(network.core, trainer.best.plain)
                scores = compute_scores(predict(steps, inputs.test, batch_size, beat), labels, losses)
                weight_files.assign_weights(network.core, trainer.best.weights)
            evaluated = replace(evaluated, plain_test_accuracy=scores.accuracy, plain_test_loss=scores.loss)
        mean = None
        if self._cell.tta:
            viewer = ViewGenerator(test.images.shape[1:], self._cell.stream_seed("augment_seed"))
            predict_all = partial(predict, trainer.steps_on_images(), test, batch_size, beat)
            mean = average_views(plain, predict_all, viewer, self._cell.tta)
            tta = compute_scores(mean, labels, losses)
            evaluated = replace(evaluated, tta_accuracy=tta.accuracy, tta_loss=tta.loss)
        return evaluated, {"test": pack_predictions(test.split.indices, labels, plain, mean)}

    def _answers(self, trainer: Trainer, steps: Steps, examples: ExampleSet, split: Split) -> bytes:
        """The content of a file of predictions for some examples, images or features as the steps take them, at `split`."""
        last = trainer.history[-1]
        beat = partial(trainer.heartbeat.beat, last.stage, last.epoch, 1, 1)
        probabilities = predict(steps, examples, self._cell.stages[-1].batch_size, beat)
        return pack_predictions(split.indices, split.labels, probabilities)


def _circumstances(runtime: Runtime, dataset: Dataset, weights_sha256: str | None) -> dict[str, Any]:
    """What besides the cell determines the bits of its training, as JSON can hold it."""
    return {
        "data": dataset.fingerprint,
        "weights": weights_sha256,
        "backend": [runtime.backend_version, runtime.keras_version, np.__version__],
        "device": [runtime.device_name, machine.cpu_model()],
        "environment": backend_environment(),
        "features": os.environ.get(LIMIT_VARIABLE),
    }
