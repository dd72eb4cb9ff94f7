"""Tables of precision, recall, F1 and confusion for each class, counted from stored predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.latest import has_several_labels
from benchmark.reporting.statistics.intervals import FRACTION, measure
from benchmark.reporting.table import Advised, Row, Table, TableColumn, Value
from benchmark.reporting.tables.shown import Part, Shown

Counts: TypeAlias = Mapping[tuple[int, int], int]
"""Images by (true class, predicted class), where there are any: of 10,000 classes few of the 10^8 pairs are."""

MOST_COLUMNS = 30
"""With more classes a confusion matrix is too wide to read, and as many of its largest mistakes are listed instead."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class in one set of predictions, from its true positives, false positives and false negatives.

    Attributes:
        precision: TP / (TP + FP), 0..1; None when no image was predicted as this class.
        recall: TP / (TP + FN), 0..1, the accuracy on this class; None when the test set has no image of it.
        f1: 2 TP / (2 TP + FP + FN), 0..1, the harmonic mean of both; None when neither of them is known.
        support: TP + FN, the images of this class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def confusion_counts(*members: Predictions) -> Counter[tuple[int, int]]:
    """The confusion matrix of predictions for the same classes, added up."""
    counts: Counter[tuple[int, int]] = Counter()
    for each in members:
        counts.update(zip(each.labels.tolist(), each.predicted.tolist(), strict=True))
    return counts


def matrix_of(counts: Counts, classes: int) -> list[list[int]]:
    """The counts by [true class][predicted class]; for few classes."""
    return [[counts.get((true, predicted), 0) for predicted in range(classes)] for true in range(classes)]


def class_scores(counts: Counts, names: Sequence[str]) -> list[ClassScores]:
    """The scores of each class, in the order of the classes."""
    labelled, answered = [0] * len(names), [0] * len(names)
    for (true, predicted), count in counts.items():
        labelled[true] += count
        answered[predicted] += count

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    scores = []
    for index, (name, support, predicted) in enumerate(zip(names, labelled, answered, strict=True)):
        correct = counts.get((index, index), 0)
        precision, recall = share(correct, predicted), share(correct, support)
        scores.append(ClassScores(name, precision, recall, share(2 * correct, predicted + support), support))
    return scores


def classes(shown: Shown) -> Part:
    """For each group with predictions a table with a row for each class and one for the mean over classes."""
    tables = [
        _class_table(group, title, shown.load(group.execution_ids))
        for group, title, _ in groups_with_predictions(shown.groups, shown.load)
    ]
    return tables, note_on_unrecorded(shown)


def confusion(shown: Shown) -> Part:
    """For each group with predictions its confusion matrix, the counts of its seeds added up."""
    return [_confusion_table(*each) for each in groups_with_predictions(shown.groups, shown.load)], note_on_unrecorded(
        shown
    )


def note_on_unrecorded(shown: Shown) -> list[str]:
    """Notes that count the results without recorded predictions, and those that have none of one class an image."""
    groups = [group for group in shown.groups if group.cells]
    several = sum(len(group.cells) for group in groups if has_several_labels(group.cells[0]))
    total = sum(len(group.cells) for group in groups)
    missing = total - several - sum(len(shown.load(group.execution_ids)) for group in groups)
    notes = [f"{several} of {total} results are of images with several labels, and this table speaks of one."] * (
        several > 0
    )
    if missing <= 0:
        return notes
    note = f"{missing} of {total} results have no test predictions"
    return [*notes, Advised(f"{note}.", f"{note}; record them with: bench run --rerun")]


def groups_with_predictions(
    groups: Sequence[Group], load: LoadPredictions
) -> Iterable[tuple[Group, str, list[Predictions]]]:
    """Each group whose seeds were tested on the same classes, with its title and their predictions."""
    varying = varying_settings(groups)
    for group in groups:
        members = list(load(group.execution_ids).values())
        if len({each.class_names for each in members}) == 1:
            yield group, ", ".join([*group.names, *group.describe(varying)]), members


def _about(group: Group) -> dict[str, str]:
    return {"dataset": group.dataset, "model": group.model, "strategy": group.strategy}


