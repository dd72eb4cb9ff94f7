"""Prepares a user's folder of images in class folders; `catalog/image_folders.py` describes the layouts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.catalog.image_folders import FolderLayout, find_layout, image_names, subfolders
from benchmark.layout import array_file
from benchmark.training.data.images import decode_image
from benchmark.training.data.sources import DatasetRequest, SourceSummary, hold_out_test
from benchmark.training.process.failures import DataError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _ImageFile:
    path: Path
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
    except OSError as error:
        raise DataError(
            f"{request.source}: expected a folder of class folders at {root}, got: {error.strerror}; put it there, or "
            "correct the path (relative ones start at the matrix file)"
        ) from error
    if test is None:
        labels = np.array([file.label for file in training])
        kept, held_out = hold_out_test(labels, request, names)
        training, test = [training[index] for index in kept], [training[index] for index in held_out]
    _check_every_class(training, names, folders)
    notes += [f"{request.source}: the folder {name} is not used" for name in folders.unused]
    if folders.test and request.test_fraction is not None:
        notes.append(f"{request.source}: test_fraction is not used, for there is a folder {folders.test.name}")
    problems: list[str] = []
    for part, files in (("train", training), ("test", test)):
        problems += _write(files, part, request, directory)
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError("\n".join(problems[:_SHOWN]) + more + "\nremove or replace what is damaged, and run again")
    return SourceSummary([unicodedata.normalize("NFC", name) for name in names], tuple(notes))


def _class_names(folders: FolderLayout, request: DatasetRequest) -> list[str]:
    names = subfolders(folders.train)
    if len(names) < 2:
        raise DataError(
            f"{request.source}: expected at least two class folders in {folders.train}, found {names}; each class of "
            "images belongs in a folder of its own"
        )
    if request.class_names is None:
        return names
    if sorted(request.class_names) != names:
        unmatched = sorted({*names} ^ {*request.class_names})
        raise DataError(
            f"{request.source}: expected class_names to name the folders of {folders.train}, all of them once; these "
            f"stand on one side only: {', '.join(unmatched)[:300]}"
        )
    return list(request.class_names)


def _image_files(folder: Path, names: Sequence[str], notes: list[str]) -> list[_ImageFile]:
    """All images of the class folders in `folder`; adds to `notes` what was skipped."""
    unknown = [name for name in subfolders(folder) if name not in set(names)]
    if unknown:
        raise DataError(
            f"{folder}: found folders of classes that the training images do not have: {', '.join(unknown)[:300]}; "
            "training and test images must have the same classes"
        )
    image_files, skipped = [], []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            continue
        files, others = image_names(folder / name)
        image_files += [_ImageFile(folder / name / file, label) for file in files]
        skipped += [f"{name}/{other}" for other in others]
    if skipped:
        shown = ", ".join(skipped[:_SHOWN]) + (", …" if len(skipped) > _SHOWN else "")
        notes.append(f"{folder}: {len(skipped)} skipped, hidden or neither JPEG nor PNG: {shown}")
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


def _write(files: Sequence[_ImageFile], part: str, request: DatasetRequest, directory: Path) -> list[str]:
    """Writes images and labels of one part; returns a message for each image that cannot be read."""
    shape = (len(files), *request.shape)
    array = np.lib.format.open_memmap(array_file(directory, f"{part}_images"), "w+", np.uint8, shape)
    problems = []
    for index, file in enumerate(files):
        try:
            array[index] = decode_image(file.path, request.image_size, request.channels)
        except DataError as error:
            problems.append(str(error))
    array.flush()
    labels = np.array([file.label for file in files], dtype=np.int32)
    np.save(array_file(directory, f"{part}_labels"), labels)
    return problems
