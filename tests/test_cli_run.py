"""`bench run` as a user sees it: what it asks, says and ends with. The scheduler itself is tested elsewhere."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess

import click
import pytest
from cli_workplace import MATRIX, Workplace
from waiting import wait_until

from benchmark.cli import options
from benchmark.cli.commands import run as run_verb
from benchmark.cli.terminal import streams

ONE_CELL = "seed=0,model=simple_cnn,strategy=scratch,dataset=digits"


@pytest.fixture
def place(tmp_path) -> Workplace:
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


def test_a_run_says_what_it_does_and_what_to_do_next(place):
    done = place.call("run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert "matrix.toml: 14 cells, 1 left out" in done.stderr
    assert done.stderr.count(": completed in ") == 14
    assert "net[/]" in done.stderr
    assert "14 completed in " in done.stderr
    assert "bench report" in done.stderr
    again = place.call("run")
    assert "14 completed (14 from earlier runs)" in again.stderr
    assert again.exit_code == 0


def test_quiet_says_nothing_when_all_is_well(place):
    done = place.call("run", "-q", "--select", ONE_CELL)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_failed_cells_end_with_3_now_and_until_they_are_retried(place):
    done = place.call("run", "--select", ONE_CELL, BENCH_FAULT="epoch.sent:2:raise:ValueError")
    assert done.exit_code == 3
    assert "ValueError" in done.stderr
    assert f"bench run --select {ONE_CELL} --retry-failed" in done.stderr
    shown = re.search(r"bench show ([0-9a-f]{8})", done.stderr)
    traceback = place.call("show", shown[1]).stdout
    assert "Traceback" in traceback
    assert "ValueError" in traceback
    assert place.call("run", "--select", ONE_CELL).exit_code == 3
    retried = place.call("run", "--retry-failed", "--select", ONE_CELL)
    assert retried.exit_code == 0, retried.stderr


def test_the_next_commands_name_the_database_as_it_was_named_and_not_at_all_where_the_variable_does(place):
    typed = place.call("run", "--select", ONE_CELL, "--db", "other.sqlite", BENCH_FAULT="epoch.sent:2:raise:ValueError")
    assert re.search(r"bench show [0-9a-f]{8} --db other.sqlite ", typed.stderr)
    assert f"bench run --select {ONE_CELL} --db other.sqlite --retry-failed" in typed.stderr
    named = place.call("run", "--select", ONE_CELL, "--retry-failed", BENCH_DB="other.sqlite")
    assert "  bench report   compares the results" in named.stderr.splitlines()


def test_the_command_line_is_recorded_without_passwords(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "run", "--db", "postgresql://me:secret@host/db", "--name", "a b"])
    assert streams.command_line() == "bench run --db 'postgresql://me:***@host/db' --name 'a b'"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("15m", 900), ("2h", 7200), ("1.5 h", 5400), ("0.5", 0.5)]
)
def test_durations_have_units(text, seconds):
    assert options.Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "5d", "ten", "1e3"])
def test_other_durations_are_refused(text):
    with pytest.raises(click.BadParameter):
        options.Duration().convert(text, None, None)


MANY = MATRIX.replace("seed = [0, 1, 2]", f"seed = {list(range(2501))}")


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "--yes-n-cells 10006"), (["--yes-n-cells", "7"], "says 7 cells")]
)
def test_more_than_ten_thousand_cells_must_be_meant(place, arguments, words):
    place.write(MANY)
    done = place.call("run", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert [path.name for path in place.directory.iterdir()] == ["matrix.toml"]


def test_a_large_matrix_passes_when_its_number_is_named(place, monkeypatch):
    place.write(MANY)
    monkeypatch.setenv("BENCH_TESTING", "1")
    from benchmark.cli.options import MatrixRequest

    plan = MatrixRequest(str(place.directory / "matrix.toml"), (), (), ()).load()
    run_verb.confirm_size(plan, len(plan.cells))


def wait_for_epochs(place: Workplace, count: int) -> None:
    def recorded() -> bool:
        address = f"file:{place.directory / 'results.sqlite'}?mode=ro"
        with (
            contextlib.suppress(sqlite3.OperationalError),  # not there yet
            contextlib.closing(sqlite3.connect(address, uri=True)) as connection,
        ):
            return connection.execute("select count(*) from history").fetchone()[0] >= count
        return False

    wait_until(recorded, f"{count} epochs are recorded")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.exhaustive)]
)
def test_a_stopped_run_says_how_to_go_on(place, number, code):
    environment = {**place.environment, "BENCH_FAKE_GATE": f"2:{place.directory / 'never'}"}
    with subprocess.Popen(
        place.command("run", "--name", "first try"), cwd=place.directory, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        # of the first cell; whether another one runs beside it is the machine's affair
        wait_for_epochs(place, 1)
        running.send_signal(number)
        out, log = running.communicate()
    assert running.returncode == code, log
    assert (out, "Traceback" in log) == ("", False)
    assert "bench run --name 'first try'   goes on from here" in log


def test_the_reader_of_the_log_may_leave(place):
    """`bench run 2>&1 | head -1`: the run goes on to its end."""
    done = subprocess.run(
        ["sh", "-c", 'exec 3>&1; { "$@" 2>&1; echo "code $?" >&3; } | head -1 >/dev/null', "sh", *place.command("run", "--select", ONE_CELL)],
        cwd=place.directory, env=place.environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.stdout == "code 0\n"
    assert {row["status"] for row in place.document("list", "cells")} == {"completed"}


def test_a_run_of_which_every_cell_is_left_out_is_refused_with_the_reasons(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = ["simple_cnn", "resnet18"]\nstrategy = "scratch"\ndevice = "gpu:7"\n'
    )
    done = place.call("run")
    assert done.exit_code == 2
    assert 'all are left out: 2 cells: device = "gpu:7", but this machine has' in done.stderr
    assert not (tmp_path / "results.sqlite").exists()
