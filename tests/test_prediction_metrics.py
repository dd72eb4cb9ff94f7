"""Metrics of predictions: those of scikit-learn, recorded when a cell ends and computed for older ones."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from reporting_samples import row
from results_samples import begin, cell, predictions, run_cell

from benchmark import __version__
from benchmark.cli.main import bench
from benchmark.prediction_metrics import prediction_metrics
from benchmark.reporting.predictions.stored_predictions import decode
from benchmark.reporting.report import build_report
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.results.read import queries
from benchmark.results.schema.tables import execution
from benchmark.results.store.database import open_database
from benchmark.results.write.stored_metrics import fill_database, metric_columns

COLUMNS = {f"test_{name}" for name in prediction_metrics(np.array([0, 1]), np.array([0, 1]), np.eye(2))}


def random_predictions(classes, images, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    scores = generator.normal(size=(images, classes))
    scores[np.arange(images), labels] += 1
    # a coarse grid, so that scores are tied
    probabilities = np.round(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), 2)
    return labels, probabilities.argmax(axis=1), probabilities


@given(st.integers(2, 8), st.integers(1, 60), st.integers(0, 1000))
def test_every_metric_is_that_of_scikit_learn(classes, images, seed):
    from sklearn import metrics

    labels, predicted, probabilities = random_predictions(classes, images, seed)
    found = prediction_metrics(labels, predicted, probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = metrics.cohen_kappa_score(labels, predicted)
        expected = {
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "macro_f1": metrics.f1_score(labels, predicted, average="macro", zero_division=0),
            "weighted_f1": metrics.f1_score(labels, predicted, average="weighted", zero_division=0),
            "mcc": metrics.matthews_corrcoef(labels, predicted),
            "kappa": None if np.isnan(kappa) else kappa,
        }
    top = 1.0 if classes <= 5 else metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=range(classes))
    against_rest = np.eye(classes)[labels]
    is_whole = set(labels) == set(range(classes))
    auroc = metrics.roc_auc_score(against_rest, probabilities, average="macro") if is_whole else None
    precision = metrics.average_precision_score(against_rest, probabilities, average="macro") if is_whole else None
    expected |= {"top5_accuracy": top, "auroc": auroc, "average_precision": precision}
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name
    assert found["log_loss"] >= 0
    assert 0 <= found["brier"] <= 2


def test_rounded_probabilities_give_the_same_to_two_thousandths():
    labels, predicted, _ = random_predictions(10, 2000, 1)
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(2000, 10)) * 3
    scores[np.arange(2000), labels] += 3
    exact = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predicted = exact.argmax(axis=1)
    rounded = prediction_metrics(labels, predicted, exact.astype(np.float16))
    assert rounded == pytest.approx(prediction_metrics(labels, predicted, exact), abs=2e-3)


def test_what_a_test_set_cannot_tell_is_none():
    found = prediction_metrics(np.array([0, 0]), np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert (found["auroc"], found["average_precision"], found["kappa"], found["mcc"]) == (None, None, None, 0.0)


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "results.sqlite"
    with open_database(str(path), mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
    return path


def results(path):
    with open_database(str(path), mode="read") as database:
        return queries.results(database, spec=True)


def test_they_are_recorded_when_a_cell_ends(recorded):
    (known,) = results(recorded)
    expected = metric_columns(predictions().content)
    assert expected.keys() == COLUMNS
    assert {name: known[name] for name in expected} == expected
    assert known["test_macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_they_are_computed_for_older_results_and_digests_stay(recorded):
    before = results(recorded)
    with open_database(str(recorded), mode="write") as database, database.engine.begin() as connection:
        connection.execute(execution.update().values(dict.fromkeys(COLUMNS)))
    assert results(recorded)[0]["test_macro_f1"] is None
    assert fill_database(recorded) == 1
    assert results(recorded) == before
    assert fill_database(recorded) == 0


@pytest.mark.parametrize("metric", ["test_macro_f1", "test_accuracy"])
def test_a_report_stores_what_it_had_to_compute_and_nothing_else(recorded, metric):
    before = results(recorded)
    with open_database(str(recorded), mode="write") as database, database.engine.begin() as connection:
        connection.execute(execution.update().values(dict.fromkeys(COLUMNS)))
    content = recorded.read_bytes()
    done = CliRunner().invoke(bench, ["report", "--db", str(recorded), "--metric", metric, "--format", "json"])
    assert done.exit_code == 0, done.stderr
    if metric == "test_accuracy":
        assert recorded.read_bytes() == content
        return
    assert results(recorded) == before
    document = json.loads(done.stdout)
    assert list(document)[:5] == ["schema_version", "created_utc", "machine", "runs", "package_version"]
    assert (document["runs"], document["package_version"]) == ([1], __version__)
    assert document["tables"][0]["rows"][0]["test_macro_f1"]["mean"] == pytest.approx(
        before[0]["test_macro_f1"], abs=2e-3
    )


def test_content_that_cannot_be_read_has_no_metrics():
    assert metric_columns(b"no archive") == {}


def test_a_report_computes_what_it_is_asked_for():
    rows = [{**row(seed=seed), "execution_id": seed + 1} for seed in range(3)]
    load = lambda ids: {number: decode(predictions()) for number in ids}  # noqa: E731
    options = ReportOptions(metrics=("test_macro_f1",), tables=("summary",))
    shown = build_report(rows, (), None, options, predictions=load).tables[0].rows[0].cells
    assert shown["test_macro_f1"].mean == pytest.approx((2 / 3 + 4 / 5) / 2)
