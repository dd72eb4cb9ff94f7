"""One attempt at a cell whose model is a command: it is told the cell, started, heard, and its answers are scored here.

    BENCH_CELL      the path of a JSON file: settings, arrays, folders
    BENCH_EVENTS    the path that it writes its lines to

What a program tells becomes the events of every worker. Importing this module loads NumPy and neither Keras nor a backend of it.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from benchmark import events, faults, layout, machine
from benchmark.catalog import keras_applications
from benchmark.catalog.facts import prepared_size
from benchmark.catalog.prepared_room import LIMIT_VARIABLE
from benchmark.errors import BenchError
from benchmark.files import sha256_of, write_whole
from benchmark.matrix.cell import Cell
from benchmark.matrix.command_line import (
    consent_digest,
    definition_keys,
    files_digest,
    filled,
    named_files,
    program_of,
    settings_for_script,
)
from benchmark.matrix.settings import STAGE_SETTINGS, json_value
from benchmark.matrix.trust import exposure, trusted_digests
from benchmark.status import Cause
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.data.compressed_images import CompressedImages
from benchmark.training.data.dataset import Dataset, ExampleSet, open_dataset
from benchmark.training.evaluation import compute_scores
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DataError, DivergedError, StopRequestedError, cause_of
from benchmark.training.scripts.script_answers import read_probabilities
from benchmark.training.scripts.script_lines import (
    SCHEMA,
    EpochCount,
    ScriptProtocolError,
    Told,
    ToldEpoch,
    ToldFinish,
    ToldProgress,
    ToldResume,
    read_line,
)
from benchmark.training.scripts.script_process import ScriptProcess

ACCURACY_TOLERANCE = 1e-3
"""How far the test accuracy that a program counts may be from the one that follows from its probabilities."""

_PROGRESS_SECONDS = 0.2
_SHOWN_LINES = 10
"""Of what a program that has failed wrote last to stderr."""

_SPLITS = ("train", "validation", "test", "lockbox")
_PRIVATE = ("BENCH_IMPORT_PATH", "BENCH_KERAS_HOME", "KERAS_HOME", "KERAS_BACKEND", "KERAS_TORCH_DEVICE")
"""Variables that only workers of bench need."""


class ScriptError(BenchError):
    """A program cannot be started, or ended as a failure.

    Args:
        kind: What happened, in a few words, as the type of the error.
        message: In a line.
        words: The last of what it wrote to stderr.
    """

    def __init__(self, kind: str, message: str, words: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.words = words


def main(job: events.Job, emit: Any) -> int:
    """Runs the command of a job's cell to its end and emits how it ended; no exception leaves this function.

    Returns:
        0 when the cell completed, diverged or was interrupted by SIGTERM; 1 when it failed.

    Side effects:
        Starts the program, which is over when this returns. Where a signal has ended it, this process ends by the same one.
        Writes artifacts into `job.directory`.
    """
    attempt = None
    try:
        attempt = _ScriptAttempt(job, emit)
        attempt.run()
    except DivergedError as error:
        emit(events.Diverged(error.epoch, error.batch))
    except StopRequestedError:
        # whether its states are whole it alone knows: nothing is said of them
        _end_by(signal.SIGTERM)
    except ScriptProtocolError as error:
        emit(
            events.Failed(
                Cause.PROTOCOL, "the command broke the protocol", str(error), attempt.words if attempt else ""
            )
        )
        return 1
    except ScriptError as error:
        emit(events.Failed(Cause.FAILED, error.kind, str(error), error.words))
        return 1
    except Exception as error:  # noqa: BLE001  every failure becomes an event with its cause
        import traceback

        text = traceback.format_exc()[-60_000:]
        emit(events.Failed(cause_of(error), type(error).__name__, str(error)[:20_000], text))
        return 1
    return 0


class _ScriptAttempt:
    """One run of `main`.

    Attributes:
        count: Which epochs were told.
        words: The last of what the program wrote to stderr.
    """

    def __init__(self, job: events.Job, emit: Any) -> None:
        self._began = self._epoch_began = perf_counter()
        self._job = job
        self._emit = emit
        self._cell = cell = Cell.from_dict(job.cell)
        self._directory = Path(job.directory)
        self._folder = self._directory / layout.SCRIPT
        self.count = EpochCount(0, len(cell.stages))
        self.words = ""
        self._earlier: list[events.EpochFinished] = []
        self._history: list[events.EpochFinished] = []
        self._finish: ToldFinish | None = None
        self._finished_after = 0.0
        self._progressed = -math.inf

    def run(self) -> None:
        cell = self._cell
        faults.in_cell(cell.cell_id)
        faults.point("start")
        interrupt.install()
        device = machine.facts().gpus[self._job.gpu].name if self._job.gpu is not None else "cpu"
        self._emit(events.Started(None, None, cell.threads, machine.device_with_libraries(device)))
        if self._job.trial_seconds is not None:
            raise ScriptError("no trial", "a command runs as a whole, or not at all")
        command = self._command()
        if self._job.data_directory is None:
            raise DataError("the job names no prepared dataset; run `bench prepare`")
        seed = cell.stream_seed("split_seed")
        dataset = open_dataset(Path(self._job.data_directory), cell.data, seed, one_hot=False)
        if any(
            isinstance(each.images, CompressedImages) for each in (dataset.training, dataset.validation, dataset.test)
        ):
            raise DataError(
                f"{cell.data.source}: a command reads decoded images, and these stay compressed, for they would take more than "
                f"{LIMIT_VARIABLE} or the disk allows. Raise {LIMIT_VARIABLE}, delete {self._job.data_directory}, and run again"
            )
        self._take_over(dataset)
        built = self._built(dataset)
        self._emit(built)
        self._emit(events.StageStarted(1, cell.stages[0].epochs, 0))
        self._play(command, dataset)
        self._conclude(dataset, built)

    # ---- what it is told

    def _command(self) -> list[str]:
        """The command line, once it is certain that the user has agreed to exactly this."""
        architecture, words = self._cell.architecture, filled(self._cell)
        folder = Path(architecture.folder or "")
        files = named_files(architecture.command or (), definition_keys(architecture), folder)
        try:
            if files_digest(files, folder) != architecture.code:
                raise ScriptError("the files have changed", f"{', '.join(map(str, files)) or folder}: run again")
        except OSError as error:
            raise ScriptError("a file cannot be read", str(error)) from error
        if exposed := next(filter(None, map(exposure, files)), ""):
            raise ScriptError("not run", f"{exposed} can be written by anybody; `chmod o-w {exposed}`")
        if not self._job.allow_plugins and consent_digest(architecture) not in trusted_digests():
            raise ScriptError("not trusted", "the command was not run; `bench run` says how to trust it")
        program, problem = program_of(words[0], folder)
        if program is None:
            raise ScriptError("cannot be started", problem)
        return [program, *words[1:]]

    def _take_over(self, dataset: Dataset) -> None:
        """Moves the program's states, and the epochs that it told, from the newest earlier attempt into this one."""
        state, told = self._directory / layout.SCRIPT_STATE, self._directory / layout.SCRIPT_EPOCHS
        for folder in map(Path, self._job.earlier_directories):
            # killed between two moves it goes on with what is left
            if not state.exists() and (folder / layout.SCRIPT_STATE).is_dir():
                (folder / layout.SCRIPT_STATE).rename(state)
            if not told.exists() and (folder / layout.SCRIPT_EPOCHS).is_file():
                (folder / layout.SCRIPT_EPOCHS).rename(told)
            shutil.rmtree(folder / layout.SCRIPT, ignore_errors=True)
        fingerprint, self._earlier = _told_before(told)
        if fingerprint not in {None, dataset.fingerprint}:
            shutil.rmtree(state, ignore_errors=True)
            self._earlier = []
            self._emit(events.CheckpointFailed(0, "its states were of other data, and are gone"))
        state.mkdir(exist_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self.count.earlier = len(self._earlier)

    def _built(self, dataset: Dataset) -> events.ModelBuilt:
        return events.ModelBuilt(
            parameters=None,
            trainable_parameters=None,
            train_examples=len(dataset.training),
            validation_examples=len(dataset.validation),
            test_examples=len(dataset.test),
            data_fingerprint=dataset.fingerprint,
            weights_sha256=None,
            compute_dtype=None,
            setup_seconds=perf_counter() - self._began,
        )

    def _tell(self, dataset: Dataset) -> Path:
        """Writes what the program is told; returns its path."""
        cell, data = self._cell, self._cell.data
        sets = (dataset.training, dataset.validation, dataset.test, dataset.lockbox)
        size = prepared_size(data.source, data.image_size)
        record = {
            "schema": SCHEMA,
            "cell_id": cell.cell_id,
            "dataset": cell.dataset,
            "model": cell.model,
            "strategy": cell.strategy,
            "seed": cell.seed,
            "settings": settings_for_script(cell),
            "stages": [
                {name: json_value(getattr(each, name)) for name in sorted(STAGE_SETTINGS)} for each in cell.stages
            ],
            "class_names": list(dataset.class_names),
            "image_shape": [size, size, data.channels],
            "threads": cell.threads,
            "device": "cpu" if self._job.gpu is None else "gpu",
            "arrays": {name: self._arrays(name, examples) for name, examples in zip(_SPLITS, sets, strict=True)},
            "state": str(self._directory / layout.SCRIPT_STATE),
            "folder": str(self._folder),
            "earlier_epochs": self.count.earlier,
        }
        path = self._folder / layout.SCRIPT_CELL
        write_whole(path, json.dumps(record, indent=1, allow_nan=False).encode())
        return path

    def _arrays(self, name: str, examples: ExampleSet) -> dict[str, Any] | None:
        """Where a set of images lies: the whole prepared array, and which of its images belong to the set."""
        if not len(examples) and name != "train":
            return None
        own = name == "validation" and self._cell.data.validation == "source"
        part = "validation" if own else "train" if name in {"train", "validation"} else "test"
        images = layout.array_file(Path(self._job.data_directory or ""), f"{part}_images")
        indices, labels = (layout.array_file(self._folder, f"{name}_{what}") for what in ("indices", "labels"))
        np.save(indices, examples.split.indices)
        files: dict[str, Any] = {"images": str(images), "indices": str(indices), "count": len(examples)}
        if name != "lockbox":  # nobody sees the labels of what is locked away
            np.save(labels, examples.split.labels.astype(np.int64))
            files["labels"] = str(labels)
        return files

    def _environment(self, told: Path, lines: Path) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
        if (home := os.environ.get(keras_applications.HOME)) and home != "~/.keras":
            environment["KERAS_HOME"] = home
        own = {"BENCH_CELL": str(told), "BENCH_EVENTS": str(lines), "PYTHONUNBUFFERED": "1"}
        return {**environment, **own}

    # ---- what it tells

    def _play(self, command: list[str], dataset: Dataset) -> None:
        """Runs the program to its end.

        Raises:
            ScriptProtocolError, DivergedError, StopRequestedError, ScriptError: It did not end well.
        """
        events_path = self._folder / layout.SCRIPT_EVENTS
        environment = self._environment(self._tell(dataset), events_path)
        faults.point("build")
        try:
            process = ScriptProcess(command, Path(self._cell.architecture.folder or ""), environment, events_path)
        except OSError as error:
            raise ScriptError("cannot be started", f"{command[0]}: {error.strerror}") from error
        with process:
            try:
                for line in process.lines():
                    faults.point("batch")
                    if line is None:
                        self._progress(ToldProgress())
                    else:
                        self._hear(read_line(line), dataset)
            finally:
                self.words = process.stderr_tail.decode(errors="replace").strip()
            code = process.returncode or 0
        if interrupt.is_requested() and not (code == 0 and self._finish):
            raise StopRequestedError("SIGTERM: asked to stop")
        if code < 0:
            _end_by(-code)
        if code:
            *before, last = self.words.splitlines()[-_SHOWN_LINES:] or ["nothing was written to stderr"]
            message = "\n".join(
                [f"the command ended with exit code {code}: {last.strip()}", *before, *([last] if before else [])]
            )
            raise ScriptError(f"exit code {code}", message, self.words)
        if self._finish is None:
            raise ScriptProtocolError(
                'expected a line "finish" with probabilities before the end, found none; it exited with 0'
            )

    def _hear(self, told: Told, dataset: Dataset) -> None:
        if self._finish is not None and not isinstance(told, ToldProgress):
            raise ScriptProtocolError(
                f"expected nothing after the line finish, found {type(told).__name__[4:].lower()}"
            )
        match told:
            case ToldResume():
                self.count.resume(told.epoch)
                self._replay()
            case ToldEpoch():
                self._add(told, dataset)
            case ToldProgress():
                self._progress(told)
            case ToldFinish():
                if not self.count.begun:
                    self.count.resume(0)
                self._replay()
                self._finish, self._finished_after = told, perf_counter() - self._began

    def _replay(self) -> None:
        """Tells the epochs of earlier attempts again that the program goes on from, once it is known that it does."""
        if self._history or not self.count.begun:
            return
        if self._earlier and self.count.resumed_from is None:
            note = (
                f"begun anew: the command went on from none of the {len(self._earlier)} epochs of the attempts before"
            )
            self._emit(events.CheckpointFailed(0, note))
        elif self.count.resumed_from is not None:
            self._emit(events.Resumed(self.count.resumed_from))
        self._history = self._earlier[: self.count.resumed_from or 0]
        self._earlier = []
        for epoch in self._history:
            self._emit(replace(epoch, replayed=True))
        if self._history:
            self.count.stage, self.count.stage_epoch = self._history[-1].stage, self._history[-1].stage_epoch

    def _add(self, told: ToldEpoch, dataset: Dataset) -> None:
        is_first = not self.count.begun
        self.count.begin(told)
        self._replay()
        self.count.follow(told)
        if not len(dataset.validation) and (told.val_loss is not None or told.val_accuracy is not None):
            raise ScriptProtocolError(
                "epoch: expected no val_loss and val_accuracy, for this cell has no validation images"
            )
        now = perf_counter()
        seconds = now - self._epoch_began if told.seconds is None else told.seconds
        self._epoch_began = now
        row = events.EpochFinished(
            stage=self.count.stage,
            epoch=self.count.last,
            stage_epoch=self.count.stage_epoch,
            train_accuracy=told.train_accuracy,
            train_loss=told.train_loss,
            val_accuracy=told.val_accuracy,
            val_loss=told.val_loss,
            learning_rate=told.learning_rate,
            seconds=seconds,
            input_seconds=0.0,
            step_seconds=seconds,
            validation_seconds=0.0,
            checkpoint_seconds=0.0,
            images_per_second=len(dataset.training) / max(seconds, 1e-9),
            traced=is_first or self.count.stage_epoch == 1,
            improved=True,
        )
        if not all(math.isfinite(loss) for loss in (row.train_loss, row.val_loss) if loss is not None):
            self._emit(row)
            raise DivergedError(row.epoch, 1)
        self._history.append(row)
        self._keep(row, dataset.fingerprint)
        self._emit(row)
        faults.point("epoch.sent")

    def _keep(self, row: events.EpochFinished, fingerprint: str) -> None:
        """Keeps the epochs on the disk, for the attempt after this one."""
        path = self._directory / layout.SCRIPT_EPOCHS
        is_first = len(self._history) == (self.count.resumed_from or 0) + 1
        begin = [json.dumps({"data_fingerprint": fingerprint}).encode() + b"\n"] if is_first else []
        try:
            with path.open("wb" if is_first else "ab") as file:
                file.writelines([*begin, *map(events.to_line, self._history if is_first else [row])])
        except OSError as error:
            self._emit(events.CheckpointFailed(row.epoch, f"{type(error).__name__}: {error}"))

    def _progress(self, told: ToldProgress) -> None:
        now = perf_counter()
        if now - self._progressed >= _PROGRESS_SECONDS:
            self._progressed = now
            batches = max(told.batches, told.batch)
            self._emit(events.Progress(self.count.stage, self.count.last + 1, told.batch, batches))

    # ---- what comes of it

    def _conclude(self, dataset: Dataset, built: events.ModelBuilt) -> None:
        finish = self._finish
        assert finish is not None
        began, classes, epochs = perf_counter(), self._cell.data.num_classes, len(self._history)
        best = finish.best_epoch or epochs or None
        if finish.best_epoch is not None and not 1 <= finish.best_epoch <= epochs:
            raise ScriptProtocolError(
                f"finish: best_epoch: expected an epoch from 1 to {epochs}, found {finish.best_epoch}"
            )
        answers: dict[str, NDArray[np.float32]] = {}
        for split, key in (
            ("test", "probabilities"),
            ("validation", "validation_probabilities"),
            ("lockbox", "lockbox_probabilities"),
        ):
            given, examples = getattr(finish, key), getattr(dataset, split)
            if given is not None:
                answers[split] = read_probabilities(given, self._folder, key, (len(examples), classes))
        scores = compute_scores(answers["test"], dataset.test.split.labels)
        if finish.test_accuracy is not None and abs(finish.test_accuracy - scores.accuracy) > ACCURACY_TOLERANCE:
            raise ScriptProtocolError(
                f"finish: test_accuracy = {finish.test_accuracy:.4f} was told, but {scores.accuracy:.4f} follows from its "
                "probabilities: are they in the order of the test images?"
            )
        faults.point("evaluate")
        if finish.parameters is not None:
            trainable = finish.parameters if finish.trainable_parameters is None else finish.trainable_parameters
            self._emit(replace(built, parameters=finish.parameters, trainable_parameters=trainable))
        self._emit(events.Evaluated(scores.accuracy, scores.loss, best, perf_counter() - began))
        faults.point("artifact")
        history = {
            "cell_id": self._cell.cell_id,
            "best_epoch": best,
            "epochs": [asdict(epoch) for epoch in self._history],
        }
        self._write("history", layout.HISTORY, json.dumps(history, indent=1, allow_nan=False).encode())
        for split, probabilities in answers.items():
            examples, name = getattr(dataset, split), layout.PREDICTIONS[split]
            content = pack_predictions(examples.split.indices, examples.split.labels, probabilities)
            self._write(Path(name).stem, name, content)
            for part in events.Predicted(name, len(examples), dataset.class_names).parts():
                self._emit(part)
        faults.point("complete")
        told = math.fsum(epoch.seconds for epoch in self._history)
        fit_seconds = told if self._history else self._finished_after
        self._emit(events.Completed(epochs, fit_seconds, perf_counter() - self._began))
        for name in (layout.SCRIPT, layout.SCRIPT_STATE):
            shutil.rmtree(self._directory / name, ignore_errors=True)
        (self._directory / layout.SCRIPT_EPOCHS).unlink(missing_ok=True)

    def _write(self, kind: str, name: str, content: bytes) -> None:
        write_whole(self._directory / name, content)
        self._emit(events.ArtifactWritten(kind, name, sha256_of(content), len(content)))


def _told_before(path: Path) -> tuple[str | None, list[events.EpochFinished]]:
    """The fingerprint of the data, and the epochs that earlier attempts have told, as far as the file is whole."""
    epochs: list[events.EpochFinished] = []
    try:
        first, *lines = path.read_bytes().splitlines()
        fingerprint = str(json.loads(first)["data_fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, []
    for line in lines:
        try:
            event = events.from_line(line)
        except events.ProtocolError:
            break
        if not isinstance(event, events.EpochFinished) or event.epoch != len(epochs) + 1:
            break
        epochs.append(event)
    return fingerprint, epochs


def _end_by(number: int) -> NoReturn:
    """Ends this process by the signal that has ended the program, so that it is judged as every worker's end is."""
    faulthandler.disable()
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise ScriptError("ended by a signal", f"the command was ended by {signal.Signals(number).name}")
