"""One attempt at one cell: `main` reads a job, trains, and tells everything as events.

Importing this module loads Keras and its backend but runs no operation, starts no thread and asks for no device, so
that a template process may import it once and fork a fresh worker for each attempt.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import keras

from benchmark import faults
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
    Resumed,
    Started,
)
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import TRAINING_VERSION
from benchmark.training import interrupt
from benchmark.training.causes import DataError, DivergedError, StopRequestedError, cause_of
from benchmark.training.checkpoints import State, StateWriter, delete_states, newest_state
from benchmark.training.data import Dataset, open_dataset
from benchmark.training.evaluation import evaluate
from benchmark.training.files import sha256_of, write_whole
from benchmark.training.fit import Fitting
from benchmark.training.imagenet import verified_path
from benchmark.training.models import Network, build_network
from benchmark.training.network import forbid_network
from benchmark.training.runtime import peak_device_bytes, prepare_process
from benchmark.training.stages import is_one_hot, set_trainable
from benchmark.training.weights import (
    assign_weights,
    load_published,
    load_weights,
    read_weights,
    write_weights,
)

Emit = Callable[[Event], object]

WEIGHTS_NAME = "weights.npz"
HISTORY_NAME = "history.json"


def main(job: Job, emit: Emit) -> int:
    """Runs a job to its end and tells how it ended; no exception leaves this function.

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
        _Attempt(job, emit).run()
    except DivergedError as error:
        emit(Diverged(error.epoch, error.batch))
    except Exception as error:  # noqa: BLE001  every failure is told, with its cause
        emit(Failed(cause_of(error), type(error).__name__, str(error)[:20_000], traceback.format_exc()[-60_000:]))
        return 1
    return 0


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
        state = self._find_state()
        writer = StateWriter(self._directory, state.epoch if state else 0)
        try:
            self._complete(Fitting(self._cell, network, dataset, writer, self._emit, state), network, dataset)
        except StopRequestedError:
            self._stop(writer)

    def _open_data(self) -> Dataset:
        if self._job.data_directory is None:
            raise DataError("the job names no prepared dataset; run `bench prepare`")
        one_hot = is_one_hot(self._cell.labels, self._cell.stages)
        return open_dataset(Path(self._job.data_directory), self._cell.data, self._cell.seed, one_hot=one_hot)

    def _build(self, dataset: Dataset) -> tuple[Network, str | None]:
        """The network with the weights it starts from, and their sha256."""
        # in this order: clear_session resets the policy, and building draws from the seed
        keras.backend.clear_session()
        keras.utils.set_random_seed(self._cell.seed)
        keras.config.set_dtype_policy(self._cell.precision)
        network = build_network(self._cell.architecture, self._cell.data)
        return network, self._load_start(network, dataset)

    def _load_start(self, network: Network, dataset: Dataset) -> str | None:
        weights = self._cell.weights
        if weights.origin == "none":
            return None
        if weights.origin == "imagenet":
            return load_published(network, verified_path(network.core.name))
        if weights.origin == "parent":
            if self._job.parent_weights is None:
                raise DataError(f"the weights of the parent cell {weights.parent_cell_id} are missing; run it first")
            path, source = Path(self._job.parent_weights), f"the parent cell {weights.parent_cell_id}"
        else:
            path, source = Path(weights.path or ""), str(weights.path)
        file = read_weights(path, self._job.parent_weights_sha256 if weights.origin == "parent" else None)
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
            compute_dtype=next(layer.compute_dtype for layer in map(core.get_layer, network.backbone) if layer.weights),
            setup_seconds=perf_counter() - self._began,
        )

    def _find_state(self) -> State | None:
        state, refused = newest_state(self._state_directories, self._cell.cell_id, TRAINING_VERSION)
        for reason in refused:
            self._emit(CheckpointFailed(state.epoch if state else 0, f"not resumed from: {reason}"))
        if state:
            self._emit(Resumed(state.epoch))
        return state

    def _stop(self, writer: StateWriter) -> None:
        try:
            writer.flush()
        except OSError as error:
            self._emit(CheckpointFailed(writer.written_epoch, f"{type(error).__name__}: {error}"))
        self._emit(Interrupted(writer.written_epoch))

    def _complete(self, fitting: Fitting, network: Network, dataset: Dataset) -> None:
        fitting.run()
        faults.point("evaluate")
        assign_weights(network.core, fitting.best.weights)
        self._emit(self._evaluated(fitting, dataset))
        faults.point("artifact")
        write_weights(self._directory / WEIGHTS_NAME, fitting.best.weights, self._cell.cell_id, dataset.class_names)
        self._write_history(fitting)
        for kind, name in (("weights", WEIGHTS_NAME), ("history", HISTORY_NAME)):
            path = self._directory / name
            self._emit(ArtifactWritten(kind, name, sha256_of(path), path.stat().st_size))
        faults.point("complete")
        self._emit(
            Completed(
                epochs=len(fitting.history),
                fit_seconds=math.fsum(epoch.seconds for epoch in fitting.history),
                total_seconds=perf_counter() - self._began,
                peak_device_bytes=peak_device_bytes(self._cell),
            )
        )
        delete_states(self._state_directories)

    def _evaluated(self, fitting: Fitting, dataset: Dataset) -> Evaluated:
        assert fitting.steps is not None
        began, last = perf_counter(), fitting.history[-1]
        batch_size = self._cell.stages[-1].batch_size
        batches = math.ceil(len(dataset.training) / batch_size)
        scores = evaluate(
            fitting.steps,
            dataset.test,
            batch_size,
            lambda: fitting.pulse.beat(last.stage, last.epoch, batches, batches),
        )
        return Evaluated(scores.accuracy, scores.loss, fitting.best.epoch, perf_counter() - began)

    def _write_history(self, fitting: Fitting) -> None:
        record = {
            "cell_id": self._cell.cell_id,
            "best_epoch": fitting.best.epoch,
            "epochs": [asdict(epoch) for epoch in fitting.history],
        }
        content = json.dumps(record, indent=1, allow_nan=False).encode()
        write_whole(self._directory / HISTORY_NAME, lambda file: file.write(content))
