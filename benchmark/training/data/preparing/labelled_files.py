"""Prepares a folder of images whose labels stand in a table; `catalog/source_files/label_tables.py` describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.image_folders import composed, some
from benchmark.catalog.source_files.label_tables import (
    LabelTable,
    LabelTableError,
    listed_files,
    read_label_table,
    table_path,
)
from benchmark.catalog.source_files.split_names import SPLITS, TEST, TRAIN, VALIDATION
from benchmark.errors import DataError
from benchmark.training.data.preparing.decoding import write_images
from benchmark.training.data.preparing.sources import (
    NO_VALIDATION,
    DatasetRequest,
    SourceSummary,
    cause_of_absence,
    hold_out_test,
    save_labels,
)


def prepare_labelled_files(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the arrays of a prepared dataset into `directory`; images follow each other as in the table.

    Classes are numbered in the order of their names, or of `class_names`. Without a column `split`, and where all images
    are for training, a share is split off for the test set, always the same.

    Raises:
        DataError: The table or images are missing, or not as they should be.
    """
    root, labels_file = Path(request.location or ""), str(request.labels_file)
    try:
        table = read_label_table(table_path(root, labels_file), request.groups)
        given = None if request.class_names is None else [composed(name) for name in request.class_names]
        table.check_labels(given, multi_label=request.multi_label)
        files = listed_files(root, table)
    except LabelTableError as error:
        raise DataError(f"{request.source}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(
            f"{request.source}: expected a table of labels {labels_file} in {root}, found none; put it there, or correct "
            "labels_file (relative to the folder of images) or the path (relative to the matrix file)"
        ) from error
    except OSError as error:
        raise DataError(f"{request.source}: {cause_of_absence(error)}") from error
    names = given or table.class_names
    if len(names) < 2:
        raise DataError(f"{request.source}: expected at least two classes in {table.path}, found {some(names)}")
    labels = _encoded(table, names, request)
    group_names = sorted(set(table.groups))
    groups = np.searchsorted(group_names, table.groups) if table.groups else None
    parts, notes = _parts(table, labels, groups, names, request)
    for part, rows in parts.items():
        save_labels(directory, part, labels[rows], None if groups is None or part == "validation" else groups[rows])
    notes += write_images({part: [files[index] for index in rows] for part, rows in parts.items()}, request, directory)
    return SourceSummary(names, (*_similar(names, request), *notes))


def _encoded(table: LabelTable, names: Sequence[str], request: DatasetRequest) -> NDArray[Any]:
    """Labels as integers [n], or as rows of 0 and 1 [n, classes] where an image may have several."""
    numbers = {name: number for number, name in enumerate(names)}
    if not request.multi_label:
        for row, labels in enumerate(table.labels):
            if len(labels) > 1:
                raise DataError(
                    f"{request.source}: {table.place(row)}: expected one label, found {len(labels)}; set multi_label = true where "
                    "images may have several"
                )
        return np.array([numbers[labels[0]] for labels in table.labels], dtype=np.int32)
    rows = np.zeros((len(table.labels), len(names)), dtype=np.uint8)
    for row, labels in enumerate(table.labels):
        rows[row, [numbers[label] for label in labels]] = 1
    return rows


def _parts(
    table: LabelTable, labels: NDArray[Any], groups: NDArray[Any] | None, names: Sequence[str], request: DatasetRequest
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """The rows of each part, and what is to be said of others."""
    notes = []
    splits = np.array(table.splits or [TRAIN] * len(labels))
    rows = {split: np.flatnonzero(splits == split) for split in SPLITS}
    if not len(rows[TRAIN]):
        raise DataError(f"{request.source}: expected images of the split train in {table.path}, found none")
    test_split = next((split for split in (TEST, VALIDATION) if len(rows[split])), None)
    parts = {"train": rows[TRAIN]}
    if test_split is None:
        kept, held_out = hold_out_test(labels, request, names, groups)
        parts = {"train": kept, "test": held_out}
    else:
        parts["test"] = rows[test_split]
        if request.test_fraction is not None:
            notes.append(f"{request.source}: test_fraction is not used, because there is a split {test_split}")
    own = rows[VALIDATION] if test_split == TEST else rows[VALIDATION][:0]
    if request.validation == "source":
        if not len(own):
            expected = "images of the split val beside those of test"
            raise DataError(NO_VALIDATION.format(source=request.source, expected=expected))
        parts["validation"] = own
    elif len(own):
        notes.append(f"{request.source}: {len(own)} images of the split val are not used")
    if groups is not None:
        _check_groups(parts, table, groups, request)
    untrained = [name for name, count in zip(names, _counts(labels[parts["train"]], names), strict=True) if not count]
    if untrained:
        raise DataError(
            f"{request.source}: expected training images of every class in {table.path}, found none of {some(untrained)}; add "
            "some, or leave the class out"
        )
    return parts, notes


def _counts(labels: NDArray[Any], names: Sequence[str]) -> list[int]:
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(names))
    return [int(count) for count in counts]


def _check_groups(
    parts: dict[str, NDArray[np.int64]], table: LabelTable, groups: NDArray[Any], request: DatasetRequest
) -> None:
    """Refuses a column `split` that divides a group."""
    homes: dict[int, tuple[str, int]] = {}
    for part, rows in parts.items():
        for row, group in zip(rows.tolist(), groups[rows].tolist(), strict=True):
            other, line = homes.setdefault(group, (part, row))
            if other != part:
                raise DataError(
                    f"{request.source}: {table.place(row)}: the group {table.groups[row]!r} of `{request.groups}` is in {part} "
                    f"here and in {other} in line {table.lines[line]}: expected each group in one split; correct the column "
                    "split, or leave it out to have it made"
                )


def _similar(names: Sequence[str], request: DatasetRequest) -> list[str]:
    """A note on labels that differ in case alone, which is mostly a slip."""
    by_lower: dict[str, list[str]] = {}
    for name in names:
        by_lower.setdefault(name.lower(), []).append(name)
    alike = [" and ".join(each) for each in by_lower.values() if len(each) > 1]
    return [f"{request.source}: labels that differ in case alone are different classes: {some(alike)}"] if alike else []
