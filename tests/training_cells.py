"""Cells made by hand, and a worker run in a process of its own, for the tests of training."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import events
from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights

DIGITS = Data("digits", None, 10, 16, "grey", None, None, 0.1)

PARAMETERS: dict[str, dict[str, Any]] = {
    "simple_cnn": {"filters": (32, 64), "kernel_size": 3, "dense_units": 128, "dropout": 0.25},
    "basic_cnn": {"filters": (32, 64, 128), "dense_units": 128, "dropout": 0.3},
    "advanced_cnn": {"filters": (32, 64, 128), "stage_dropout": (0.2, 0.3, 0.4), "dense_units": 128, "dropout": 0.3},
    "resnet18": {"filters": (64, 128, 256, 512), "dropout": 0.0},
    "vgg16": {"dense_units": 0, "dropout": 0.0},
    "resnet50": {"dense_units": 0, "dropout": 0.0},
}


def architecture(name: str, **changes: Any) -> Architecture:
    return Architecture(name, tuple(sorted({**PARAMETERS[name], **changes}.items())))


def stage(**changes: Any) -> Stage:
    usual = Stage(
        train="all",
        epochs=2,
        batch_size=64,
        optimizer="adam",
        learning_rate=1e-3,
        momentum=None,
        weight_decay=0.0,
        label_smoothing=0.0,
        augment=(),
        early_stopping=None,
        reduce_learning_rate=None,
    )
    return replace(usual, **changes)


def cell(**changes: Any) -> Cell:
    usual = Cell(
        cell_id="0123456789abcdef0123",
        dataset="digits",
        model="simple_cnn",
        strategy="scratch",
        strategy_label="scratch",
        seed=0,
        data=replace(DIGITS, train_examples=300, test_examples=100),
        architecture=architecture("simple_cnn", filters=(8, 16), dense_units=16),
        weights=Weights("none"),
        stages=(stage(),),
        keep="best",
        monitor="val_accuracy",
        labels="integer",
        threads=1,
        precision="float32",
        backend="tensorflow",
        device="cpu",
        device_kind="cpu",
        deterministic=True,
    )
    return replace(usual, **changes)


def job(cell: Cell, directory: Path, data: Path | None, **changes: Any) -> events.Job:
    directory.mkdir(parents=True, exist_ok=True)
    usual = events.Job(
        attempt_id=1,
        cell=cell.to_dict(),
        directory=str(directory),
        earlier_directories=(),
        data_directory=None if data is None else str(data),
        parent_weights=None,
        parent_weights_sha256=None,
        cores=(),
        gpu=None,
        isolation="spawn",
    )
    return replace(usual, **changes)


@dataclass(frozen=True)
class Run:
    """What a worker process told and how it ended."""

    exit_code: int
    told: list[events.Event]
    log: str

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def one(self, kind: type) -> Any:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} of {kind.__name__}\n{self.told}\n{self.log}"
        return found[0]

    def epochs(self) -> list[events.EpochFinished]:
        return self.all(events.EpochFinished)


def run_worker(
    jobs: events.Job | list[events.Job],
    *,
    faults: str = "",
    fresh: bool = False,
    backend: str = "tensorflow",
    **environment: str,
) -> Run:
    """Runs jobs one after the other in one process, with faults of `training_faults.py` injected.

    The process is forked from one that has imported the worker and nothing more, as in real runs; with `fresh` it is
    a new interpreter. `environment` is added to its variables.
    """
    jobs = [jobs] if isinstance(jobs, events.Job) else jobs
    with tempfile.TemporaryDirectory() as folder:
        order = {
            "jobs": [events.to_line(job).decode() for job in jobs],
            "faults": faults,
            "environment": environment,
            "events": f"{folder}/events",
            "log": f"{folder}/log",
        }
        nursery = Nursery(backend) if fresh else _shared_nursery(backend)
        exit_code = nursery.run(order)
        if fresh:
            nursery.close()
        lines = Path(order["events"]).read_bytes().splitlines(keepends=True)
        log = Path(order["log"]).read_text(errors="replace")
    return Run(exit_code, [events.from_line(line) for line in lines], log)


class Nursery:
    """A process that has the worker imported and forks a child for each order; see `training_nursery.py`."""

    def __init__(self, backend: str = "tensorflow") -> None:
        here = Path(__file__).parent
        self._cache = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, here / "training_nursery.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "OPENBLAS_NUM_THREADS": "1",
                "KERAS_BACKEND": backend,
                "BENCH_CACHE": self._cache.name,
                "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
            },
        )

    def run(self, order: dict[str, Any]) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()
        self._cache.cleanup()


@functools.cache
def _shared_nursery(backend: str) -> Nursery:
    nursery = Nursery(backend)
    atexit.register(nursery.close)
    return nursery


def history(run: Run) -> list[dict[str, Any]]:
    """The metrics of each epoch, without what a clock measured."""
    clocks = ("seconds", "images_per_second", "traced", "replayed")
    return [
        {key: value for key, value in json.loads(events.to_line(epoch)).items() if not key.endswith(clocks)}
        for epoch in run.epochs()
    ]


KILLED = -signal.SIGKILL
