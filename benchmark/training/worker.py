"""One attempt at one cell: `main` reads a job, trains, and tells everything as events.

Importing this module loads Keras and its backend but runs no operation, starts no thread and asks for no device, so
that a template process may import it once and fork a fresh worker for each attempt.
"""

from __future__ import annotations

import json
import math
import os
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np

from benchmark import faults, machine
from benchmark.catalog.facts import PLUGIN
from benchmark.events import (
    ArtifactWritten,
    CheckpointFailed,
    Completed,
    Diverged,
    Evaluated,
    Event,
    Failed,
    Interrupted,
    Job,
    ModelBuilt,
    Predicted,
    Resumed,
    StagesTaken,
    Started,
)
from benchmark.files import sha256_of, write_whole
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import TRAINING_VERSION
from benchmark.training.artifacts.checkpoints import State, StateWriter, delete_states, newest_state
from benchmark.training.artifacts.model_files import check_savable, save_network
from benchmark.training.artifacts.prediction_file import PREDICTIONS_NAME, pack_predictions
from benchmark.training.artifacts.stage_states import StoredStages
from benchmark.training.data.dataset import Dataset, open_dataset
from benchmark.training.evaluation import compute_scores, predict
from benchmark.training.features.feature_store import LIMIT_VARIABLE
from benchmark.training.features.frozen_features import backend_environment
from benchmark.training.fit import Trainer
from benchmark.training.networks.network import Network, build_network
from benchmark.training.networks.plugin_models import naming_plugin_line
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DataError, DivergedError, StopRequestedError, cause_of
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import Runtime, peak_device_bytes, prepare_process, seed_process
from benchmark.training.stages import is_one_hot, set_trainable
from benchmark.training.test_time_augmentation import ViewGenerator, average_views
from benchmark.training.trial import try_stages
from benchmark.training.weights.imagenet import verified_content
from benchmark.training.weights.weight_files import (
    assign_weights,
    load_published,
    load_weights,
    read_weights,
    write_weights,
)

Emit = Callable[[Event], object]

WEIGHTS_NAME = "weights.npz"
HISTORY_NAME = "history.json"

_SAMPLE = 32
"""Test images on which a saved model is compared with the network it was made of."""


