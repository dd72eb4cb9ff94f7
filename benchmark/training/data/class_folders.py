"""Prepares a user's folder of images in class folders; `catalog/image_folders.py` describes the layouts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.image_folders import (
    FolderLayout,
    MissingFilesError,
    class_content,
    class_folders,
    composed,
    find_layout,
    some,
)
from benchmark.layout import array_file
from benchmark.training.data.decoding import CHANGED, DAMAGED, TRANSPARENT, decode_images, problem_of
from benchmark.training.data.images import WHITE
from benchmark.training.data.sources import CHANGED_FILES, DatasetRequest, SourceSummary, hold_out_test, new_images
from benchmark.training.process.failures import DataError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _ImageFile:
    entry: os.DirEntry[str]
    label: int


def prepare_folder(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the four arrays of a prepared dataset into `directory`.

    Classes are numbered in the order of their folders' names, or of `class_names`; images follow each other by class
    and file name. Without a folder of test images a share of each class is split off, always the same.

    Raises:
        DataError: The folder is missing or has another layout, or images in it cannot be read.
    """
    root = Path(request.location or "")
    notes: list[str] = []
    try:
        folders = find_layout(root)
        names = _class_names(folders, request)
        training = _image_files(folders.train, names, notes)
        test = _image_files(folders.test, names, notes) if folders.test else None
    except MissingFilesError as error:
        raise DataError(f"{request.source}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(
            f"{request.source}: expected a folder of class folders at {root}, found nothing; put it there, or correct the "
            "path (relative ones start at the matrix file)"
        ) from error
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
        raise DataError(f"{request.source}: the folder of class folders {root} cannot be read: {where}") from error
    if test is None:
        labels = np.array([file.label for file in training])
        kept, held_out = hold_out_test(labels, request, names)
        training, test = [training[index] for index in kept], [training[index] for index in held_out]
    _check_every_class(training, names, folders)
    notes += [f"{request.source}: the folder {name} is not used" for name in folders.unused]
    if folders.test and request.test_fraction is not None:
        notes.append(f"{request.source}: test_fraction is not used, for there is a folder {folders.test.name}")
    transparent = 0
    damaged: list[Path] = []
    changed: list[str] = []
    for part, files in (("train", training), ("test", test)):
        states = _write(files, part, request, directory)
        transparent += int(np.count_nonzero(states == TRANSPARENT))
        damaged += [Path(files[index].entry) for index in np.flatnonzero(states == DAMAGED)]
        changed += [files[index].entry.path for index in np.flatnonzero(states == CHANGED)]
    if changed:
        raise DataError(f"{some(changed)}: {CHANGED_FILES}")
    if damaged:
        raise DataError(*_damage_message(damaged, request))
    if transparent:
        shown = request.background or f"white ({WHITE}), unless the dataset has a `background`"
        count = len(training) + len(test)
        notes.append(f"{request.source}: {transparent} of {count} images are transparent: shown on {shown}")
    return SourceSummary(names, tuple(notes))


def _class_names(folders: FolderLayout, request: DatasetRequest) -> list[str]:
    names = list(class_folders(folders.train))
    if len(names) < 2:
        raise DataError(
            f"{request.source}: expected at least two class folders in {folders.train}, found {names}; each class of "
            "images belongs in a folder of its own"
        )
    if request.class_names is None:
        return names
    given = [composed(name) for name in request.class_names]
    if sorted(given) != names:
        unmatched = sorted({*names} ^ {*given})
        raise DataError(
            f"{request.source}: expected class_names to name the folders of {folders.train}, all of them once; these "
            f"stand on one side only: {', '.join(unmatched)[:300]}"
        )
    return given


def _image_files(folder: Path, names: Sequence[str], notes: list[str]) -> list[_ImageFile]:
    """All images of the class folders in `folder`; adds to `notes` what was skipped."""
    places = class_folders(folder)
    if unknown := places.keys() - names:
        raise DataError(
            f"{folder}: found folders of classes that the training images do not have: {some(unknown)}; "
            "training and test images must have the same classes"
        )
    image_files, skipped = [], []
    for label, name in enumerate(names):
        if name not in places:
            continue
        images, others = class_content(places[name])
        image_files += [_ImageFile(image, label) for image in images]
        skipped += [f"{name}/{other}" for other in others]
    if skipped:
        shown = ", ".join(skipped[:_SHOWN]) + (", …" if len(skipped) > _SHOWN else "")
        notes.append(f"{folder}: {len(skipped)} skipped, hidden or neither JPEG nor PNG by their ending: {shown}")
    if not image_files:
        raise DataError(f"{folder}: expected JPEG or PNG images in its class folders, found none")
    return image_files


def _check_every_class(training: Sequence[_ImageFile], names: Sequence[str], folders: FolderLayout) -> None:
    used = {file.label for file in training}
    empty = [name for label, name in enumerate(names) if label not in used]
    if empty:
        raise DataError(
            f"{folders.train}: expected JPEG or PNG images in every class folder, found none in {', '.join(empty)[:300]}; "
            "add some, or remove the folder"
        )


def _damage_message(damaged: Sequence[Path], request: DatasetRequest) -> list[str]:
    """What cannot be read: the first on the first line, which may be all that is shown of it."""
    first, *others = [problem_of(path, request) for path in damaged[:_SHOWN]]
    more = len(damaged) - _SHOWN
    count = f" ({len(damaged) - 1} more cannot be read)" if others else ""
    lines = [f"{first}; remove or replace it, and run again{count}", *others]
    return [*lines, f"… and {more} more"] if more > 0 else lines


def _write(files: Sequence[_ImageFile], part: str, request: DatasetRequest, directory: Path) -> NDArray[np.uint8]:
    """Writes images and labels of one part; returns what has become of each image, see `decode_images`."""
    array = new_images(directory, part, len(files), request)
    states = decode_images([file.entry for file in files], array, request, f"{part} images")
    array.flush()
    np.save(array_file(directory, f"{part}_labels"), np.array([file.label for file in files], dtype=np.int32))
    return states
