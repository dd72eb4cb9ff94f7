from __future__ import annotations

import dataclasses
import hashlib
import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reporting_samples import row
from results_samples import predictions
from scheduling_plans import fake_cell

from benchmark.errors import StorageError
from benchmark.reporting.predictions.stored_predictions import Predictions, decode
from benchmark.reporting.predictions.tested_datasets import note_on_untested
from benchmark.reporting.report import build_report
from benchmark.reporting.tables.per_class import MOST_COLUMNS, class_scores, confusion_counts, matrix_of
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import FORMATS, render


def decoded(*arguments, **options):
    return decode(predictions(*arguments, **options))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_scores_are_those_of_scikit_learn(pairs):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, predicted = zip(*pairs, strict=True)
    counts = confusion_counts(decoded(labels, predicted, "abcd"))
    assert matrix_of(counts, 4) == confusion_matrix(labels, predicted, labels=range(4)).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=np.nan)
    for index, found in enumerate(class_scores(counts, "abcd")):
        assert found.support == expected[3][index]
        for value, column in zip((found.precision, found.recall, found.f1), expected, strict=False):
            other = column[index]
            assert (value is None and (np.isnan(other) or other == 0)) or value == pytest.approx(other)


@example([(0, 0), (1, 1)])  # two classes are absent from labels and predictions
@example([(0, 0), (1, 2)])  # one is absent from the labels alone, one from the predictions alone
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_mean_over_classes_is_the_macro_average_of_scikit_learn(pairs):
    from sklearn.metrics import precision_recall_fscore_support

    labels, predicted = zip(*pairs, strict=True)
    expected = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    (table,) = report({0: predictions(labels, predicted, "abcd")}, "classes").tables
    mean = table.rows[-1].cells
    assert [mean[key].mean for key in ("precision", "recall", "f1")] == pytest.approx(list(expected[:3]))


