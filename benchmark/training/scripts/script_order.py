"""What a program is given: its command line, its environment, and the file that `BENCH_CELL` names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import layout
from benchmark.catalog import keras_applications
from benchmark.catalog.facts import prepared_size
from benchmark.errors import BenchError
from benchmark.events import Job
from benchmark.images.compressed_images import CompressedImages
from benchmark.matrix.cell import Cell
from benchmark.matrix.script_command import (
    consent_digest,
    definition_keys,
    files_digest,
    filled,
    named_files,
    program_of,
    search_path,
    settings_for_script,
)
from benchmark.matrix.settings import STAGE_SETTINGS, json_value
from benchmark.matrix.trust import refusal
from benchmark.training.data.dataset import Dataset, ExampleSet
from benchmark.training.scripts.script_lines import SCHEMA

_SPLITS = ("train", "validation", "test", "lockbox")
_PRIVATE = ("BENCH_IMPORT_PATH", keras_applications.HOME, "KERAS_HOME", "KERAS_BACKEND", "KERAS_TORCH_DEVICE")
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


def checked_command(cell: Cell, *, allowed: bool) -> list[str]:
    """The command line of a cell, once it is certain that the user has agreed to exactly this.

    Raises:
        ScriptError: It is not, or a file or the program is missing.
    """
    architecture, words = cell.architecture, filled(cell)
    folder = Path(architecture.folder or "")
    files = named_files(architecture.command or (), definition_keys(architecture), folder)
    try:
        if files_digest(files, folder) != architecture.code:
            raise ScriptError(
                "the files have changed",
                f"expected {', '.join(map(str, files)) or folder} as they were when the run was planned, found other contents; run again",
            )
    except OSError as error:
        raise ScriptError("a file cannot be read", str(error)) from error
    if reason := refusal("the command", files, consent_digest(architecture), allowed=allowed):
        raise ScriptError("not run", reason)
    program, problem = program_of(words[0], folder)
    if program is None:
        raise ScriptError("cannot be started", problem)
    return [program, *words[1:]]


def write_cell_file(cell: Cell, job: Job, dataset: Dataset, earlier_epochs: int) -> Path:
    """Writes what the program is given; returns the path of the file.

    Args:
        cell: Of the job.
        job: Its folder gets a folder `layout.SCRIPT`, which is there already, filled.
        dataset: What the cell trains, validates and is tested on.
        earlier_epochs: How many epochs earlier attempts have reported.
    """
    data, folder = cell.data, Path(job.directory) / layout.SCRIPT
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
        "stages": [{name: json_value(getattr(each, name)) for name in sorted(STAGE_SETTINGS)} for each in cell.stages],
        "class_names": list(dataset.class_names),
        "image_shape": [size, size, data.channels],
        "threads": cell.threads,
        "device": "cpu" if job.gpu is None else "gpu",
        "arrays": {
            name: _arrays(name, examples, job, folder, cell) for name, examples in zip(_SPLITS, sets, strict=True)
        },
        "state": str(Path(job.directory) / layout.SCRIPT_STATE),
        "folder": str(folder),
        "earlier_epochs": earlier_epochs,
    }
    path = folder / layout.SCRIPT_CELL
    # not synced: only the program that is started next reads it
    path.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
    return path


def _arrays(name: str, examples: ExampleSet, job: Job, folder: Path, cell: Cell) -> dict[str, Any] | None:
    """Where a set of images lies: the whole prepared array, or what it is compressed in, and which of its images belong to the set."""
    if not len(examples) and name != "train":
        return None
    own = name == "validation" and cell.data.validation == "source"
    part = "validation" if own else "train" if name in {"train", "validation"} else "test"
    prepared = Path(job.data_directory or "")
    images: dict[str, Any] = {"images": str(layout.array_file(prepared, f"{part}_images"))}
    if isinstance(examples.images, CompressedImages):
        kept = {what: layout.compressed_file(prepared, f"{part}_images", what) for what in layout.COMPRESSED}
        images = {"images": None, "compressed": {what: str(file) for what, file in kept.items() if file.exists()}}
    indices, labels = (layout.array_file(folder, f"{name}_{what}") for what in ("indices", "labels"))
    np.save(indices, examples.split.indices)
    files: dict[str, Any] = {**images, "indices": str(indices), "count": len(examples)}
    if name != "lockbox":  # nobody sees the labels of what is locked away
        np.save(labels, examples.split.labels.astype(np.int64))
        files["labels"] = str(labels)
    return files


def program_environment(cell_file: Path, lines: Path) -> dict[str, str]:
    """The environment of a program: that of this worker, without what is meant for bench, and the paths of its two files."""
    environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
    if (home := os.environ.get(keras_applications.HOME)) and home != "~/.keras":
        environment["KERAS_HOME"] = home
    own = {"BENCH_CELL": str(cell_file), "BENCH_EVENTS": str(lines), "PYTHONUNBUFFERED": "1", "PATH": search_path()}
    return {**environment, **own}
