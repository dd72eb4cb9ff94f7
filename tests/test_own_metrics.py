"""Metrics of a user's own: columns of reports, computed from stored predictions by a process of its own, with consent."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3

import numpy as np
import pytest
from cli_workplace import ROOT, Workplace

from benchmark.cli import own_metrics
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind

PAGE = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
METRICS = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "my_metrics.py" in code)
WRONG = """
def text(labels, probabilities):
    return "many"


def undefined(labels, probabilities):
    return float("nan")


def divided(labels, probabilities):
    return 1 / 0


def crashing(labels, probabilities):
    import os

    os.abort()


def hanging(labels, probabilities):
    while True:
        pass
"""
MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
[plugins]
metrics = ["my_metrics.py"]
[report]
metrics = ["test_g_mean", "test_accuracy"]
"""
ASKED = (
    "report",
    "--db",
    "r.sqlite",
    "--matrix",
    "matrix.toml",
    "--table",
    "summary",
    "--format",
    "json",
    "--machine",
    "reference",
)


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    place.write(METRICS + WRONG, "my_metrics.py")
    shutil.copy(ROOT / "benchmark" / "results" / "reference.sqlite", tmp_path / "r.sqlite")
    return place


def test_a_metric_of_ones_own_is_a_column_once_its_file_is_trusted(place):
    refused = place.call(*ASKED, "--metric", "test_g_mean")
    assert refused.exit_code == 2
    assert "my_metrics.py (metric g_mean)" in refused.stderr
    assert "bench report --allow-plugins" in refused.stderr
    shown = place.call(*ASKED, "--metric", "test_g_mean", "--metric", "test_misses", "--allow-plugins")
    assert shown.exit_code == 0, shown.stderr
    rows = [row for table in json.loads(shown.stdout)["tables"] for row in table["rows"]]
    row = next(row for row in rows if row.get("test_misses"))
    wrong = row["test_misses"]["mean"]
    accuracy = row["test_accuracy"]["mean"] if isinstance(row["test_accuracy"], dict) else row["test_accuracy"]
    assert wrong / 359 == pytest.approx(1 - accuracy, abs=0.2)
    assert 0 < row["test_g_mean"]["mean"] <= 1


def test_a_report_leaves_out_what_it_may_not_run_and_says_so(place):
    shown = place.call(*ASKED)
    assert shown.exit_code == 0, shown.stderr
    (note,) = [note for note in json.loads(shown.stdout)["notes"] if "test_g_mean" in note]
    assert "my_metrics.py is not trusted" in note
    assert "bench report --allow-plugins" in note


def test_a_metric_of_ones_own_decides_where_report_names_it_first(place):
    path = place.directory / "matrix.toml"
    with contextlib.closing(sqlite3.connect(place.directory / "r.sqlite")) as connection, connection:
        connection.execute("update run set matrix_path = ?, matrix_text = ?", (str(path), path.read_text()))
    cells = ",dataset=digits,model=simple_cnn"
    sides = (
        f"strategy=scratch{cells}",
        f"strategy=regularized{cells}",
        "--db",
        "r.sqlite",
        "--machine",
        "reference",
        "--format",
        "json",
    )
    judge = ("judge", *sides, "--campaign", "mine")
    refused = place.call(*judge)
    assert refused.exit_code == 2
    assert "my_metrics.py (metric g_mean)" in refused.stderr
    answer = json.loads(place.call(*judge, "--allow-plugins").stdout)
    compare = ("compare", *sides, "--allow-plugins", "--metric", "test_g_mean", "--fail-if", "worse:0.9")
    gate = place.call(*compare)
    assert gate.exit_code == 0, gate.stderr
    rows = [row for row in json.loads(gate.stdout)["tables"][0]["rows"] if row["metric"] == "test g mean"]
    assert rows[-1]["difference"]["mean"] == pytest.approx(answer["difference"])
    assert answer["n"] > 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", "expected text to return a number, found str"),
        ("divided", "ZeroDivisionError: division by zero"),
        ("crashing", "metric crashing: the process was ended by SIGABRT before it answered"),
        ("hanging", "metric hanging: the process was ended: it gave no answer within 2 s"),
        ("lacking", "metric: expected one of"),
    ],
)
def test_what_a_metric_does_wrong_ends_the_command_with_a_message(place, monkeypatch, name, said):
    monkeypatch.setattr(own_metrics, "LIMIT_SECONDS", 2.0 if name == "hanging" else 60.0)
    answer = place.call(*ASKED, "--metric", f"test_{name}", "--select", "seed=0,strategy=scratch", "--allow-plugins")
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_names_of_metrics_of_bench_are_refused(place):
    place.write("def macro_f1(labels, probabilities):\n    return 0.0\n", "my_metrics.py")
    with pytest.raises(MatrixError, match="bench has a metric of that name: rename yours"):
        load_matrix(place.directory / "matrix.toml", MATRIX, machine_kind=MachineKind(0, 2))


def test_the_metrics_of_the_page_are_what_it_says():
    space: dict = {}
    exec(METRICS, space)
    labels, probabilities = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
    assert space["g_mean"](labels, probabilities) == pytest.approx(0.5**0.5)
    assert space["misses"](labels, probabilities) == 1


def test_what_answers_a_question_by_runs_leaves_such_metrics_out(place):
    from benchmark.reporting.report import judging

    spec = load_matrix(place.directory / "matrix.toml", MATRIX, machine_kind=MachineKind(0, 2)).report
    assert [metric.key for metric in judging(spec, (), None).metrics] == ["test_accuracy"]
