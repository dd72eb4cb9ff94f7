"""The test sets of users' datasets, as stored predictions show them: bench does not know beforehand what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.catalog.facts import SOURCES
from benchmark.catalog.source_files.image_folders import some
from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions
from benchmark.reporting.rows.groups import Group


def stored_test_sets(groups: Sequence[Group], load: LoadPredictions) -> dict[str, Predictions]:
    """The stored predictions of one execution for each dataset of a user that has any, by the dataset's name."""
    chosen: dict[str, int] = {}
    for group in groups:
        if group.completed and group.settings.get("source", "digits") not in SOURCES:
            chosen.setdefault(group.dataset, group.execution_ids[0])
    predictions = load(chosen.values()) if chosen else {}
    return {dataset: predictions[number] for dataset, number in chosen.items() if number in predictions}


def note_on_untested(tested: Mapping[str, Predictions]) -> list[str]:
    """Names the classes that have no test image."""
    notes = []
    for dataset, member in tested.items():
        labels = member.labels.nonzero()[1] if member.has_several_labels else member.labels
        present = set(labels.tolist())
        if absent := [name for label, name in enumerate(member.class_names) if label not in present]:
            notes.append(f"{dataset}: no test image of {some(absent)}, so that nothing can be measured there")
    return notes
