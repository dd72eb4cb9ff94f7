"""Published tables are data of a matrix: read with the same care as everything else in it."""

from __future__ import annotations

import pytest

from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.report_spec import PublishedColumn, PublishedRow, PublishedTable

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"

[[report.published]]
title = "CNNs"
source = "somebody"
headings = ["Model"]
columns = [
    { metric = "epochs", title = "Epochs" },
    { metric = "test_accuracy", title = "Test accuracy (%)", percent = true },
    { metric = "fit_seconds", title = "Seconds" },
]
rows = [
    { label = ["Small CNN"], dataset = "digits", model = "simple_cnn", strategy = "scratch", figures = ["5 (stopped)", 0.9926, ""] },
]
"""


def read(text: str):
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).report.published


def test_a_published_table_is_read_as_it_stands():
    assert read(MATRIX) == (
        PublishedTable(
            title="CNNs",
            source="somebody",
            headings=("Model",),
            columns=(
                PublishedColumn("epochs", "Epochs"),
                PublishedColumn("test_accuracy", "Test accuracy (%)", percent=True),
                PublishedColumn("fit_seconds", "Seconds"),
            ),
            rows=(PublishedRow(("Small CNN",), "digits", "simple_cnn", "scratch", ("5 (stopped)", 0.9926, None)),),
        ),
    )


def test_published_figures_change_no_cell():
    with_them = load_matrix("m", MATRIX, machine_kind=MachineKind(gpus=0, cores=2))
    without = load_matrix("m", MATRIX.partition("[[report")[0], machine_kind=MachineKind(gpus=0, cores=2))
    assert with_them.cells == without.cells


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metric = "epochs"', 'metric = "epoch"', r"columns\[0\]\.metric: expected epochs, .*did you mean 'epochs'"),
        (
            '"Epochs" }',
            '"Epochs", percent = true }',
            r"columns\[0\]\.percent: expected percent for one of train_accuracy",
        ),
        ('model = "simple_cnn", strategy', 'model = "simpel_cnn", strategy', r"did you mean 'simple_cnn'"),
        ('label = ["Small CNN"]', 'label = ["a", "b"]', r"rows\[0\]\.label: expected 1 texts"),
        ('0.9926, ""]', "0.9926]", r"rows\[0\]\.figures: expected 3 figures, .* got 2"),
        ("0.9926", "-1", r"figures\[1\]: expected a number ≥ 0"),
        ("0.9926", "nan", r"figures\[1\]: expected a number ≥ 0"),
        ('source = "somebody"\n', "", r"published\[0\]\.source: expected a text; it is missing"),
        ('headings = ["Model"]', "headings = []", r"headings: expected a list"),
        ("[[report.published]]", "[[report.publisht]]", "did you mean 'published'"),
    ],
)
def test_mistakes_are_said_with_their_place(old, new, said):
    with pytest.raises(MatrixError, match=said):
        read(MATRIX.replace(old, new, 1))


def test_what_can_be_published_can_be_measured():
    from benchmark.reporting.tables.beside_published import METRICS

    assert set(METRICS) <= METRICS.keys()