def _class_table(group: Group, title: str, loaded: Mapping[int, Predictions]) -> Table:
    recorded = [[loaded.get(row["execution_id"]) for row in group.cells_of(seed)] for seed in group.completed]
    members = [known for cells in recorded if (known := [each for each in cells if each is not None])]
    names = members[0][0].class_names
    seeds = [class_scores(confusion_counts(*cells), names) for cells in members]
    rows = [_class_row(scores, len(members[0])) for scores in zip(*seeds, strict=True)]
    means = {
        key: measure((mean for scores in seeds if (mean := _macro_average(scores, key)) is not None), bounds=FRACTION)
        for key in ("precision", "recall", "f1")
    }
    rows.append(
        Row(
            {
                "class": "mean over classes",
                **means,
                "support": sum(each.support for each in seeds[0]) // len(members[0]),
            }
        )
    )
    columns = (
        TableColumn("class", "class", "text", identifies=True),
        TableColumn("precision", "precision", "accuracy", n=len(members)),
        TableColumn("recall", "recall", "accuracy", n=len(members)),
        TableColumn("f1", "F1", "accuracy", n=len(members)),
        TableColumn("support", "test images", "count"),
    )
    note = (
        "Recall is the accuracy on the images of a class, precision the share of right ones among those taken for it."
    )
    return Table("classes", f"Classes: {title}", columns, tuple(rows), _about(group), notes=(note,))


def _class_row(scores: Sequence[ClassScores], counted: int) -> Row:
    """The row of a class from its scores of each seed; in the first of these each image was counted so many times."""
    cells: dict[str, Value] = {"class": scores[0].name, "support": scores[0].support // counted}
    for key in ("precision", "recall", "f1"):
        values = [getattr(each, key) for each in scores]
        cells[key] = measure((value for value in values if value is not None), bounds=FRACTION)
    return Row(cells)


def _macro_average(scores: Sequence[ClassScores], key: str) -> float | None:
    """The mean over the classes among labels or predictions; None without any. Of these an unknown score counts as 0.

    This is scikit-learn's `average="macro"` with `zero_division=0` and its own choice of `labels`:
    https://scikit-learn.org/stable/modules/generated/sklearn.metrics.precision_recall_fscore_support.html
    """
    values = [getattr(each, key) or 0.0 for each in scores if each.f1 is not None]
    return sum(values) / len(values) if values else None


def _confusion_table(group: Group, title: str, members: Sequence[Predictions]) -> Table:
    names = members[0].class_names
    counts = confusion_counts(*members)
    cells = "seeds" if len(members) == len(group.completed) else "cells"
    added = f", the counts of {len(members)} {cells} added up" if len(members) > 1 else ""
    title = f"Confusion: {title}"
    if len(names) > MOST_COLUMNS:
        note = f"The most frequent mistakes among {len(names)} classes{added}."
        return Table("confusion", title, _MISTAKES, _mistakes(counts, names), _about(group), notes=(note,))
    columns = (
        TableColumn("true", "true class", "text", identifies=True),
        *(TableColumn(f"predicted_{index}", name, "count") for index, name in enumerate(names)),
    )
    rows = tuple(
        Row({"true": name, **{f"predicted_{index}": count for index, count in enumerate(row)}})
        for name, row in zip(names, matrix_of(counts, len(names)), strict=True)
    )
    return Table("confusion", title, columns, rows, _about(group), notes=(f"Columns are predicted classes{added}.",))


_MISTAKES = (
    TableColumn("true", "true class", "text", identifies=True),
    TableColumn("predicted", "predicted class", "text", identifies=True),
    TableColumn("count", "images", "count"),
)


def _mistakes(counts: Counts, names: Sequence[str]) -> tuple[Row, ...]:
    """The most frequent mistakes first; of equally frequent ones, in the order of the classes."""
    mistakes = [(-count, true, predicted) for (true, predicted), count in counts.items() if true != predicted]
    return tuple(
        Row({"true": names[true], "predicted": names[predicted], "count": -count})
        for count, true, predicted in sorted(mistakes)[:MOST_COLUMNS]
    )
