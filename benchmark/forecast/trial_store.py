"""What trials of cells measured on this machine, kept in the cache: a forecast for kinds of cells never run here.

Each trial is one small file, `$BENCH_CACHE/trials/<key>.json`; the key holds everything that decides the numbers. A
file that is damaged, or of another key, is as good as none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import benchmark
from benchmark import layout, machine
from benchmark.catalog.backends import BACKENDS, trains, trains_networks
from benchmark.events import ModelBuilt, Tried
from benchmark.files import make_own_folder, read_record, sha256_of, write_whole
from benchmark.forecast.cost import SPEEDS, Examples, augmenting_seconds, cost_of, counted, examples_of
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import canonical_json
from benchmark.matrix.speed_key import speed_key_of_cell

FORMAT = 1


@dataclass(frozen=True, slots=True)
class StageTrial:
    """One stage: see `events.Tried`. `augmenting_seconds` are what augmenting an image takes of that at the usual speed."""

    tracing_seconds: float
    step_seconds: float
    predict_seconds: float
    augmenting_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial of a cell measured.

    Attributes:
        setup_seconds: From the worker's first line until data and model stood.
        stages: Every stage of the cell.
        peak_rss_bytes: Most main memory of its process.
        training, validation, test: Examples of the cell that was tried.
    """

    setup_seconds: float
    stages: tuple[StageTrial, ...]
    peak_rss_bytes: int
    training: int
    validation: int
    test: int


Find = Callable[[Cell], Trial | None]
"""What is known of trials of a cell's kind."""


def trial_of(cell: Cell, built: ModelBuilt, tried: Tried, peak_rss_bytes: int) -> Trial:
    """What a worker has told of a trial of all stages of a cell."""
    augmenting = [augmenting_seconds(stage, cell) if trains(cell.backend) else 0.0 for stage in cell.stages]
    measured = tried.tracing_seconds, tried.step_seconds, tried.predict_seconds
    return Trial(
        setup_seconds=built.setup_seconds,
        stages=tuple(map(StageTrial, *measured, augmenting)),
        peak_rss_bytes=peak_rss_bytes,
        training=built.train_examples,
        validation=built.validation_examples,
        test=built.test_examples,
    )


def seconds_by(trial: Trial, cell: Cell) -> float:
    """What a cell takes from its start to its end, by a trial of one of its kind.

    Args:
        trial: Of a cell with as many stages.
        cell: May have other data, epochs and augmentation than the one that was tried.
    """
    speed = SPEEDS[cell.device_kind if trains(cell.backend) else "none"]
    # where they cannot be counted beforehand, the trial alone has
    known = trains(cell.backend) and counted(cell.data) is not None
    examples = examples_of(cell.data) if known else Examples(trial.training, trial.validation, trial.test)
    seconds = trial.setup_seconds + speed.start
    for stage, planned, tried in zip(cell.stages, cost_of(cell).stages, trial.stages, strict=True):
        images = examples.training * tried.step_seconds + examples.validation * tried.predict_seconds
        # what its augmentation takes longer than that of the cell that was tried
        longer = augmenting_seconds(stage, cell) - tried.augmenting_seconds if trains(cell.backend) else 0.0
        epoch = images / stage.batch_size + examples.training * longer + speed.epoch
        seconds += tried.tracing_seconds + planned.epochs * max(epoch, speed.epoch)
    if trains(cell.backend):
        seconds += examples.test / cell.stages[-1].batch_size * (1 + cell.tta) * trial.stages[-1].predict_seconds
    return seconds


class TrialStore:
    """The trials of this machine, as it is now."""

    def __init__(self, cache_root: Path) -> None:
        self._cache_root = cache_root

    def find(self, cell: Cell) -> Trial | None:
        """What was measured for cells of this kind; None when there is nothing that can be used."""
        key = _key(cell)
        record = read_record(layout.trial_file(self._cache_root, _digest(key)))
        if record is None or record.get("key") != key:
            return None
        try:
            trial = _trial(record["trial"])
        except (KeyError, TypeError, ValueError):
            return None
        return trial if len(trial.stages) == len(cell.stages) else None

    def keep(self, cell: Cell, trial: Trial) -> None:
        """Writes down what was measured.

        Raises:
            OSError: The cache cannot be written.
        """
        key = _key(cell)
        write_record(layout.trial_file(self._cache_root, _digest(key)), {"key": key, "trial": asdict(trial)})


def _key(cell: Cell) -> dict[str, Any]:
    """Everything that decides the numbers of a trial."""
    return {
        "format": FORMAT,
        "pace": speed_key_of_cell(cell),
        "threads": cell.threads,
        "deterministic": cell.deterministic,
        "processor": processor(),
        "gpus": _gpu_names() if cell.device_kind == "gpu" else [],
        "versions": _versions(cell.backend),
    }


def _digest(key: Mapping[str, Any]) -> str:
    return sha256_of(canonical_json(key).encode("ascii"))[:24]


@cache
def processor() -> str:
    """Name of this machine's processor."""
    return machine.cpu_model()


@cache
def _gpu_names() -> list[str]:
    return [gpu.name for gpu in machine.facts().gpus]


@cache
def _versions(backend: str) -> dict[str, str]:
    names = [*BACKENDS[backend].modules, "numpy"] if trains_networks(backend) else []
    return {"bench": benchmark.__version__, **machine.package_versions(names)}


def _trial(record: Mapping[str, Any]) -> Trial:
    """The trial that `asdict` made the record of.

    Raises:
        KeyError, TypeError, ValueError: It did not.
    """
    names = [field.name for field in fields(StageTrial)]
    # trials of earlier versions do not tell the last one
    stages = tuple(StageTrial(*(_seconds(one[name]) for name in names if name in one)) for one in record["stages"])
    counts = [int(_seconds(record[name])) for name in ("peak_rss_bytes", "training", "validation", "test")]
    return Trial(_seconds(record["setup_seconds"]), stages, *counts)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"expected a number that is not negative, found {value!r}")
    return float(value)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """The file appears whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    make_own_folder(path.parent, adopt=True)
    write_whole(path, json.dumps(record, indent=1, allow_nan=False).encode())
