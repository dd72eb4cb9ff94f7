"""Tables of calibration: how far the probabilities of each group can be believed, from stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.prediction_metrics import BINS, brier_score, calibration_error, reliability, shares
from benchmark.reporting.predictions.best_probabilities import BestProbabilities, note_on_best
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.statistics.intervals import FRACTION, measure
from benchmark.reporting.table import Row, Table, TableColumn, Tally
from benchmark.reporting.tables.per_class import groups_with_predictions, note_on_unrecorded
from benchmark.reporting.tables.place_columns import place_cells, place_columns
from benchmark.reporting.tables.shown import Part, Shown

_NOTE = (
    f"ECE is the expected calibration error: the mean gap between confidence and accuracy over {BINS} bins of equal width "
    "of the confidence in the predicted class; it depends on the bins. Overconfidence is mean confidence minus accuracy. "
    "Brier is the squared distance of the probabilities from the truth, summed over the classes (0 to 2). Lower is better."
)


def calibration(shown: Shown) -> Part:
    """A table with a row for each group with predictions, then a reliability curve of each as a table of bins."""
    varying = shown.varying
    known = [
        (group, title, [_with_shares(each) for each in members])
        for group, title, members in groups_with_predictions(shown.groups, shown.load)
    ]
    if not known:
        return [], note_on_unrecorded(shown)
    columns = (
        *place_columns(varying),
        TableColumn("n", "n", "count", identifies=True),
        TableColumn("ece", "ECE", "accuracy"),
        TableColumn("overconfidence", "overconfidence", "accuracy"),
        TableColumn("brier", "Brier", "loss"),
    )
    rows = [_row(group, members, varying) for group, _, members in known]
    stored = (each.probabilities for _, _, members in known for each in members)
    notes = (_NOTE, *note_on_best(stored, "Brier was computed from all of them when the cell ended"))
    table = Table("calibration", "Calibration", columns, tuple(rows), notes=notes)
    return [table, *(_bins(group, title, members) for group, title, members in known)], note_on_unrecorded(shown)


def _with_shares(member: Predictions) -> Predictions:
    """Predictions whose probabilities sum to 1 for each image."""
    stored = member.probabilities
    divided = stored.divided() if isinstance(stored, BestProbabilities) else shares(stored)
    return replace(member, probabilities=divided)


def _row(group: Group, members: Sequence[Predictions], varying: Sequence[str]) -> Row:
    scores = [_scores(each) for each in members]
    errors, gaps, briers = zip(*scores, strict=True)
    return Row(
        {
            **place_cells(group, varying),
            "n": Tally(len(members), max(len(members), group.planned)),
            "ece": measure(errors, bounds=FRACTION),
            "overconfidence": measure(gaps),
            "brier": measure(briers, bounds=(0.0, 2.0)),
        }
    )


def _scores(member: Predictions) -> tuple[float, float, float]:
    right = member.predicted == member.labels
    error = calibration_error(reliability(member.confidence, right))
    gap = float(member.confidence.mean(dtype="float64") - right.mean())
    stored = member.probabilities
    if isinstance(stored, BestProbabilities):
        return error, gap, stored.metrics["brier"] or 0.0
    return error, gap, brier_score(stored, member.labels)


_BINS = (
    TableColumn("low", "confidence above", "accuracy", identifies=True),
    TableColumn("high", "up to", "accuracy", identifies=True),
    TableColumn("images", "images", "count"),
    TableColumn("confidence", "mean confidence", "accuracy"),
    TableColumn("accuracy", "accuracy", "accuracy"),
)


def _bins(group: Group, title: str, members: Sequence[Predictions]) -> Table:
    """The reliability curve of all seeds of a group together."""
    import numpy as np

    confidence = np.concatenate([each.confidence for each in members])
    right = np.concatenate([each.predicted == each.labels for each in members])
    rows = tuple(
        Row({column.key: getattr(each, column.key) for column in _BINS}) for each in reliability(confidence, right)
    )
    about = {"dataset": group.dataset, "model": group.model, "strategy": group.strategy}
    return Table("calibration", f"Reliability: {title}", _BINS, rows, about)
