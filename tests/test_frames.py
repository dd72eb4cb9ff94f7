"""`benchmark.results(db)` and its like: DataFrames with the numbers, verdicts and messages of the commands."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import pandas as pd
import pytest
from cli_workplace import Workplace

import benchmark
from benchmark.errors import NotFoundError, StorageError, UserError
from benchmark.frames.column_types import CATEGORIES
from benchmark.frames.drawing_axes import completed_of
from benchmark.reporting.figures.groups.compared_curves import QUANTITIES
from benchmark.results.schema.views import VIEWS
from benchmark.results.store.database import open_database
from benchmark.results.store.reference import RESULTS

ROOT = Path(__file__).resolve().parent.parent

MATRIX = """
[matrix]
dataset = "digits"
model = ["simple_cnn", "$lr_{x$ <b>"]
strategy = ["scratch", "regularized"]
seed = [0, 1]
backend = "fake"

[defaults]
epochs = 2

[model."$lr_{x$ <b>"]
extends = "simple_cnn"
filters = [8, 8]
"""


@pytest.fixture(scope="module", autouse=True)
def without_display():
    mpl.use("agg")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workplace:
    """Results of two machines; on one of them a cell was run twice."""
    place = Workplace(tmp_path_factory.mktemp("frames"))
    place.write(MATRIX)
    one = "seed=0,model=simple_cnn,strategy=scratch"
    for words in (["--select", one, "--machine", "other"], [], ["--select", one, "--rerun"]):
        done = place.call("run", *words)
        assert done.exit_code == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def db(place) -> Path:
    return place.directory / "results.sqlite"


VIEW_FRAMES = {name: getattr(benchmark, name) for name in ("results", "history", "predictions")}


@pytest.mark.parametrize("name", VIEW_FRAMES)
def test_a_frame_has_the_columns_and_the_rows_of_its_view(name, place, db):
    frame = VIEW_FRAMES[name](db)
    assert list(frame.columns) == list(VIEWS[name])
    rows = place.document("query", f"select * from {name}")
    assert len(frame) == len(rows) > 0
    for column in set(frame.columns) - {"started_utc", "finished_utc"}:
        ours = [None if pd.isna(value) else value for value in frame[column]]
        assert sorted(map(str, ours)) == sorted(str(_like(ours, row[column])) for row in rows), column


def _like(values, value):
    kind = next((type(each) for each in values if each is not None), None)
    return value if value is None or kind is None else kind(value)


@pytest.mark.parametrize("name", VIEW_FRAMES)
def test_types_do_not_hang_on_the_rows(name, db, target):
    check_types(VIEW_FRAMES[name](db))
    check_types(VIEW_FRAMES[name](db, select="seed=1"))
    open_database(target, mode="write").close()
    nothing = VIEW_FRAMES[name](target)
    assert nothing.empty
    check_types(nothing)


def check_types(frame):
    types = frame.dtypes.astype(str)
    assert {column for column in types.index if types[column] == "category"} == CATEGORIES & {*frame.columns}
    times = [column for column in frame.columns if column.endswith("_utc")]
    assert {types[column] for column in times} <= {"datetime64[ns, UTC]"}
    assert {types[column] for column in {"is_latest", "forgotten"} & {*frame.columns}} <= {"bool"}
    assert types.get("timing_valid", "boolean") == "boolean"
    assert types["execution_id"] == types["seed"] == "int64"
    assert types["cell_id"] == "string"
    assert types.get("best_epoch", "Int64") == "Int64"
    assert {types.get(column, "float64") for column in ("test_accuracy", "val_loss", "confidence")} == {"float64"}


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_a_server_gives_the_same_frames(target, db, tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    some = "model=simple_cnn"
    assert place.call("run", "--select", some, "--db", target).exit_code == 0
    for name, read in VIEW_FRAMES.items():
        ours, theirs = read(target), read(db, select=some, machine="tester", latest=True)
        check_types(ours)
        assert len(ours) == len(theirs), name
        assert ours.dtypes.equals(theirs.dtypes)
    assert len(benchmark.results(target, select="seed=0", latest=True, settings=True)) == 2
    assert len(benchmark.report(target)["summary"]) == 2
    comparison = benchmark.compare("strategy=scratch", "strategy=regularized", target)
    assert set(comparison["n"][comparison["metric"] == "test accuracy"]) == {2}


@pytest.mark.parametrize("name", ["results", "history"])
def test_a_frame_is_the_same_when_it_is_read_in_parts(name, db, monkeypatch):
    whole = VIEW_FRAMES[name](db)
    monkeypatch.setattr("benchmark.results.read.view_rows._ROWS_AT_ONCE", 3)
    pd.testing.assert_frame_equal(VIEW_FRAMES[name](db), whole)


def test_selections_machines_and_the_latest_are_those_of_reports(place, db):
    everything = benchmark.results(db)
    assert len(everything) == 10
    assert everything["machine"].value_counts().to_dict() == {"tester": 9, "other": 1}
    assert everything["is_latest"].sum() == 9
    latest = benchmark.results(db, machine="tester", latest=True)
    assert len(latest) == 8
    assert latest["is_latest"].all()
    assert set(benchmark.history(db, machine="tester", latest=True)["execution_id"]) == set(latest["execution_id"])
    some = benchmark.results(db, select=["seed=0,strategy=scratch", "seed=1"], exclude="model=simple_cnn", latest=True)
    assert {(row.seed, row.strategy) for row in some.itertuples()} == {
        (0, "scratch"),
        (1, "scratch"),
        (1, "regularized"),
    }
    assert set(some["model"]) == {"$lr_{x$ <b>"}
    assert set(benchmark.predictions(db, select="seed=1")["seed"]) == {1}
    text = place.call("report", "--machine", "tester", "--format", "json").stdout
    (summary,) = (table for table in json.loads(text)["tables"] if table["name"] == "summary")
    means = latest.groupby(["model", "strategy"], observed=True)["test_accuracy"].mean()
    assert {(row["model"], row["strategy"]): row["test_accuracy"]["mean"] for row in summary["rows"]} == {
        key: pytest.approx(value) for key, value in means.items()
    }


def edited(db: Path, copy: Path, *statements: str) -> Path:
    """A copy that was changed past the triggers that keep results as they are."""
    shutil.copy(db, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        triggers = connection.execute("select name, sql from sqlite_schema where type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"drop trigger {name}")
        for statement in (*statements, *(sql for _, sql in triggers)):
            connection.execute(statement)
    return copy


def test_what_is_forgotten_is_not_among_the_latest(place, db, tmp_path):
    """Execution 10 ran the cell of execution 2 again; 3 is the only one of its cell on this machine."""
    forgotten = "update execution set forgotten = 1 where execution_id in (3, 10)"
    copy = edited(db, tmp_path / "copy.sqlite", forgotten)
    marked = benchmark.results(copy).set_index("execution_id")["forgotten"]
    assert marked.to_dict() == {number: number in {3, 10} for number in range(1, 11)}
    before, after = (set(benchmark.results(each, latest=True)["execution_id"]) for each in (db, copy))
    (again,) = after - before
    assert before - after == {3, 10}
    cells = benchmark.results(copy).set_index("execution_id")["cell_id"]
    assert cells[again] == cells[10]
    assert benchmark.report(copy)["summary"]["n"].sum() == len(benchmark.results(copy, latest=True, machine="tester"))


def test_groups_are_the_rows_of_the_report_and_nothing_else_is_in_one(db):
    frame = benchmark.results(db, groups=True)
    assert list(frame.columns) == [*VIEWS["results"], "group"]
    expected = {
        f"{machine}, {row.dataset}, {row.model}, {row.strategy}": (row.n, pytest.approx(row.test_accuracy_mean))
        for machine in ("other", "tester")
        for row in benchmark.report(db, machine=machine)["summary"].itertuples()
    }
    means = frame.groupby("group", observed=True)["test_accuracy"].agg(["count", "mean"])
    assert {row.Index: (row[1], row[2]) for row in means.itertuples()} == expected
    superseded = ~frame["is_latest"]
    assert superseded.sum() == 1
    assert (frame["group"].isna() == superseded).all()
    of_executions = frame.set_index("execution_id")["group"]
    for name in ("history", "predictions"):
        rows = VIEW_FRAMES[name](db, groups=True)
        assert rows["group"].astype("string").equals(rows["execution_id"].map(of_executions.astype("string")))


def test_settings_that_vary_name_a_group(place):
    asked = ("run", "--db", "rates.sqlite", "--select", "model=simple_cnn,strategy=scratch", "--set")
    for rate in (0.1, 0.2):
        assert place.call(*asked, f"learning_rate={rate}").exit_code == 0
    groups = benchmark.results(place.directory / "rates.sqlite", groups=True).groupby("group", observed=True)["seed"]
    names = [f"digits, simple_cnn, scratch, learning_rate {rate}" for rate in (0.1, 0.2)]
    assert groups.agg(list).to_dict() == {name: [0, 1] for name in names}
    single = benchmark.results(place.directory / "rates.sqlite", select="learning_rate=0.1", groups=True)
    assert single["group"].cat.categories.tolist() == ["digits, simple_cnn, scratch"]


def test_classes_have_their_names_when_asked_for(db):
    frame = benchmark.predictions(db, class_names=True)
    assert list(frame.columns) == [*VIEWS["predictions"], "label_name", "predicted_name"]
    for name in ("label", "predicted"):
        assert (frame[f"{name}_name"].astype("string") == "class " + frame[name].astype("string")).all()


def test_every_setting_becomes_a_column_when_asked_for(db):
    frame = benchmark.results(db, settings=True)
    assert list(frame.columns[: len(VIEWS["results"])]) == list(VIEWS["results"])
    assert {"augment", "early_stopping", "schedule", "weights", "split_seed"} <= {*frame.columns}
    augmented = frame["strategy"] == "regularized"
    assert frame["augment"][augmented].map(bool).all()
    assert not frame["augment"][~augmented].map(bool).any()
    assert frame["deterministic"].dtype == "boolean"


def test_a_report_is_the_report_of_the_command(place, db):
    report = benchmark.report(db)
    document = place.document("report")
    assert list(report) == [table["name"] for table in document["tables"]]
    assert (report.machine, list(report.runs), list(report.notes)) == (
        document["machine"], document["runs"], document["notes"],
    )  # fmt: skip
    summary, rows = report["summary"], document["tables"][0]["rows"]
    assert all(isinstance(frame, pd.DataFrame) for frame in report.tables)
    assert report.tables["summary"] is report.tables[0]
    assert [str(each) for each in summary["model"]] == [row["model"] for row in rows]
    for name in ("mean", "half_width", "n"):
        assert list(summary[f"test_accuracy_{name}"]) == [row["test_accuracy"][name] for row in rows]
    assert summary["n"].dtype == "Int64"
    with pytest.raises(KeyError, match="nothing: expected one of summary"):
        report["nothing"]


def test_tables_of_one_name_are_one_below_the_other(db):
    report = benchmark.report(db, tables=["classes"], select="strategy=scratch")
    assert len(report.tables) > len(report) == 1
    whole = report["classes"]
    assert len(whole) == sum(map(len, report.tables))
    assert whole["model"].nunique() == 2


def test_a_notebook_shows_a_report_as_a_harmless_page(db):
    report = benchmark.report(db)
    shown = report._repr_html_()
    assert shown.startswith("<div>")
    assert "<table" in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown
    assert "<style" not in shown


def test_a_notebook_is_given_a_report_as_text_and_shows_nothing_beside(db, monkeypatch):
    report = benchmark.report(db)
    outside = repr(report)
    # what rich asks in Jupyter; it would import IPython, which is not there, and show each line
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert repr(report) == outside
    assert "summary" in outside.lower()


def test_a_comparison_has_the_columns_and_verdicts_of_the_document(place, db):
    frame = benchmark.compare("strategy=scratch", "strategy=regularized", db, margin="0.5pp")
    document = place.document("compare", "strategy=scratch", "strategy=regularized", "--margin", "0.5pp")
    (table,) = document["tables"]
    assert {column["key"] for column in table["columns"]} | {"remark"} <= {*frame.columns}
    assert len(frame) == len(table["rows"])
    for ours, theirs in zip(frame.to_dict("records"), table["rows"], strict=True):
        assert ours["a"] == theirs["a"]["mean"] if theirs["a"] else pd.isna(ours["a"])
        for field in (
            "difference",
            "low",
            "high",
            "half_width",
            "n",
            "p",
            "adjusted_p",
            "comparisons",
            "method",
            "margin",
        ):
            value = (theirs["difference"] or {}).get(field)
            assert ours[field] == value or (value is None and pd.isna(ours[field])), field
        assert ours["verdict"] == theirs["verdict"] or (pd.isna(ours["verdict"]) and theirs["verdict"] in {None, "-"})
        assert ours["remark"] == theirs["remark"]
    assert frame["margin"].dtype == "float64"
    assert frame.attrs["machine"] == document["machine"]
    assert frame.attrs["verdict"] in set(frame["verdict"].dropna())


def test_the_database_and_the_machine_are_those_of_the_command_line(place, db, monkeypatch):
    monkeypatch.chdir(place.directory)
    assert len(benchmark.results()) == 10
    monkeypatch.chdir("/")
    monkeypatch.setenv("BENCH_DB", str(db))
    assert len(benchmark.results()) == 10
    monkeypatch.setenv("BENCH_MACHINE", "other")
    assert benchmark.report().machine == "other"
    assert benchmark.report(machine="tester").machine == "tester"
    assert len(benchmark.results(f"sqlite:///{db}")) == 10


def the_message(call):
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda db: benchmark.results(db, select="model=simple_cnm"), ["report", "--select", "model=simple_cnm"]),
        (lambda db: benchmark.history(db, select="modl=x"), ["report", "--select", "modl=x"]),
        (lambda db: benchmark.predictions(db, machine="nobody"), ["report", "--machine", "nobody"]),
        (lambda db: benchmark.report(db, metrics="tst_accuracy"), ["report", "--metric", "tst_accuracy"]),
        (lambda db: benchmark.compare("seed=0", "seed=9", db), ["compare", "seed=0", "seed=9"]),
    ],
)
def test_errors_have_the_messages_of_the_commands(call, words, place, db):
    done = place.call(*words)
    assert done.exit_code == 2
    assert done.stderr.strip() == f"error: {the_message(lambda: call(db))}"


def test_a_missing_or_broken_database_is_told(tmp_path):
    with pytest.raises(NotFoundError, match="found none"):
        benchmark.results(tmp_path / "none.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="broken"):
        benchmark.report(tmp_path / "broken.sqlite")
    assert "0.5pp" in the_message(lambda: benchmark.report(RESULTS, margin="half a point"))


def test_where_nothing_can_be_drawn_the_database_is_named_without_its_password():
    server = SimpleNamespace(display_name="postgresql://me:***@host/results")
    assert the_message(lambda: completed_of([], server)).startswith(f"{server.display_name}: expected completed cells")


def test_nan_and_infinity_are_in_the_frame(db, tmp_path):
    epoch = "update epoch set train_loss = 9e999, val_loss = null, nan_metrics = 'val_loss' where execution_id = 1 and epoch = 1"
    row = benchmark.history(edited(db, tmp_path / "copy.sqlite", epoch)).iloc[0]
    assert row["train_loss"] == math.inf
    assert math.isnan(row["val_loss"])


@pytest.mark.parametrize("metric", QUANTITIES)
def test_learning_curves_are_drawn_on_the_axes_that_are_given(metric, db):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert benchmark.learning_curves(db, metric=metric, axes=axes) is axes
    assert metric.split("_")[1] in axes.get_ylabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 4
    assert "$lr_{x$ <b>, scratch (n = 2)" in labels
    axes.figure.draw_without_rendering()


def test_figures_refuse_what_they_cannot_draw(db):
    assert "val_accuracy" in the_message(lambda: benchmark.learning_curves(db, metric="accuracy"))
    assert "dataset=digits" in the_message(lambda: benchmark.accuracy_by_time(RESULTS))


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("heat_map", {"metric": "test_loss"}),
        ("effect_sizes", {"baseline": "scratch", "margin": "0.5pp"}),
        ("time_by_phase", {}),
        ("forecasts", {}),
    ],
)
def test_what_a_report_compares_is_drawn_on_the_axes_that_are_given(name, asked, db):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert getattr(benchmark, name)(RESULTS if name == "forecasts" else db, axes=axes, **asked) is axes
    axes.figure.draw_without_rendering()
    if name == "effect_sizes":
        table = benchmark.report(db, baseline="scratch", margin="0.5pp", tables="summary")["summary"]
        numbers = table["difference_mean"].dropna().tolist()
        drawn = [
            float(line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() in "^vsoXD" and len(line.get_xdata()) == 1
        ]
        assert sorted(drawn) == pytest.approx(sorted(numbers))


def test_accuracy_by_time_leaves_the_settings_of_matplotlib_alone(db, monkeypatch):
    from matplotlib import pyplot as plt

    monkeypatch.setenv("MPLBACKEND", "agg")
    before = dict(mpl.rcParams)
    axes = benchmark.accuracy_by_time(db)
    assert "fit time" in axes.get_xlabel()
    assert len(axes.get_legend().get_texts()) == 4
    assert axes.figure in map(plt.figure, plt.get_fignums())
    plt.close(axes.figure)
    assert dict(mpl.rcParams) == before
    assert os.environ["MPLBACKEND"] == "agg"


def test_the_example_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    from matplotlib import pyplot as plt

    # Jupyter starts in the folder of the notebook, below that of the database
    (tmp_path / "docs").mkdir()
    shutil.copy(RESULTS, tmp_path / "results.sqlite")
    monkeypatch.chdir(tmp_path / "docs")
    names = {"__name__": "__main__"}
    for cell in json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["comparison"].attrs["verdict"] in {"better", "worse", "not resolved", "equivalent"}
    assert names["left"].lines
    assert names["right"].get_legend() is not None
    plt.close(names["figure"])


def outside(code: str, folder: Path) -> str:
    """What a program of a user prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "MPL", "MATPLOTLIB"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=kept, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light_and_quick(tmp_path):
    code = "import sys, time; a = time.process_time(); import benchmark; print(time.process_time() - a, *sys.modules)"
    answers = [outside(code, tmp_path).split() for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in answers) < 0.05
    loaded = {name.split(".")[0] for name in answers[0][1:]}
    assert not loaded & {"pandas", "numpy", "matplotlib", "sqlalchemy", "click", "rich", "tensorflow", "keras"}


def test_a_program_has_the_function_and_the_module_of_one_name_and_keeps_its_backend(tmp_path):
    """Jupyter names its backend in a variable, which the figures of reports take away when they are imported."""
    shutil.copy(RESULTS, tmp_path / "results.sqlite")
    code = """
import os; os.environ["MPLBACKEND"] = "svg"
import benchmark.results.store.location as location
import benchmark
from benchmark import results
assert callable(location.locate)
print(len(results()), len(benchmark.results()), "history" in dir(benchmark), hasattr(benchmark, "nothing"))
benchmark.learning_curves(select="dataset=digits")
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.get_backend(), os.environ.get("MATPLOTLIBRC"))
"""
    assert outside(code, tmp_path).split() == ["36", "36", "True", "False", "svg", "svg", "None"]
