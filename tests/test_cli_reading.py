"""The commands that read the database: list, status, show, report, compare, query, db."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from cli_workplace import MATRIX, Workplace
from rich.cells import cell_len

import benchmark
from benchmark.reporting.writers.formats import FORMATS
from benchmark.results.read.alive import is_alive


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("finished"))
    place.write(MATRIX)
    done = place.call("run", "--name", "[first]")
    assert done.exit_code == 0, done.stderr
    return place


@pytest.fixture
def copy(finished, tmp_path) -> Workplace:
    """The same, to be changed."""
    shutil.copytree(finished.directory, tmp_path, dirs_exist_ok=True)
    return Workplace(tmp_path)


READING = [
    ["status"], ["list", "cells"], ["list", "runs"], ["show", "seed=0,model=net*,strategy=scratch"], ["report"],
    ["query", "select * from results"], ["compare", "strategy=scratch", "strategy=regularized"], ["db", "check"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", READING, ids=lambda words: words[0])
@pytest.mark.parametrize("output_format", ["table", "json", "csv"])
def test_every_reading_command_speaks_table_json_and_csv(finished, arguments, output_format):
    done = finished.call(*arguments, "--format", output_format)
    assert done.exit_code == 0, done.stderr
    if output_format == "json":
        json.loads(done.stdout)
    elif arguments[0] != "db" or output_format == "table":
        assert done.stdout
    assert "Traceback" not in done.stderr


TABLES_ON_REQUEST = ["rankings", "pareto", "time", "variance", "history", "calibration", "classes", "confusion"]


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("table", TABLES_ON_REQUEST)
def test_every_table_on_request_is_printed_at_any_width_and_as_json(table, columns, finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    done = finished.call("report", "--table", table)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    document = finished.document("report", "--table", table)
    assert {each["name"] for each in document["tables"]} <= {table}


@pytest.mark.parametrize("budget", [["--at", "1h"], ["--at-epoch", "2"]])
def test_a_report_at_a_budget_shows_what_the_cells_had_come_to(budget, finished):
    rows = finished.document("report", "--table", "summary", *budget)["tables"][0]["rows"]
    epochs = finished.document("query", "select cell_id, epoch, elapsed_seconds from history")
    assert all(each["elapsed_seconds"] > 0 for each in epochs)
    shown = [row for row in rows if row["val_accuracy"]]
    assert shown
    assert all(row["test_accuracy"] is None for row in shown)
    if "--at-epoch" in budget:
        assert {value for row in shown for value in row["epochs"]["values"]} == {2}


def test_two_budgets_are_one_too_many(finished):
    done = finished.call("report", "--at", "60s", "--at-epoch", "2")
    assert done.exit_code == 2
    assert "give one of them" in done.stderr


@pytest.mark.parametrize("arguments", READING, ids=lambda words: words[0])
def test_without_a_database_the_cure_is_named(tmp_path, arguments):
    done = Workplace(tmp_path).call(*arguments)
    assert done.exit_code == 2
    assert "bench run" in done.stderr
    assert not list(tmp_path.iterdir())


def test_list_cells_takes_selections_on_any_setting(finished):
    rows = finished.document("list", "cells", "--select", "model=net*,seed=0", "--select", "strategy=from_low_digits")
    assert {(row["model"], row["seed"]) for row in rows} == {("net[/]", 0), ("simple_cnn", 0)}
    assert len(rows) == 3
    assert finished.document("list", "cells", "--select", "batch_size=64,epochs=4", "--exclude", "seed=0|1") == (
        finished.document("list", "cells", "--select", "seed=2")
    )


PRINTED = [
    ["plan"], ["list", "cells"], ["list", "models"], ["list", "runs"], ["list", "datasets"], ["why", "model=vgg16"],
    ["why", "model=net*,seed=0,strategy=scratch"], ["status"], ["show", "seed=0,model=net*,strategy=scratch"],
    ["query", "select * from results"], ["query", "--schema"], ["doctor"], ["db", "check"], ["gc"],
    ["forget", "--undo"], ["judge", "strategy=scratch", "strategy=regularized", "--campaign", "c"],
    ["compare", "strategy=scratch", "strategy=regularized"], ["report"], ["db", "merge", "others.sqlite", "results.sqlite"],
]  # fmt: skip


EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.parametrize("columns", [40, pytest.param(80, marks=EXHAUSTIVE), pytest.param(200, marks=EXHAUSTIVE)])
@pytest.mark.parametrize("command", PRINTED, ids=" ".join)
def test_no_width_breaks_an_id_a_name_or_a_word(command, columns, copy, monkeypatch):
    whole = copy.call(*command).stdout
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = copy.call(*command).stdout.splitlines()
    words = {word for word in re.findall(r"\w{4,}", whole) if len(word) <= 20}
    assert words <= set(re.findall(r"\w+", "\n".join(lines)))
    assert all(line == line.rstrip() for line in lines)
    # a path stays whole where it stands in a sentence
    assert all(cell_len(line) <= columns or len(line.split()) == 1 for line in lines)


def test_what_no_cell_has_yet_is_an_empty_list(finished):
    done = finished.call("list", "cells", "--select", "status=failed")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no recorded cell matches" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("report", "--select", "model=simple_cn"),
            "14 results here match; did you mean 'simple_cnn'? model is 'net[/]' or 'simple_cnn'",
        ),
        (("report", "--exclude", "model=*"), "--exclude model=*: none of the 14 results here match"),
        (("report", "--select", "seed=9"), "seed is '0', '1' or '2'"),
        (("report", "--select", "strategy=from_low_digits,seed=1"), "each of its terms matches some"),
        (("report", "--machine", "elsewhere"), "expected one of 'tester', whose 14 results are here, got 'elsewhere'"),
        (("list", "cells", "--select", "model=nope"), "model is 'net[/]' or 'simple_cnn'"),
        (("list", "cells", "--machine", "elsewhere"), "expected one of 'tester'"),
        (("report", "--metric", "test_acuracy"), "got 'test_acuracy'; did you mean 'test_accuracy'?"),
        (("show", "model=nope"), "model is 'net[/]'"),
        (("compare", "strategy=scratch", "strategy=nope"), "strategy is 'from_low_digits'"),
        (("compare", "strategy=scratch", "strategy=regularized", "--machine", "elsewhere"), "elsewhere"),
    ],
)
def test_names_that_no_result_has_are_answered_with_those_that_there_are(command, said, finished):
    done = finished.call(*command)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("kind", ["datasets", "models", "strategies", "presets"])
def test_what_can_be_named_is_listed_without_a_database(kind, tmp_path):
    rows = Workplace(tmp_path).document("list", kind)
    assert all(row["name"] and row["summary"] for row in rows)


def test_definitions_of_the_matrix_are_listed_too(finished):
    names = {row["name"]: row["defined_in"] for row in finished.document("list", "models")}
    assert (names["net[/]"], names["resnet18"]) == ("matrix.toml", "bench")


def test_runs_have_their_names_and_counts(finished):
    (run,) = finished.document("list", "runs")
    assert (run["name"], run["machine"], run["planned"], run["left_out"]) == ("[first]", "tester", 14, 1)
    assert "[first]" in finished.call("list", "runs").stdout


def test_a_run_whose_process_is_gone_is_abandoned_in_every_format(copy):
    with closing(sqlite3.connect(copy.directory / "results.sqlite")) as connection, connection:
        connection.execute("update run set state = 'running', finished_utc = null, process_start_ticks = -1")
    assert "abandoned" in copy.call("list", "runs").stdout.replace(",", "").split()
    assert copy.document("list", "runs")[0]["state"] == "abandoned"
    status = copy.document("status")
    assert (status["run"]["state"], status["alive"], status["running"]) == ("abandoned", False, [])


def test_all_commands_say_that_what_a_dead_run_left_open_is_interrupted(copy):
    file = copy.directory / "results.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        for (trigger,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {trigger}")
        connection.execute("update run set state = 'running', finished_utc = null, process_start_ticks = -1")
        connection.execute("update attempt set state = 'running' where execution_id = 1")
        connection.execute("update execution set status = 'running' where execution_id = 1")
    assert "13 completed, 1 interrupted, 1 left out" in copy.call("status").stdout
    assert ": abandoned, its process is gone; `bench run` continues" in copy.call("status").stdout
    (open_cell,) = (row for row in copy.document("list", "cells") if row["status"] != "completed")
    assert (open_cell["status"], open_cell["cause"]) == ("interrupted", "abandoned")
    report, page = (copy.call("report", "--format", name).stdout for name in ("table", "html"))
    assert "1 interrupted (abandoned)" in report
    assert "interrupted (abandoned)" in page
    shown = copy.document("show", open_cell["cell_id"])
    assert (shown["execution"]["status"], shown["attempts"][-1]["state"]) == ("interrupted", "abandoned")
    assert not [text for text in (report, page, copy.call("status").stdout) if "1 running" in text]
    frame = benchmark.results(file, select=f"cell_id={open_cell['cell_id']}")
    assert frame[["status", "cause"]].to_numpy().tolist() == [["interrupted", "abandoned"]]
    assert copy.call("db", "export", "exported").exit_code == 0
    with (copy.directory / "exported" / "results.csv").open() as exported:
        assert [row["status"] for row in csv.DictReader(exported)].count("interrupted") == 1
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("select status from execution where execution_id = 1").fetchone() == ("running",)


def test_status_counts_the_cells_of_the_run(finished):
    document = finished.document("status")
    assert document["counts"] == {"completed": 14, "skipped": 1}
    assert document["alive"] is False
    assert "14/14 cells: 14 completed, 1 left out" in finished.call("status").stdout


def test_follow_ends_with_the_run(finished):
    done = finished.call("status", "--follow")
    assert done.exit_code == 0
    assert "14 completed" in done.stdout


def test_follow_refuses_a_format(finished):
    assert finished.call("status", "--follow", "--format", "json").exit_code == 2


@pytest.mark.parametrize("number", ["99", "9" * 20, "-1"])
def test_a_run_that_is_not_there_is_the_users_mistake(number, finished):
    done = finished.call("status", "--run", number)
    assert done.exit_code == 2
    assert "bench list runs" in done.stderr


def running(**changes):
    from benchmark import machine

    pid = changes.get("pid", 1)
    return {
        "run_id": 1, "name": None, "state": "running", "machine": "tester", "boot_id": machine.boot_id(), "pid": pid,
        "process_start_ticks": machine.process_start_ticks(1), "started_utc": "2026-01-01T00:00:00.000Z",
        "finished_utc": None, **changes,
    }  # fmt: skip


def test_a_dead_run_is_not_taken_for_a_running_one():
    assert is_alive(running(), served=False)
    assert not is_alive(running(state="completed"), served=False)
    assert not is_alive(running(process_start_ticks=-1), served=False)
    assert not is_alive(running(pid=2**22 + 1), served=False)
    assert not is_alive(running(boot_id="another"), served=False)
    assert is_alive(running(boot_id="another"), served=True)


def test_show_has_everything_of_a_cell(finished):
    record = finished.document("show", "strategy=from_low_digits")
    assert record["settings"]["weights"] == "parent"
    assert [row["epoch"] for row in record["epochs"]] == [1, 2, 3, 4]
    assert record["execution"]["status"] == "completed"
    assert record["environment"]["machine"] == "tester"
    assert [row["kind"] for row in record["artifacts"]] == ["weights", "predictions", "validation_predictions"]
    text = finished.call("show", record["cell"]["cell_id"][:6]).stdout
    assert record["model"] == {
        "architecture": "simple_cnn",
        "dense_units": 128,
        "dropout": 0.25,
        "filters": [32, 64],
        "kernel_size": 3,
    }
    assert record["code"] == {}
    assert "filters       32, 64" in text
    for heading in ("settings", "model", "results", "epochs", "attempts", "environment", "artifacts"):
        assert f"\n{heading}\n" in text
    assert "val_accuracy" in text
    assert "kept" in text


@pytest.mark.parametrize(
    ("meant", "words"),
    [("abc", "4 digits"), ("zzzzzz", "no cell"), ("model=simple_cnn", "matches 8"), ("seed=7", "seed is")],
)
def test_a_cell_that_is_not_one_cell_is_refused(finished, meant, words):
    done = finished.call("show", meant)
    assert done.exit_code == 2
    assert words in done.stderr


def test_show_on_a_machine_without_results_names_those_with(finished):
    done = finished.call("show", "strategy=from_low_digits", "--machine", "elsewhere")
    assert done.exit_code == 2
    assert "tester" in done.stderr


def test_show_csv_has_one_row_for_each_epoch(finished):
    rows = list(
        csv.DictReader(io.StringIO(finished.call("show", "strategy=from_low_digits", "--format", "csv").stdout))
    )
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]


def test_rewritten_lines_of_a_log_are_shown_once(finished):
    from benchmark.cli.texts.show_text import _as_lines

    assert _as_lines("1/3\r2/3\r3/3\ndone\r\n") == "3/3\ndone"


@pytest.mark.parametrize("output_format", FORMATS)
def test_report_has_its_formats(finished, output_format):
    done = finished.call("report", "--format", output_format)
    assert done.exit_code == 0, done.stderr
    assert "regularized" in done.stdout.replace("\\", "")


def test_report_shows_what_is_selected_of_the_last_run(finished):
    document = finished.document("report", "--last-run", "--select", "seed=0")
    assert document["answer"] != ["No result is left to show."]
    assert document["tables"][0]["rows"]


def test_report_prints_one_table_when_asked(finished):
    tables = finished.document("report", "--table", "progression")["tables"]
    assert tables
    assert all("rogression" in json.dumps(table) for table in tables)


def test_report_writes_a_file_and_checks_it_later(copy):
    assert copy.call("report", "--output", "report.md").exit_code == 0
    text = (copy.directory / "report.md").read_text()
    assert text.startswith("# Report")
    assert copy.call("report", "--check", "report.md").exit_code == 0
    (copy.directory / "report.md").write_text(text + "x")
    done = copy.call("report", "--check", "report.md")
    assert done.exit_code == 2
    assert "out of date" in done.stderr


def test_report_never_replaces_the_database(copy):
    done = copy.call("report", "--output", "results.sqlite")
    assert done.exit_code == 2
    assert copy.call("db", "check").exit_code == 0


def test_report_takes_other_comparisons_from_a_file(copy):
    copy.write(
        MATRIX.replace("[report]", "[report]\ntransfer = [{fine_tuned='regularized', scratch='scratch'}]"), "b.toml"
    )
    assert (
        "transfer" in json.dumps(copy.document("report", "--matrix", "b.toml", "--table", "transfer")["tables"]).lower()
    )


def test_compare_can_fail_a_build(finished):
    arguments = ["compare", "strategy=scratch", "strategy=regularized"]
    assert "not resolved" in finished.call(*arguments).stdout
    assert finished.call(*arguments, "--fail-if", "worse").exit_code == 0
    done = finished.call("compare", "strategy=scratch", "strategy=nothing")
    assert done.exit_code == 2


def test_a_gate_says_on_stderr_why_it_fails_and_after_the_table(finished):
    done = finished.call("compare", "strategy=scratch|from_low_digits", "strategy=regularized", "--fail-if", "worse")
    assert done.exit_code == 3
    assert "B against A" in done.stdout
    assert "--fail-if worse: no evidence: digits_high, simple_cnn, from_low_digits: B has no counterpart" in done.stderr
    assert finished.call("compare", "model=simple_cnn", "model=net*", "--fail-if", "worse:lots").exit_code == 2
    needs = finished.call("compare", "strategy=scratch", "strategy=regularized", "--fail-if", "not-equivalent")
    assert (needs.exit_code, "--margin" in needs.stderr) == (2, True)


def test_two_runs_are_compared_over_all_their_cells(copy):
    assert copy.call("run", "--rerun", "--name", "again").exit_code == 0
    for second in ("run=2", "run=again"):
        found = copy.document("compare", "run=1", second, "--format", "json")["tables"][0]
        accuracies = [each for each in found["rows"] if each["metric"] == "test accuracy"]
        assert len(accuracies) == 7, "six groups, and all together"
        assert all(each["difference"]["mean"] == 0 for each in accuracies)
        assert not any("themselves" in note for note in found["notes"])
    done = copy.call("compare", "run=1", "run=3")
    assert (done.exit_code, "run is '1', '2'" in done.stderr) == (2, True)


def test_strict_names_rows_that_were_not_made_alike(copy):
    arguments = ["compare", "strategy=scratch", "strategy=regularized", "--strict", "--format", "json"]
    assert copy.call(*arguments).exit_code == 0
    assert copy.call("run", "--rerun", "--select", "strategy=regularized").exit_code == 0
    with closing(sqlite3.connect(copy.directory / "results.sqlite")) as connection, connection:
        connection.execute("UPDATE run SET keras_version = '9.9' WHERE run_id = 2")
    done = copy.call(*arguments)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["tables"]
    assert "not made alike: digits simple_cnn scratch and digits simple_cnn regularized: keras_version" in done.stderr
    assert copy.call("report", "--strict").exit_code == 3


def test_the_summary_has_a_baseline_on_request(finished):
    rows = finished.document(
        "report", "--baseline", "scratch", "--table", "summary", "--margin", "5pp", "--format", "json"
    )["tables"][0]["rows"]
    judged = [each for each in rows if each["difference"]]
    assert {each["strategy"] for each in judged} == {"regularized"}
    assert {each["difference"]["margin"] for each in judged} == {0.05}
    assert finished.call("report", "--baseline", "nothing").exit_code == 2


def test_query_reads_and_does_not_write(finished):
    rows = finished.document("query", "select model, count(*) as n from results group by model order by model")
    assert rows == [{"model": "net[/]", "n": 6}, {"model": "simple_cnn", "n": 8}]
    for sql in ("drop table run", "delete from epoch", "select 1; select 2", "attach 'x' as y", "selec 1", ""):
        done = finished.call("query", sql)
        assert done.exit_code == 2, sql
        assert done.stdout == ""


def test_query_keeps_columns_of_the_same_name_apart(finished):
    assert finished.document("query", "select 1 as a, 2 as a") == [{"a": 1, "a_2": 2}]


def test_db_check_finds_what_was_changed(copy):
    (weights, *_) = (copy.directory / "results.artifacts").rglob("weights.npz")
    weights.write_bytes(b"other")
    done = copy.call("db", "check", "--format", "json")
    assert done.exit_code == 4
    assert "artifact" in done.stdout


def test_db_backup_makes_a_database_and_overwrites_nothing(copy):
    assert copy.call("db", "backup", "copy.sqlite").exit_code == 0
    assert copy.document("list", "cells", "--db", "copy.sqlite") == copy.document("list", "cells")
    assert copy.call("db", "backup", "copy.sqlite").exit_code == 2


def test_db_upgrade_of_the_newest_schema_does_nothing(copy):
    done = copy.call("db", "upgrade")
    assert done.exit_code == 0
    assert "nothing to do" in done.stderr


def test_plan_knows_what_is_done_on_this_machine_only(finished):
    assert {cell["status"] for cell in finished.document("plan")["cells"]} == {"completed"}
    assert {cell["status"] for cell in finished.document("plan", "--machine", "other")["cells"]} == {"pending"}
