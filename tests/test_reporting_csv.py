"""CSV with a file for each table opens right in pandas, and in a spreadsheet nothing of it is a formula."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from benchmark.cli.reports.recorded_report import recorded_report
from benchmark.errors import UserError
from benchmark.reporting.report import build_report
from benchmark.reporting.table import Report, Row, Table, TableColumn
from benchmark.reporting.tables.registry import TABLES
from benchmark.reporting.writers.formats import save_tables
from benchmark.results.store.reference import RESULTS
from tests.reporting_samples import SPEC, tour
from tests.test_reporting_writers import HOSTILE, report_with

NUMBERS = ("_mean", "_half_width", "_low", "_high", "_n", "_planned", "_p", "position")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "new" / "folder"
    files = save_tables(build_report(*tour(), SPEC), "csv", folder)
    assert sorted(folder.iterdir()) == sorted(files)
    return {path.stem: pd.read_csv(path) for path in files}


def test_each_table_has_a_file_of_its_name(frames):
    assert set(frames) == {"summary", "transfer", "progression"}
    assert all(set(frame["table"]) == {name} for name, frame in frames.items())
    assert "verdict" not in frames["summary"]


def test_pandas_reads_numbers_as_numbers_and_missing_ones_as_missing(frames):
    for frame in frames.values():
        for column in frame:
            if column.endswith(NUMBERS):
                assert pd.api.types.is_numeric_dtype(frame[column]), column
    summary = frames["summary"].set_index(["model", "strategy"])
    assert pd.isna(summary.loc[("vgg16", "scratch"), "test_accuracy_mean"])
    assert summary["parameters_mean"].max() == 11_181_642
    assert frames["summary"]["n"].dtype == "int64"


def test_tables_of_a_name_with_other_columns_have_files_of_their_own(tmp_path):
    tables = [Table("time", "t", (TableColumn(key, key, "text"),), (Row({key: "x"}),)) for key in ("a", "b", "a")]
    files = save_tables(Report(tuple(tables)), "csv", tmp_path)
    assert [path.name for path in files] == ["time.csv", "time-2.csv"]
    assert [len(pd.read_csv(path)) for path in files] == [2, 1]


def test_no_text_is_a_formula(tmp_path):
    tables = tuple(table for name in HOSTILE for table in report_with(name).tables)
    (path,) = save_tables(Report(tables), "csv", tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(HOSTILE)
    texts = [text for line in lines for key, text in line.items() if not key.endswith(NUMBERS)]
    assert not [text for text in texts if text.lstrip().startswith(("=", "+", "-", "@"))]


def test_a_folder_is_for_csv_alone_and_replaces_no_file(tmp_path):
    report = build_report(*tour(), SPEC)
    with pytest.raises(UserError, match="--format csv"):
        save_tables(report, "markdown", tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="expected a folder, found a file"):
        save_tables(report, "csv", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.exhaustive  # every table of the reference results; those of the sample are above
@pytest.mark.parametrize("name", TABLES)
def test_pandas_reads_every_table_of_the_reference_results(name, tmp_path):
    report = recorded_report(str(RESULTS), None, tables=(name,))
    rows = sum(len(pd.read_csv(path)) for path in save_tables(report, "csv", tmp_path))
    assert rows == sum(len(table.rows) for table in report.tables)
