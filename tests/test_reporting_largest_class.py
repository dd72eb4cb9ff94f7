"""Unbalanced data do not mislead: the summary names the largest class, and marks what is no better than naming it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.reporting.predictions.tested_datasets import stored_test_sets
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.tables.largest_class import largest_classes, no_better, notes_on_largest_classes


def largest(labels, names=("cat", "dog"), source="folder:own"):
    group = SimpleNamespace(completed={0: {}}, dataset="own", execution_ids=[7], settings={"source": source})
    predictions = SimpleNamespace(labels=np.array(labels), class_names=names, has_several_labels=False)
    return largest_classes(stored_test_sets([group], lambda ids: dict.fromkeys(ids, predictions)))


def test_the_largest_class_is_named_where_it_says_much():
    found = largest([0] * 3 + [1] * 9)
    (note,) = notes_on_largest_classes(found)
    assert note.startswith("own: the largest class is dog, 75.0% of the test images, the test accuracy of a network")
    assert not notes_on_largest_classes(largest([0] * 6 + [1] * 5))
    assert not largest([0] * 3 + [1] * 9, source="digits")


@pytest.mark.parametrize(("accuracies", "marked"), [([0.75, 0.75], True), ([0.7, 0.74], True), ([0.75, 0.77], False)])
def test_a_score_that_is_no_better_is_marked(accuracies, marked):
    remarks = no_better(measure(accuracies), largest([0] * 3 + [1] * 9)["own"])
    assert remarks == (
        ["no better than always naming the largest class (dog, 75.0% of the test images)"] if marked else []
    )
    assert no_better(None, None) == []
