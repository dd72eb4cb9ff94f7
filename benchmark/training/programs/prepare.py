"""Prepares datasets: decodes, resizes and recolours images once, to be shared by all workers as memory-mapped arrays.

A prepared dataset is a folder that is written whole or not at all:

    train_images.npy  uint8 [n, h, w, c], 0..255     test_images.npy
    train_labels.npy  int32 [n]                      test_labels.npy
    validation_images.npy, validation_labels.npy     with `validation = "source"`: the source's own validation split
    train_groups.npy  int32 [n]                      test_groups.npy: with `groups`, the number of each image's group
    meta.json         source, sizes, class names, notes, versions, and the fingerprint: sha256 of the arrays

Where decoded images would take too much (`catalog/prepared_size_limit.py`), they stay compressed, and other files stand in the place
of their array: `images/compressed_images.py`. The fingerprint is of the decoded images all the same.

As a program, `python -m benchmark.training.programs.prepare '{"source": …, "image_size": …, "color": …, "cache_root": …}'`
prints `{"directory": …, "fingerprint": …}` and exits 0, or prints `{"error": …}` and exits 3. Optional keys:
`offline` (no download is tried), `manual_directory` (a folder with the original archives, verified by TFDS) and
`data_directory` (where TFDS keeps its datasets; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`); and of users'
own sources what `catalog/cache.py` `OPTIONS` lists, as the `Data` of a cell has it, and `processes` (how many may decode
images at once). Labels of several classes an image are rows of 0 and 1, uint8 [n, classes].
`{"imagenet": NAME}` instead puts the published weights of a network, verified, into Keras's cache and prints
`{"path": …}`; it too takes `offline` and `manual_directory`. Progress is written to stderr as lines `{"progress": …}`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from benchmark import layout, machine, units
from benchmark.catalog.cache import (
    PREPARATION_VERSION,
    absent_images_note,
    options_of,
    prepared_directory,
    source_state,
)
from benchmark.catalog.facts import prepared_size
from benchmark.catalog.prepared_size_limit import decoded_later, why_too_large
from benchmark.catalog.repeated_images import REPEATED
from benchmark.catalog.source_files.image_folders import looking_once, some
from benchmark.errors import DataError
from benchmark.files import make_own_folder, publish_folder, sha256_of
from benchmark.images.compressed_images import open_array
from benchmark.matrix.reading.definitions import SOURCE_FORMS
from benchmark.training.data.fingerprint import StreamedFingerprint, fingerprint_of, modified_ns, stored_files
from benchmark.training.data.preparing.class_folders import prepare_folder
from benchmark.training.data.preparing.digits import prepare_digits
from benchmark.training.data.preparing.npz import prepare_npz
from benchmark.training.data.preparing.plugin_data import prepare_plugin
from benchmark.training.data.preparing.row_sources import prepare_rows
from benchmark.training.data.preparing.sources import CHANGED_FILES, DatasetRequest, SourceSummary
from benchmark.training.data.preparing.tfds import available, prepare_tfds
from benchmark.training.data.repeated_images_count import repeated_test_images
from benchmark.training.data.stratification import image_counts
from benchmark.training.process.failures import EXIT_DATA_ERROR
from benchmark.training.weights.imagenet import fetch

_RECORDED_PACKAGES = ("numpy", "pillow", "scikit-learn", "tensorflow", "tensorflow-datasets")

_PREPARERS: dict[str, Callable[[DatasetRequest, Path], SourceSummary]] = {
    "digits": prepare_digits,
    "tfds:": prepare_tfds,
    "folder:": prepare_folder,
    "npz:": prepare_npz,
    "plugin:": prepare_plugin,
    "parquet:": prepare_rows,
    "hf:": prepare_rows,
    "webdataset:": prepare_rows,
}
"""By kind of source: writes the four arrays into a folder and returns their class names and notes."""


def prepare(source: str, image_size: int, color: str, cache_root: str | os.PathLike[str], **where_from: Any) -> Path:
    """Prepares a dataset unless it is in the cache, and returns its folder.

    Of several processes that need the same dataset, one prepares it, and the others wait.

    Args:
        source: `digits`, `tfds:NAME`, `folder:PATH` or `npz:PATH`.
        image_size: Height and width in pixels, of sources that are kept in this size.
        color: `grey`, `rgb`, or as `4-channel`.
        cache_root: Root of the cache.
        **where_from: The further fields of `DatasetRequest`.

    Raises:
        DataError: The source is unknown, missing, or damaged; the message names the cure.
        OSError: The cache cannot be written.
    """
    if where_from.get("class_names") is not None:
        where_from["class_names"] = tuple(where_from["class_names"])
    request = DatasetRequest(source, prepared_size(source, image_size), color, **where_from)
    with looking_once():
        return _prepared(request, cache_root)


def _prepared(request: DatasetRequest, cache_root: str | os.PathLike[str]) -> Path:
    directory = _place(request, cache_root)
    # before any lock, so that a finished dataset can be used from a read-only cache
    if is_complete(directory):
        return directory
    if request.source.startswith("tfds:"):
        # what was built only now has another state than what was not there
        available(request, directory.parent)
        directory = _place(request, cache_root)
    make_own_folder(directory.parent, adopt=True)
    with FileLock(layout.lock_file(directory)):
        if not is_complete(directory):
            _build(request, directory, cache_root)
    return directory


def _place(request: DatasetRequest, cache_root: str | os.PathLike[str]) -> Path:
    state = source_state(request.source, options_of(request), request.data_directory)
    return prepared_directory(request.source, request.image_size, request.color, cache_root, state, request.resize)


def is_complete(directory: Path) -> bool:
    """Whether the folder holds a whole prepared dataset: every file, with the size that `meta.json` states."""
    try:
        meta = json.loads((directory / layout.META).read_text(encoding="utf-8"))
        sizes = {key: file.stat().st_size for key, file in stored_files(directory).items()}
        return all(layout.array_files(directory, name) for name in layout.ARRAYS) and sizes == meta["file_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(request: DatasetRequest, directory: Path, cache_root: str | os.PathLike[str]) -> None:
    for leftover in directory.parent.glob(f".{directory.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)  # left by a killed process, since we hold the lock
    aside = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    aside.mkdir()
    try:
        prepare_source = _PREPARERS.get("".join(request.source.partition(":")[:2]))
        if prepare_source is None:
            raise DataError(
                f"unknown data source {request.source!r}: expected {SOURCE_FORMS}; see `bench list datasets`"
            )
        request = replace(request, stream=StreamedFingerprint(aside))
        content = prepare_source(request, aside)
        if _place(request, cache_root) != directory:
            raise DataError(f"{request.location or request.source}: {CHANGED_FILES}")
        meta = json.dumps(_meta(request, aside, content), indent=1).encode()
        (aside / layout.META).write_bytes(meta)
        publish_folder(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _meta(request: DatasetRequest, directory: Path, content: SourceSummary) -> dict[str, Any]:
    names = layout.arrays_in(directory)
    shapes = {name: open_array(directory, name).shape for name in names}
    files = stored_files(directory)
    compressed = [name for name in names if not layout.array_file(directory, name).exists()]
    decoded_bytes = sum(math.prod(shape) for name, shape in shapes.items() if name.endswith("_images"))
    reason = why_too_large(decoded_bytes, directory) or f"would take {units.size(decoded_bytes)}"
    late = [decoded_later(request.source, reason)] if compressed else []
    return {
        "preparation_version": PREPARATION_VERSION,
        "source": request.source,
        "image_size": request.image_size,
        "color": request.color,
        "class_names": content.class_names,
        "notes": [*content.notes, *_absent_classes(request.source, directory, content.class_names), *late],
        "shapes": shapes,
        "file_bytes": {key: file.stat().st_size for key, file in files.items()},
        "modified_ns": modified_ns(directory),
        REPEATED: repeated_test_images(directory, request.digests),
        **({"file_sha256": {key: sha256_of(file) for key, file in files.items()}} if compressed else {}),
        "fingerprint": request.stream.hexdigest() if request.stream and compressed else fingerprint_of(directory),
        "versions": {"python": platform.python_version(), **machine.package_versions(_RECORDED_PACKAGES)},
    }


def _absent_classes(source: str, directory: Path, class_names: Sequence[str]) -> Iterator[str]:
    """Says which classes have no images to train on, or none to be tested on."""
    counts = {
        part: image_counts(np.load(layout.array_file(directory, f"{part}_labels")), len(class_names))
        for part in ("train", "test")
    }
    for part, purpose in (("train", "training"), ("test", "test")):
        if absent := [name for name, count in zip(class_names, counts[part].tolist(), strict=True) if not count]:
            yield absent_images_note(source, purpose, absent)
    if single := [name for name, count in zip(class_names, counts["train"].tolist(), strict=True) if count == 1]:
        yield f"{source}: one training image of {some(single)}, which is never taken for validation"


class _Progress(logging.Handler):
    """Writes log messages as lines `{"progress": …}` to stderr; the scheduler reads the last one."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(json.dumps({"progress": record.getMessage()}) + "\n")
        sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Runs the program: one JSON object as argument, or the path of a file with it, one JSON line on stdout; returns the exit status."""
    text = arguments[0] if arguments[0].startswith("{") else Path(arguments[0]).read_text(encoding="utf-8")
    request = json.loads(text)
    logger = logging.getLogger("benchmark.training")
    logger.addHandler(_Progress())
    logger.setLevel(logging.INFO)
    try:
        with redirect_stdout(sys.stderr):  # TFDS prints what it does
            if "imagenet" in request:
                answer = {"path": str(fetch(request.pop("imagenet"), **request))}
            else:
                directory = prepare(**request)
                meta = json.loads((directory / layout.META).read_text(encoding="utf-8"))
                answer = {"directory": str(directory), "fingerprint": meta["fingerprint"]}
        code = 0
    except (DataError, OSError) as error:
        answer, code = {"error": str(error)}, EXIT_DATA_ERROR
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
