"""Ensembles: the averaged probabilities of several cells, from stored predictions alone, as rows of the summary.

Of several groups (models, strategies, settings) one cell each is averaged seed by seed, so that the ensemble has an
interval like any other row; of a single group its seeds are averaged, which gives one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.matrix.recipes.loss import CROSS_ENTROPY
from benchmark.matrix.report_spec import EnsembleSpec
from benchmark.matrix.selection import NAME_KEYS, parse_selection
from benchmark.matrix.settings import cell_settings
from benchmark.reporting.predictions.best_probabilities import note_on_best
from benchmark.reporting.predictions.stored_predictions import (
    LoadPredictions,
    Predictions,
    average_scores,
    share_test_set,
)
from benchmark.reporting.rows.flat_settings import settings_of
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import cell_of
from benchmark.reporting.table import Advised

_ON_AVERAGES = "ensembles take the rest as shared equally by the other classes"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One ensemble and its scores.

    Attributes:
        datasets, models: The distinct names of its members.
        label: The name of its row.
        members: Cells in each average.
        values: The score of each average, by metric (`test_accuracy`, `test_loss`, `tta_accuracy`, `tta_loss`,
            `parameters`); an unknown metric is absent.
        notes: What a reader must know of the probabilities.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    label: str
    members: int
    values: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()


def requested_ensembles(
    groups: Sequence[Group], specs: Sequence[EnsembleSpec], load: LoadPredictions
) -> tuple[list[Ensemble], list[str]]:
    """The ensembles of `[report]`, and a note for each that cannot be computed."""
    ensembles: list[Ensemble] = []
    notes: list[str] = []
    for spec in specs:
        result = _ensemble(_selected(groups, spec), spec.label, load)
        if isinstance(result, Ensemble):
            ensembles.append(result)
        else:
            notes.append(result.behind(f"Ensemble {spec.label or ' or '.join(spec.cells)}: "))
    return ensembles, notes


def seed_ensembles(groups: Sequence[Group], load: LoadPredictions) -> list[Ensemble]:
    """For each group the ensemble of its seeds, where all of several seeds have predictions."""
    results = [_ensemble([group], f"{group.strategy}, seeds averaged", load) for group in groups]
    return [result for result in results if isinstance(result, Ensemble)]


def _selected(groups: Sequence[Group], spec: EnsembleSpec) -> list[Group]:
    """The groups with only those of their results that the selection matches."""
    names = {key: {getattr(group, key) for group in groups} for key in NAME_KEYS}
    selection = parse_selection(spec.cells).exact(names)
    chosen = []
    for group in groups:
        rows = {
            seed: row
            for seed, row in group.completed.items()
            if selection.matches({**row, **(cell_settings(cell_of(row)) if row.get("spec") else {})})
        }
        if rows:
            chosen.append(replace(group, completed=rows, missing=()))
    return chosen


def _ensemble(groups: Sequence[Group], label: str, load: LoadPredictions) -> Ensemble | Advised:
    """The ensemble, or the reason why there is none, in words."""
    rows = [row for group in groups for row in group.cells]
    if len(rows) < 2:
        return Advised(f"expected several finished cells, found {len(rows)}.")
    loaded = load(row["execution_id"] for row in rows)
    unrecorded = len(rows) - len(loaded)
    if unrecorded:
        reason = f"{unrecorded} of its {len(rows)} cells have no test predictions"
        return Advised(f"{reason}.", f"{reason}; record them with: bench run --rerun.")
    if not share_test_set(list(loaded.values())):
        return Advised("its cells were not tested on the same images and classes.")
    # of several groups the cells of every seed that all have, of one group all cells
    common = sorted(set.intersection(*(set(group.completed) for group in groups)))
    teams = (
        [[row for group in groups for row in group.cells_of(seed)] for seed in common] if len(groups) > 1 else [rows]
    )
    if not teams:
        return Advised("its groups have no seed in common.")
    has_other_loss = any(settings_of(row).get("loss", CROSS_ENTROPY) != CROSS_ENTROPY for row in rows)
    values = [_scores([loaded[row["execution_id"]] for row in team]) for team in teams]
    if has_other_loss:  # the loss of an average is known for the cross-entropy alone
        values = [{name: value for name, value in each.items() if not name.endswith("_loss")} for each in values]
    sizes = [sum(row["parameters"] or 0 for row in team) for team in teams]
    known = set.intersection(*(set(each) for each in values))
    return Ensemble(
        datasets=tuple(dict.fromkeys(group.dataset for group in groups)),
        models=tuple(dict.fromkeys(group.model for group in groups)),
        label=label or f"ensemble of {len(teams[0])}",
        members=len(teams[0]),
        values={**{key: tuple(each[key] for each in values) for key in known}, "parameters": tuple(map(float, sizes))},
        notes=tuple(note_on_best((each.probabilities for each in loaded.values()), _ON_AVERAGES)),
    )


def _scores(members: Sequence[Predictions]) -> dict[str, float]:
    labels = members[0].labels
    names = ("test_accuracy", "test_loss", "tta_accuracy", "tta_loss")
    scores: tuple[float, ...] = average_scores([each.probabilities for each in members], labels)
    views = [each.tta_probabilities for each in members if each.tta_probabilities is not None]
    if len(views) == len(members):
        scores += average_scores(views, labels)
    return dict(zip(names, scores, strict=False))
