"""Counts the images of a source without opening any: as published, or by folders, tables of labels and headers of `.npz`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.catalog.facts import SOURCES
from benchmark.catalog.source_files.image_folders import class_content, class_folders, find_layout
from benchmark.catalog.source_files.label_tables import LabelTable, read_label_table, table_path
from benchmark.catalog.source_files.npz_headers import array_facts
from benchmark.catalog.source_files.split_names import TEST, TRAIN, VALIDATION


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """How many images a source has.

    Attributes:
        training: Of its training set; without a test set all there are.
        test: Of its test set; None where a share is split off.
        validation: Of a validation set of its own; 0 without one.
    """

    training: int
    test: int | None
    validation: int = 0

    @property
    def all(self) -> int:
        """Of all sets together."""
        return self.training + (self.test or 0) + self.validation


@cache
def image_counts(
    source: str, location: str | None, classes: tuple[int, ...] | None, labels_file: str | None = None
) -> ImageCounts | None:
    """The images of these classes, or of all; of arrays those of all classes. None where counting needs the images opened.

    A source is counted once in a process: the plan asks for the limit of prepared images and for the forecast.

    Args:
        source: As in `Data`.
        location: The file or folder of a user's source.
        classes: The labels that are kept; None for all.
        labels_file: The table of labels of a folder; None for folders of classes.
    """
    facts = SOURCES.get(source)
    if facts is not None:
        training, test = map(sum, zip(*facts.examples(classes).values(), strict=True))
        return ImageCounts(training, test)
    place = Path(location or "")
    try:
        if labels_file is not None:
            return _of_table(read_label_table(table_path(place, labels_file)), classes)
        if source.startswith("folder:"):
            return _of_folder(place, classes)
        if source.startswith("npz:"):
            return _of_arrays(place)
    except (OSError, ValueError, IndexError):
        return None  # said when the images are prepared
    return None


def _of_folder(place: Path, classes: Sequence[int] | None) -> ImageCounts | None:
    layout = find_layout(place)

    def count(part: Path | None) -> int:
        folders = [*class_folders(part).values()] if part else []
        kept = folders if classes is None else [folders[label] for label in classes if label < len(folders)]
        return sum(len(class_content(folder)[0]) for folder in kept)

    training, test = count(layout.train), count(layout.test) if layout.test else None
    return ImageCounts(training, test, count(layout.validation)) if training else None


def _of_table(table: LabelTable, classes: Sequence[int] | None) -> ImageCounts:
    names = table.class_names
    kept = {*names} if classes is None else {names[label] for label in classes if label < len(names)}
    sets = Counter(
        split
        for split, labels in zip(table.splits or [TRAIN] * len(table.files), table.labels, strict=True)
        if classes is None or not kept.isdisjoint(labels)
    )
    test = next((split for split in (TEST, VALIDATION) if sets[split]), None)
    return ImageCounts(sets[TRAIN], sets[test] if test else None, sets[VALIDATION] if test == TEST else 0)


def _of_arrays(place: Path) -> ImageCounts | None:
    counts = {name: each.shape[0] for name, each in array_facts(place).items() if name.startswith("x")}
    training = counts.get("x_train", counts.get("x", 0))
    return ImageCounts(training, counts.get("x_test"), counts.get("x_val", 0)) if training else None
