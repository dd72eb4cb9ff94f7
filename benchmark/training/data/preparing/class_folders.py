"""Prepares a user's folder of images in class folders; `catalog/source_files/image_folders.py` describes the layouts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.image_folders import (
    FileSequence,
    FolderLayout,
    FoundFile,
    FoundFiles,
    MissingFilesError,
    class_content,
    class_folders,
    composed,
    find_layout,
    some,
)
from benchmark.errors import DataError
from benchmark.training.data.preparing.decoding import write_images
from benchmark.training.data.preparing.labelled_files import prepare_labelled_files
from benchmark.training.data.preparing.sources import (
    NO_VALIDATION,
    DatasetRequest,
    SourceSummary,
    cause_of_absence,
    hold_out_test,
    save_labels,
)

_SHOWN = 5


class _ImageFiles(FileSequence):
    """Image files of several folders: of 1.28 million each has to take few bytes.

    Args:
        folders: The files of each.
        labels: Of all of them, [n].
        rows: Which of them these are, [m]; None for all.
    """

    def __init__(
        self, folders: Sequence[FoundFiles], labels: NDArray[np.int32], rows: NDArray[np.int64] | None = None
    ) -> None:
        self._folders = folders
        self._ends = [*accumulate(map(len, folders))]
        self._all_labels = labels
        self._rows = np.arange(len(labels)) if rows is None else rows

    @property
    def labels(self) -> NDArray[np.int32]:
        """Of these files, [m]."""
        return self._all_labels[self._rows]

    def at(self, positions: NDArray[np.int64]) -> _ImageFiles:
        """The files at some of these positions."""
        return _ImageFiles(self._folders, self._all_labels, self._rows[positions])

    def __len__(self) -> int:
        return len(self._rows)

    def file(self, number: int) -> FoundFile:
        row = int(self._rows[number])
        folder = bisect_right(self._ends, row)
        return self._folders[folder][row - (self._ends[folder - 1] if folder else 0)]


def prepare_folder(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the arrays of a prepared dataset into `directory`.

    Classes are numbered in the order of their folders' names, or of `class_names`; images follow each other by class
    and file name. Without a folder of test images a share of each class is split off, always the same.

    Raises:
        DataError: The folder is missing or has another layout, or images in it cannot be read.
    """
    if request.labels_file is not None:
        return prepare_labelled_files(request, directory)
    root = Path(request.location or "")
    notes: list[str] = []
    try:
        folders = find_layout(root)
        names = _class_names(folders, request)
        training = _image_files(folders.train, names, notes)
        test = _image_files(folders.test, names, notes) if folders.test else None
        validation = _validation_files(folders, names, notes, request)
    except MissingFilesError as error:
        raise DataError(f"{request.source}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(
            f"{request.source}: expected a folder of class folders at {root}, found nothing; put it there, or correct the "
            "path (relative ones start at the matrix file)"
        ) from error
    except OSError as error:
        raise DataError(
            f"{request.source}: the folder of class folders {root} cannot be read: {cause_of_absence(error)}"
        ) from error
    if test is None:
        kept, held_out = hold_out_test(training.labels, request, names)
        training, test = training.at(kept), training.at(held_out)
    _check_every_class(training, names, folders)
    unused = [*folders.unused, *([folders.validation.name] if folders.validation and not validation else [])]
    notes += [f"{request.source}: the folder {name} is not used" for name in sorted(unused)]
    if folders.test and request.test_fraction is not None:
        notes.append(f"{request.source}: test_fraction is not used, because there is a folder {folders.test.name}")
    parts = {"train": training, "test": test, **({"validation": validation} if validation else {})}
    for part, files in parts.items():
        save_labels(directory, part, files.labels)
    notes += write_images(parts, request, directory)
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


def _image_files(folder: Path, names: Sequence[str], notes: list[str]) -> _ImageFiles:
    """All images of the class folders in `folder`; adds to `notes` what was skipped."""
    places = class_folders(folder)
    if unknown := places.keys() - names:
        raise DataError(
            f"{folder}: found folders of classes that the training images do not have: {some(unknown)}; "
            "training and test images must have the same classes"
        )
    contents: list[FoundFiles] = []
    labels: list[int] = []
    skipped: list[str] = []
    for label, name in enumerate(names):
        if name not in places:
            continue
        images, others = class_content(places[name])
        contents.append(images)
        labels.append(label)
        skipped += [f"{name}/{other}" for other in others]
    if skipped:
        shown = ", ".join(skipped[:_SHOWN]) + (", …" if len(skipped) > _SHOWN else "")
        notes.append(f"{folder}: {len(skipped)} skipped, hidden or neither JPEG nor PNG by their ending: {shown}")
    files = _ImageFiles(contents, np.repeat(np.array(labels, np.int32), [len(images) for images in contents]))
    if not files:
        raise DataError(f"{folder}: expected JPEG or PNG images in its class folders, found none")
    return files


def _validation_files(
    folders: FolderLayout, names: Sequence[str], notes: list[str], request: DatasetRequest
) -> _ImageFiles | None:
    """The images of the source's own validation split, where they are asked for."""
    if request.validation != "source":
        return None
    if folders.validation is None:
        raise DataError(NO_VALIDATION.format(source=request.source, expected="a folder val beside train and test"))
    return _image_files(folders.validation, names, notes)


def _check_every_class(training: _ImageFiles, names: Sequence[str], folders: FolderLayout) -> None:
    used = set(np.unique(training.labels).tolist())
    empty = [name for label, name in enumerate(names) if label not in used]
    if empty:
        raise DataError(
            f"{folders.train}: expected JPEG or PNG images in every class folder, found none in {', '.join(empty)[:300]}; "
            "add some, or remove the folder"
        )