def main(job: Job, emit: Emit) -> int:
    """Runs a job (or only tries it) to its end and tells how it ended; no exception leaves this function.

    Args:
        job: What to do.
        emit: Told every event from this thread, in order.

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
        emit(Diverged(error.epoch, error.batch))
    except Exception as error:  # noqa: BLE001  every failure is told, with its cause
        emit(Failed(cause_of(error), type(error).__name__, str(error)[:20_000], traceback.format_exc()[-60_000:]))
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class _Test:
    """What the test set came to: what is told, and the content of the file of predictions."""

    told: Evaluated
    predictions: bytes


class _Attempt:
    """One run of `main`."""

    def __init__(self, job: Job, emit: Emit) -> None:
        self._began = perf_counter()
        self._job = job
        self._emit = emit
        self._cell = Cell.from_dict(job.cell)
        self._directory = Path(job.directory)
        self._state_directories = [self._directory, *map(Path, job.earlier_directories)]

    def run(self) -> None:
        runtime, dataset, network, digest = self._set_up()
        stored = StoredStages(self._job, self._cell.cell_id, _circumstances(runtime, dataset, digest))
        state = self._find_state(dataset) or self._take_stages(stored)
        writer = StateWriter(self._directory, state.epoch if state else 0)
        try:
            trainer = Trainer(self._cell, network, dataset, runtime, writer, stored, self._emit, state)
            self._complete(trainer, network, dataset)
        except StopRequestedError:
            self._stop(writer)

    def try_out(self, seconds: float) -> None:
        """Times a few steps of the stages that the job names; leaves nothing."""
        _, dataset, network, _ = self._set_up()
        self._emit(try_stages(self._cell, network, dataset, self._job.trial_stages, seconds, self._emit))

    def _set_up(self) -> tuple[Runtime, Dataset, Network, str | None]:
        """All that training needs, and the sha256 of the weights to start from."""
        faults.in_cell(self._cell.cell_id)
        faults.point("start")
        interrupt.install()
        forbid_network()
        runtime = prepare_process(self._job, self._cell)
        self._emit(Started(runtime.backend_version, runtime.keras_version, runtime.threads, runtime.device_name))
        dataset = self._open_data()
        faults.point("build")
        network, digest = self._build(dataset)
        self._emit(self._built(network, dataset, digest))
        return runtime, dataset, network, digest

    def _open_data(self) -> Dataset:
        if self._job.data_directory is None:
            raise DataError("the job names no prepared dataset; run `bench prepare`")
        one_hot = is_one_hot(self._cell.labels, self._cell.stages)
        return open_dataset(Path(self._job.data_directory), self._cell.data, self._cell.seed, one_hot=one_hot)

    def _build(self, dataset: Dataset) -> tuple[Network, str | None]:
        """The network with the weights it starts from, and their sha256."""
        # in this order: clear_session resets the policy, and building draws from the seed
        keras.backend.clear_session()
        seed_process(self._cell.seed)
        keras.config.set_dtype_policy(self._cell.precision)
        network = build_network(self._cell.architecture, self._cell.data, allow_plugins=self._job.allow_plugins)
        if self._cell.save and self._cell.architecture.name.startswith(PLUGIN):
            sample, _ = next(dataset.test.batches(_SAMPLE))
            check_savable(network.core, self._cell.save, self._directory, sample)
        return network, self._load_start(network, dataset)

    def _load_start(self, network: Network, dataset: Dataset) -> str | None:
        weights = self._cell.weights
        if weights.origin == "none":
            return None
        if weights.origin == "imagenet":
            name = self._cell.architecture.name
            return load_published(network, verified_content(name), f"ImageNet for {name}")
        if weights.origin == "parent":
            if self._job.parent_weights is None:
                raise DataError(f"the weights of the parent cell {weights.parent_cell_id} are missing; run it first")
            path, source = Path(self._job.parent_weights), f"the parent cell {weights.parent_cell_id}"
        else:
            path, source = Path(weights.path or ""), str(weights.path)
        digest = self._job.parent_weights_sha256 if weights.origin == "parent" else None
        file = read_weights(path, digest, network if weights.origin == "file" else None)
        load_weights(network, file, dataset.class_names, source)
        return file.sha256

    def _built(self, network: Network, dataset: Dataset, digest: str | None) -> ModelBuilt:
        core = network.core
        return ModelBuilt(
            parameters=core.count_params(),
            trainable_parameters=set_trainable(network, self._cell.stages[-1].train),
            train_examples=len(dataset.training),
            validation_examples=len(dataset.validation),
            test_examples=len(dataset.test),
            data_fingerprint=dataset.fingerprint,
            weights_sha256=digest,
            compute_dtype=_compute_dtype(network),
            setup_seconds=perf_counter() - self._began,
        )

    def _find_state(self, dataset: Dataset) -> State | None:
        state, rejected = newest_state(self._state_directories, self._cell.cell_id, TRAINING_VERSION)
        if state and state.data_fingerprint not in {"", dataset.fingerprint}:
            state, rejected = None, [*rejected, "it was trained on other data; they have changed since"]
        for reason in rejected:
            self._emit(CheckpointFailed(state.epoch if state else 0, f"not resumed from: {reason}"))
        if state:
            self._emit(Resumed(state.epoch))
        return state

    def _take_stages(self, stored: StoredStages) -> State | None:
        """Where another cell ended the first stages of this one."""
        state, rejected = stored.longest()
        for reason in rejected:
            self._emit(CheckpointFailed(0, f"not begun from: {reason}"))
        if state:
            self._emit(StagesTaken(state.stage))
        return state

    def _stop(self, writer: StateWriter) -> None:
        try:
            writer.flush()
        except OSError as error:
            self._emit(CheckpointFailed(writer.written_epoch, f"{type(error).__name__}: {error}"))
        self._emit(Interrupted(writer.written_epoch))

    def _complete(self, trainer: Trainer, network: Network, dataset: Dataset) -> None:
        with naming_plugin_line(self._cell.architecture):
            trainer.run()
        faults.point("evaluate")
        assign_weights(network.core, trainer.best.weights)
        test = self._test(trainer, dataset)
        self._emit(test.told)
        faults.point("artifact")
        write_weights(self._directory / WEIGHTS_NAME, trainer.best.weights, self._cell.cell_id, dataset.class_names)
        self._tell_written("weights", WEIGHTS_NAME)
        self._write_history(trainer)
        self._tell_written("history", HISTORY_NAME)
        write_whole(self._directory / PREDICTIONS_NAME, test.predictions)
        self._tell_written("predictions", PREDICTIONS_NAME)
        self._emit(Predicted(PREDICTIONS_NAME, len(dataset.test), dataset.class_names))
        for kind in self._cell.save:
            sample, _ = next(dataset.test.batches(_SAMPLE))
            self._tell_written(kind, save_network(network.core, kind, self._directory, sample))
        faults.point("complete")
        self._emit(
            Completed(
                epochs=len(trainer.history),
                fit_seconds=math.fsum([trainer.features.seconds, *(epoch.seconds for epoch in trainer.history)]),
                total_seconds=perf_counter() - self._began,
                peak_device_bytes=peak_device_bytes(self._cell),
            )
        )
        delete_states(self._state_directories)

    def _tell_written(self, kind: str, name: str) -> None:
        path = self._directory / name
        self._emit(ArtifactWritten(kind, name, sha256_of(path), path.stat().st_size))

    def _test(self, trainer: Trainer, dataset: Dataset) -> _Test:
        """The test set, once, with the weights that the network has now."""
        test = dataset.test
        began, last = perf_counter(), trainer.history[-1]
        batch_size = self._cell.stages[-1].batch_size
        batches = math.ceil(len(dataset.training) / batch_size)

        def beat() -> None:
            trainer.heartbeat.beat(last.stage, last.epoch, batches, batches)

        labels = test.split.labels
        plain = predict(*trainer.tested(), batch_size, beat)
        scores = compute_scores(plain, labels)
        told = Evaluated(scores.accuracy, scores.loss, trainer.best.epoch, perf_counter() - began)
        mean = None
        if self._cell.tta:
            viewer = ViewGenerator(test.images.shape[1:], self._cell.seed)
            predict_all = partial(predict, trainer.steps_on_images(), test, batch_size, beat)
            mean = average_views(plain, predict_all, viewer, self._cell.tta)
            of_views = compute_scores(mean, labels)
            told = replace(told, tta_accuracy=of_views.accuracy, tta_loss=of_views.loss)
        return _Test(told, pack_predictions(test.split.indices, labels, plain, mean))

    def _write_history(self, trainer: Trainer) -> None:
        record = {
            "cell_id": self._cell.cell_id,
            "best_epoch": trainer.best.epoch,
            "epochs": [asdict(epoch) for epoch in trainer.history],
        }
        content = json.dumps(record, indent=1, allow_nan=False).encode()
        write_whole(self._directory / HISTORY_NAME, content)


def _circumstances(runtime: Runtime, dataset: Dataset, weights_sha256: str | None) -> dict[str, Any]:
    """What besides the cell decides the bits of its training."""
    return {
        "data": dataset.fingerprint,
        "weights": weights_sha256,
        "backend": [runtime.backend_version, runtime.keras_version, np.__version__],
        "device": [runtime.device_name, machine.cpu_model()],
        "environment": backend_environment(),
        "features": os.environ.get(LIMIT_VARIABLE),
    }


def _compute_dtype(network: Network) -> str:
    """Of the first layer with weights: those of the head may compute in float32 whatever the precision."""
    layers = map(network.core.get_layer, (*network.backbone, *network.head))
    return str(next(layer.compute_dtype for layer in layers if layer.weights))
