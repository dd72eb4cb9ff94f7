"""What cells make of each class: precision, recall, F1 and confusion, counted from stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.predictions import Predictions
from benchmark.reporting.rows.varying_settings import describe
from benchmark.reporting.statistics import measure
from benchmark.reporting.table import Column, Row, Table, Value

Load: TypeAlias = Callable[[Iterable[int]], Mapping[int, Predictions]]
"""Stored predictions by execution id; executions without any are left out."""

Counts: TypeAlias = Sequence[Sequence[int]]
"""Images by [true class][predicted class]."""

MOST_COLUMNS = 30
"""With more classes than this a confusion matrix cannot be read any more, and its largest mistakes are listed."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class of one set of predictions, TP, FP and FN being its right, wrongly taken and missed images.

    Attributes:
        precision: TP / (TP + FP); None when no image was taken for this class.
        recall: TP / (TP + FN), the accuracy on this class; None when the test set has no image of it.
        f1: 2 TP / (2 TP + FP + FN), the harmonic mean of both; None when neither of them is known.
        support: TP + FN, the images of this class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def confusion_counts(predictions: Predictions) -> list[list[int]]:
    """How often each true class (row) was taken for each class (column)."""
    import numpy as np

    classes = len(predictions.class_names)
    places = predictions.labels * classes + predictions.predicted
    return [list(map(int, row)) for row in np.bincount(places, minlength=classes**2).reshape(classes, classes)]


def class_scores(counts: Counts, names: Sequence[str]) -> list[ClassScores]:
    """The scores of each class, in the order of the classes."""
    taken = [sum(column) for column in zip(*counts, strict=True)]
    found = []
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        right, support = row[index], sum(row)
        found.append(
            ClassScores(
                name,
                _share(right, taken[index]),
                _share(right, support),
                _share(2 * right, taken[index] + support),
                support,
            )
        )
    return found


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def class_tables(groups: Sequence[Group], load: Load) -> list[Table]:
    """For each group with predictions a table with a row for each class and one for the mean over classes."""
    return [_class_table(group, title, found) for group, title, found in _with_predictions(groups, load)]


def confusion_tables(groups: Sequence[Group], load: Load) -> list[Table]:
    """For each group with predictions its confusion matrix, the counts of its seeds added up."""
    return [_confusion_table(group, title, found) for group, title, found in _with_predictions(groups, load)]


def note_on_unrecorded(groups: Sequence[Group], load: Load) -> list[str]:
    """One note that counts results whose predictions nobody recorded."""
    total = sum(len(group.completed) for group in groups)
    missing = total - sum(len(load(_ids(group))) for group in groups)
    if not missing:
        return []
    return [f"{missing} of {total} results have no test predictions; record them with: bench run --rerun"]


def _with_predictions(groups: Sequence[Group], load: Load) -> Iterable[tuple[Group, str, list[Predictions]]]:
    varying = varying_settings(groups)
    for group in groups:
        found = list(load(_ids(group)).values())
        if len({each.class_names for each in found}) == 1:
            settings = [f"{name} {describe(group.settings[name])}" for name in varying if name in group.settings]
            yield group, ", ".join([*group.names, *settings]), found


def _ids(group: Group) -> list[int]:
    return [row["execution_id"] for row in group.completed.values()]


def _about(group: Group) -> dict[str, str]:
    return {"dataset": group.dataset, "model": group.model, "strategy": group.strategy}


def _class_table(group: Group, title: str, found: Sequence[Predictions]) -> Table:
    names = found[0].class_names
    seeds = [class_scores(confusion_counts(each), names) for each in found]
    rows = [_class_row(scores) for scores in zip(*seeds, strict=True)]
    means = {key: measure(_mean_over(scores, key) for scores in seeds) for key in ("precision", "recall", "f1")}
    rows.append(Row({"class": "mean over classes", **means, "support": sum(each.support for each in seeds[0])}))
    columns = (
        Column("class", "class", "text", identifies=True),
        Column("precision", "precision", "accuracy", n=len(found)),
        Column("recall", "recall", "accuracy", n=len(found)),
        Column("f1", "F1", "accuracy", n=len(found)),
        Column("support", "test images", "count"),
    )
    note = (
        "Recall is the accuracy on the images of a class, precision the share of right ones among those taken for it."
    )
    return Table("classes", f"Classes: {title}", columns, tuple(rows), _about(group), notes=(note,))


def _class_row(scores: Sequence[ClassScores]) -> Row:
    cells: dict[str, Value] = {"class": scores[0].name, "support": scores[0].support}
    for key in ("precision", "recall", "f1"):
        values = [getattr(each, key) for each in scores]
        cells[key] = measure(value for value in values if value is not None)
    return Row(cells)


def _mean_over(scores: Sequence[ClassScores], key: str) -> float:
    """Over the classes; what cannot be known of a class counts as 0, as in scikit-learn's macro average."""
    return sum(getattr(each, key) or 0.0 for each in scores) / len(scores)


def _confusion_table(group: Group, title: str, found: Sequence[Predictions]) -> Table:
    names = found[0].class_names
    seeds = [confusion_counts(each) for each in found]
    counts = [[sum(cell) for cell in zip(*rows, strict=True)] for rows in zip(*seeds, strict=True)]
    added = f", the counts of {len(found)} seeds added up" if len(found) > 1 else ""
    title = f"Confusion: {title}"
    if len(names) > MOST_COLUMNS:
        note = f"The most frequent mistakes among {len(names)} classes{added}."
        return Table("confusion", title, _MISTAKES, _mistakes(counts, names), _about(group), notes=(note,))
    columns = (
        Column("true", "true class", "text", identifies=True),
        *(Column(f"predicted_{index}", name, "count") for index, name in enumerate(names)),
    )
    rows = tuple(
        Row({"true": name, **{f"predicted_{index}": count for index, count in enumerate(row)}})
        for name, row in zip(names, counts, strict=True)
    )
    return Table("confusion", title, columns, rows, _about(group), notes=(f"Columns are predicted classes{added}.",))


_MISTAKES = (
    Column("true", "true class", "text", identifies=True),
    Column("predicted", "predicted class", "text", identifies=True),
    Column("count", "images", "count"),
)


def _mistakes(counts: Counts, names: Sequence[str]) -> tuple[Row, ...]:
    wrong = [
        (count, true, taken)
        for true, row in enumerate(counts)
        for taken, count in enumerate(row)
        if count and true != taken
    ]
    largest = sorted(wrong, key=lambda one: (-one[0], one[1], one[2]))[:MOST_COLUMNS]
    return tuple(
        Row({"true": names[true], "predicted": names[taken], "count": count}) for count, true, taken in largest
    )
