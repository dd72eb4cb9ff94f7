"""One attempt at a cell whose model is a command: the program is started, its lines are read, and its answers scored.

    BENCH_CELL      the path of a JSON file: settings, arrays, folders
    BENCH_EVENTS    the path that it writes its lines to

What a program reports becomes the events of every worker. Importing this module loads NumPy and neither Keras nor a backend of it.
"""

from __future__ import annotations

import faulthandler
import json
import math
import mmap  # noqa: F401  with `numpy.ma`: what NumPy imports on demand is imported before the fork, once for all cells
import os
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import numpy.ma  # noqa: F401  `numpy.unique` asks for it: 10 ms

from benchmark import events, faults, layout, machine
from benchmark.files import sha256_of, write_whole
from benchmark.matrix.cell import Cell
from benchmark.status import Cause
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.data.dataset import Dataset, dataset_of
from benchmark.training.process import interrupt
from benchmark.training.process.failures import DivergedError, StopRequestedError, cause_of
from benchmark.training.scripts.script_epochs import ScriptEpochs
from benchmark.training.scripts.script_lines import (
    EpochLine,
    FinishLine,
    ProgressLine,
    ResumeLine,
    ScriptLine,
    ScriptProtocolError,
    read_line,
)
from benchmark.training.scripts.script_order import ScriptError, checked_command, program_environment, write_cell_file
from benchmark.training.scripts.script_process import ScriptProcess
from benchmark.training.scripts.script_results import results_of

_PROGRESS_SECONDS = 0.2
_SHOWN_LINES = 10
"""Of what a program that has failed wrote last to stderr."""


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
        words: The last of what the program wrote to stderr.
    """

    def __init__(self, job: events.Job, emit: Any) -> None:
        self._began = perf_counter()
        self._job = job
        self._emit = emit
        self._cell = Cell.from_dict(job.cell)
        self._directory = Path(job.directory)
        self._folder = self._directory / layout.SCRIPT
        self.words = ""
        self._finish: FinishLine | None = None
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
        command = checked_command(cell, allowed=self._job.allow_plugins)
        dataset = dataset_of(self._job.data_directory, cell, one_hot=False)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        epochs = ScriptEpochs(self._job, len(cell.stages), dataset, self._emit)
        built = self._built(dataset)
        self._emit(built)
        self._emit(events.StageStarted(1, cell.stages[0].epochs, 0))
        self._conclude(self._play(command, dataset, epochs), epochs, dataset, built)

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

    # ---- what it reports

    def _play(self, command: list[str], dataset: Dataset, epochs: ScriptEpochs) -> FinishLine:
        """Runs the program to its end; returns its last word.

        Raises:
            ScriptProtocolError, DivergedError, StopRequestedError, ScriptError: It did not end well.
        """
        events_path = self._folder / layout.SCRIPT_EVENTS
        cell_file = write_cell_file(self._cell, self._job, dataset, epochs.count.earlier)
        environment = program_environment(cell_file, events_path)
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
                        self._progress(ProgressLine(), epochs)
                    else:
                        self._hear(read_line(line), epochs)
            except ScriptProtocolError:
                # a program that is asked to stop may end in the middle of a line
                interrupt.check()
                raise
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
        return self._finish

    def _hear(self, line: ScriptLine, epochs: ScriptEpochs) -> None:
        if self._finish is not None and not isinstance(line, ProgressLine):
            raise ScriptProtocolError(
                f"expected nothing after the line finish, found {type(line).__name__.removesuffix('Line').lower()}"
            )
        match line:
            case ResumeLine():
                epochs.resume(line.epoch)
            case EpochLine():
                epochs.add(line)
            case ProgressLine():
                self._progress(line, epochs)
            case FinishLine():
                epochs.end()
                self._finish, self._finished_after = line, perf_counter() - self._began

    def _progress(self, line: ProgressLine, epochs: ScriptEpochs) -> None:
        now = perf_counter()
        if now - self._progressed >= _PROGRESS_SECONDS:
            self._progressed = now
            batches = max(line.batches, line.batch)
            self._emit(events.Progress(epochs.count.stage, epochs.count.last + 1, line.batch, batches))

    # ---- what comes of it

    def _conclude(self, finish: FinishLine, epochs: ScriptEpochs, dataset: Dataset, built: events.ModelBuilt) -> None:
        """Scores the answers of the program, and leaves what every worker leaves."""
        began, count = perf_counter(), len(epochs.history)
        results = results_of(finish, count, self._cell, dataset, self._folder)
        scores, best = results.scores, results.best_epoch
        faults.point("evaluate")
        if finish.parameters is not None:
            trainable = finish.parameters if finish.trainable_parameters is None else finish.trainable_parameters
            self._emit(replace(built, parameters=finish.parameters, trainable_parameters=trainable))
        self._emit(events.Evaluated(scores.accuracy, scores.loss, best, perf_counter() - began))
        faults.point("artifact")
        history = {
            "cell_id": self._cell.cell_id,
            "best_epoch": best,
            "epochs": [asdict(epoch) for epoch in epochs.history],
        }
        self._write("history", layout.HISTORY, json.dumps(history, indent=1, allow_nan=False).encode())
        for split, probabilities in results.answers.items():
            examples, name = getattr(dataset, split), layout.PREDICTIONS[split]
            content = pack_predictions(examples.split.indices, examples.split.labels, probabilities)
            self._write(Path(name).stem, name, content)
            for part in events.Predicted(name, len(examples), dataset.class_names).parts():
                self._emit(part)
        faults.point("complete")
        epoch_seconds = math.fsum(epoch.seconds for epoch in epochs.history)
        fit_seconds = epoch_seconds if epochs.history else self._finished_after
        self._emit(events.Completed(count, fit_seconds, perf_counter() - self._began))
        shutil.rmtree(self._folder, ignore_errors=True)
        epochs.forget()

    def _write(self, kind: str, name: str, content: bytes) -> None:
        write_whole(self._directory / name, content)
        self._emit(events.ArtifactWritten(kind, name, sha256_of(content), len(content)))


def _end_by(number: int) -> NoReturn:
    """Ends this process by the signal that has ended the program, so that it is judged as every worker's end is."""
    faulthandler.disable()
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise ScriptError("ended by a signal", f"the command was ended by {signal.Signals(number).name}")