def test_what_cannot_be_known_is_none():
    cat, dog, eel = class_scores(
        confusion_counts(decoded((0, 1), (0, 0), ("cat", "dog", "eel"))), ("cat", "dog", "eel")
    )
    assert (cat.precision, cat.recall, cat.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (dog.precision, dog.recall, dog.f1, dog.support) == (None, 0.0, 0.0, 1)
    assert (eel.precision, eel.recall, eel.f1, eel.support) == (None, None, None, 0)


def test_ten_thousand_classes_take_megabytes_in_every_table():
    names, labels = tuple(map(str, range(10_000))), np.arange(10_000)
    predicted = np.where(labels % 100, labels, (labels + 1) % 10_000)
    # no network has told its probabilities: 10,000 images of 10,000 classes have 400 MB of them
    member = Predictions(labels, labels, predicted, np.zeros((0, 0), np.float32), names)
    tracemalloc.start()
    scores = class_scores(confusion_counts(member), names)
    rows = [{**row(seed=seed), "execution_id": seed} for seed in range(2)]
    tables = build_report(
        rows,
        [],
        None,
        ReportOptions(tables=("classes", "confusion")),
        predictions=lambda ids: dict.fromkeys(ids, member),
    ).tables
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (scores[100].recall, scores[101].precision, scores[102].f1) == (0.0, 0.5, 1.0)
    assert [len(table.rows) for table in tables] == [10_001, MOST_COLUMNS]
    assert tables[1].rows[0].cells == {"true": "0", "predicted": "1", "count": 2}
    assert peak < 100 << 20


def report(stored, *tables, **options):
    rows = [{**row(seed=seed), "execution_id": seed} for seed in stored]
    load = lambda ids: {key: decode(stored[key]) for key in ids if stored.get(key)}  # noqa: E731
    return build_report(rows, [], None, ReportOptions(tables=tables, **options), predictions=load)


STORED = {0: predictions((0, 0, 1, 1), (0, 1, 1, 1)), 1: predictions((0, 0, 1, 1), (0, 0, 1, 1))}


def test_classes_are_means_over_seeds_with_their_interval():
    (table,) = report(STORED, "classes").tables
    cat, dog, mean = table.rows
    assert table.title == "Classes: digits, simple_cnn, scratch"
    assert (cat.cells["class"], dog.cells["class"], mean.cells["class"]) == ("cat", "dog", "mean over classes")
    assert cat.cells["recall"].values == (0.5, 1.0)
    assert dog.cells["precision"].values == pytest.approx((2 / 3, 1.0))
    assert mean.cells["recall"].values == (0.75, 1.0)
    assert (cat.cells["support"], mean.cells["support"]) == (2, 4)


def test_confusion_adds_the_seeds_up():
    (table,) = report(STORED, "confusion").tables
    assert [[each.cells[f"predicted_{index}"] for index in range(2)] for each in table.rows] == [[3, 1], [0, 4]]
    assert [column.title for column in table.columns] == ["true class", "cat", "dog"]
    assert "2 seeds added up" in table.notes[0]


def test_of_many_classes_the_most_frequent_mistakes_are_listed():
    names = [f"class {index}" for index in range(MOST_COLUMNS + 1)]
    (table,) = report({0: predictions((0, 0, 5, 7), (1, 1, 6, 7), names)}, "confusion").tables
    assert [tuple(each.cells.values()) for each in table.rows] == [("class 0", "class 1", 2), ("class 5", "class 6", 1)]


@pytest.mark.parametrize("output_format", FORMATS)
def test_they_are_written_in_every_format(output_format):
    hostile = {0: predictions(names=("=cat|<b>", "\x1b[31mdog"))}
    text = render(report(hostile, "classes", "confusion"), output_format)
    assert "\x1b" not in text
    assert "<b>" not in text or output_format not in {"html", "markdown"}
    if output_format == "json":
        assert {table["name"] for table in json.loads(text)["tables"]} == {"classes", "confusion"}


def test_results_without_predictions_are_counted_in_a_note():
    found = report({**STORED, 2: None}, "classes")
    assert any(note.startswith("1 of 3 results have no test predictions") for note in found.notes)
    assert len(found.tables) == 1


def test_of_images_with_several_labels_a_class_is_tested_where_any_image_has_it():
    member = dataclasses.replace(decoded((0, 0), (0, 0), "abc"), labels=np.array([[1, 0, 1], [1, 0, 0]]))
    assert note_on_untested({"own": member}) == ["own: no test image of b, so that nothing can be measured there"]


def test_they_are_shown_only_when_asked_for():
    assert {table.name for table in report(STORED).tables} == {"summary"}


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"not an archive"])
def test_predictions_that_were_changed_together_with_their_digest_are_damage_of_the_database(content):
    row = dataclasses.replace(
        predictions((0, 1), (0, 1), "ab"), content=content, sha256=hashlib.sha256(content).hexdigest()
    )
    with pytest.raises(StorageError, match="changed by hand"):
        decode(row)


@pytest.mark.parametrize(
    ("source", "labels", "expected"),
    [
        ("folder:own", (0, 0, 2), ["digits: no test image of dog, so that nothing can be measured there"]),
        ("npz:own.npz", (1, 1), ["digits: no test image of cat, eel, so that nothing can be measured there"]),
        ("tfds:own", (0, 1, 2), []),
        ("digits", (0, 0, 2), []),
    ],
)
def test_every_report_names_the_classes_of_a_users_data_that_were_not_tested(source, labels, expected):
    cell = fake_cell()
    spec = dataclasses.replace(cell, data=dataclasses.replace(cell.data, source=source)).to_dict()
    rows = [{**row(seed=seed), "execution_id": seed, "spec": spec} for seed in (1, 2)]
    stored = {seed: decoded(labels, labels, ("cat", "dog", "eel")) for seed in (1, 2)}
    asked: list[int] = []

    def load(ids):
        asked.extend(ids)
        return {key: stored[key] for key in ids}

    notes = build_report(rows, [], None, ReportOptions(), predictions=load).notes
    assert [note for note in notes if "no test image" in note] == expected
    assert len(asked) <= 1
