"""Published figures stand beside measured ones, marked in every format, and change no number that is measured."""

from __future__ import annotations

import csv
import io
import json

import pytest

from benchmark.matrix.report_spec import PublishedColumn, PublishedRow, PublishedTable, ReportSpec
from benchmark.reporting.report import build_report
from benchmark.reporting.table import Published
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import FORMATS, render
from tests.reporting_samples import planned, row

COLUMNS = (
    PublishedColumn("epochs", "Epochs trained"),
    PublishedColumn("test_accuracy", "Test accuracy (%)", percent=True),
    PublishedColumn("fit_seconds", "Training time (s)"),
)
TABLE = PublishedTable(
    "CNNs",
    "the notebook",
    ("Dataset", "Model"),
    COLUMNS,
    (
        PublishedRow(("Digits", "Small CNN"), "digits", "simple_cnn", "scratch", (5.0, 0.9926, 55.6)),
        PublishedRow(("Digits", "ResNet18"), "digits", "resnet18", "scratch", ("12 (early stop)", 0.1234, None)),
    ),
)
TURNED = PublishedTable(
    "CNNs", "the notebook", ("Metric",), COLUMNS, tuple(PublishedRow(each.label[1:], each.dataset, each.model, each.strategy, each.figures) for each in TABLE.rows), metrics_as_rows=True
)  # fmt: skip
ROWS = [row(seed=seed, test=test) for seed, test in enumerate((0.97, 0.98, 0.99))]


def report(*tables, rows=ROWS, run_cells=(), **options):
    return build_report(rows, list(run_cells), ReportSpec(published=tables), ReportOptions(**options))


def published(found):
    return [each for each in found.tables if each.name == "published"]


def test_each_published_row_stands_above_what_was_measured():
    (table,) = published(report(TABLE))
    assert [each.cells["figures"] for each in table.rows] == ["published", "measured"] * 2
    theirs, ours, _, missing = table.rows
    assert theirs.cells["test_accuracy_percent"] == Published(99.26, 2)
    assert ours.cells["test_accuracy_percent"].mean == pytest.approx(98)
    assert ours.cells["n"].completed == 3
    assert theirs.cells["epochs"] == Published(5)
    assert missing.cells["test_accuracy_percent"] is None
    assert missing.remark == "no such cell in what is shown here"


def test_metrics_can_be_rows():
    (table,) = published(report(TURNED))
    assert [column.title for column in table.columns] == [
        "Metric", "Small CNN, published", "Small CNN, measured", "ResNet18, published", "ResNet18, measured",
    ]  # fmt: skip
    assert [each.cells["metric"] for each in table.rows] == ["Epochs trained", "Test accuracy (%)", "Training time (s)"]
    assert any("ResNet18: no such cell" in note for note in table.notes)


def test_no_measured_number_knows_of_them():
    with_them, without = report(TABLE), build_report(ROWS, [], ReportSpec())
    assert [each for each in with_them.tables if each.name != "published"] == list(without.tables)
    assert with_them.notes == without.notes


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("table", [TABLE, TURNED], ids=["rows", "turned"])
def test_every_format_carries_the_mark(table, output_format):
    text = render(report(table, tables=("published",)), output_format, width=120)
    assert "published" in text
    assert "99.26" in text
    assert "12 (early stop)" in text


def test_programs_can_tell_them_apart():
    text = render(report(TABLE, tables=("published",)), "csv")
    theirs, ours, *_ = csv.DictReader(io.StringIO(text))
    assert (theirs["test_accuracy_percent_published"], theirs["test_accuracy_percent_mean"]) == ("99.26", "")
    assert (ours["test_accuracy_percent_published"], ours["test_accuracy_percent_n"]) == ("", "3")
    (table,) = json.loads(render(report(TABLE, tables=("published",)), "json"))["tables"]
    assert table["rows"][0]["test_accuracy_percent"] == {"published": 99.26}
    assert table["rows"][1]["test_accuracy_percent"]["n"] == 3


def test_a_table_of_which_nothing_is_shown_becomes_a_note():
    found = report(TABLE, rows=[row("other")])
    assert not published(found)
    assert "Published table CNNs: no cell of it in what is shown here." in found.notes


def test_cells_that_have_not_run_are_said():
    cells = planned(ROWS)
    (table,) = published(report(TABLE, rows=[], run_cells=cells))
    assert "pending" in table.rows[1].remark


def test_fewer_examples_than_were_published_are_said():
    few = row()
    few["spec"] = few["spec"].replace('"train_examples": null', '"train_examples": 64')
    (table,) = published(report(TABLE, rows=[few]))
    assert any("fewer examples than were published (train_examples = 64)" in note for note in table.notes)
