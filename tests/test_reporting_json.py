"""JSON documents of `report` and `compare` are what their schema says, and the schema says all that they have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli.reports.recorded_comparison import recorded_comparison
from benchmark.cli.reports.recorded_report import recorded_report
from benchmark.reporting.report import build_report
from benchmark.reporting.report_schema import report_schema
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.table import FigureFile, MissingFigure, Published, Qualified, Report, Row, Table, TableColumn
from benchmark.reporting.tables.registry import TABLES
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import render
from benchmark.results.store.reference import RESULTS
from tests.reporting_samples import SPEC, row, tour

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `test`")


def closed(schema):
    """The schema in which every object has the named properties alone."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **inner} if "properties" in inner and "type" in inner else inner


FIXTURES = Path(__file__).parent / "fixtures"
VALIDATOR = jsonschema.Draft202012Validator(closed(report_schema()))


def problems(report):
    document = json.loads(render(report, "json"))
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]


def test_the_schema_is_one_of_the_draft_that_it_names():
    jsonschema.Draft202012Validator.check_schema(report_schema())


def test_the_schema_refuses_what_is_no_report():
    document = json.loads(render(build_report(*tour(), SPEC), "json"))
    for wrong in (
        {**document, "schema_version": 1},
        {**document, "runs": ["1"]},
        {**document, "answer": ["a", "b", "c", "d"]},
        {**document, "unknown": 1},
        {key: value for key, value in document.items() if key != "machine"},
        {**document, "tables": [{**document["tables"][0], "rows": [{"n": {"completed": 1}, "remark": ""}]}]},
    ):
        assert not VALIDATOR.is_valid(wrong)


def test_documents_begin_with_what_they_were_made_of():
    for report in (
        build_report(*tour(), SPEC),
        recorded_comparison(str(RESULTS), "strategy=v1", "strategy=v2", None).report,
    ):
        document = json.loads(render(report, "json"))
        assert list(document)[:6] == ["schema_version", "created_utc", "machine", "runs", "package_version", "answer"]


def test_reports_of_every_state_are_valid():
    rows, cells = tour()
    ten = [
        row(name, seed, 0.8 + 0.01 * seed, changes={"dropout": d})
        for name, d in (("a", 0.1), ("b", 0.2))
        for seed in range(12)
    ]
    reports = [
        build_report(rows, cells, SPEC),
        build_report([], [], None),
        build_report(rows[:1], [], None),
        build_report(rows, cells, SPEC, ReportOptions(baseline="scratch", margin=0.5, ensembles=True)),
        build_report(ten, [], None, ReportOptions(baseline="a")),
    ]
    figures = (FigureFile("curves", "Curves", ("0a",), Path("a.png")),)
    reports.append(replace(reports[0], figures=figures, missing_figures=(MissingFigure("x", "y", "z"),)))
    assert [problems(report) for report in reports] == [[]] * len(reports)


@pytest.mark.parametrize("name", ["report.json", "compare.json"])
def test_what_the_commands_print_is_valid(name):
    document = json.loads((FIXTURES / "unmoved" / "outputs" / name).read_text("utf-8"))
    assert [error.message[:200] for error in VALIDATOR.iter_errors(document)] == []


def test_the_published_schema_is_the_one_of_the_code():
    assert json.loads((FIXTURES.parent.parent / "docs" / "report.schema.json").read_text("utf-8")) == report_schema()


@given(st.lists(st.floats(), min_size=1, max_size=4), st.floats())
def test_numbers_that_json_has_no_words_for_are_valid(values, alone):
    columns = tuple(TableColumn(key, key, "loss") for key in "abcde")
    cells = {
        "a": measure(values),
        "b": alone,
        "c": Published("9 to 10"),
        "d": Qualified("equivalent", "within"),
        "e": True,
    }
    report = Report((Table("summary", "t", columns, (Row(cells, kind="rate"),)),))
    assert problems(report) == []


@pytest.mark.exhaustive  # every table of the reference results; those of the sample are above
@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_the_reference_results_is_valid(name):
    assert problems(recorded_report(str(RESULTS), None, tables=(name,))) == []
