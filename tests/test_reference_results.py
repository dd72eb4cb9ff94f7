"""A new clone: its `results.sqlite` can be read at once, and is the user's from the first run on."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace

from benchmark.machine import default_machine_name
from benchmark.results.store.reference import RESULTS, is_reference

FAKE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n'


class Clone(Workplace):
    """A clone of a repository that has what this one has at the top, with a matrix that trains nothing."""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in super().environment.items() if name != "BENCH_MACHINE"}
        # beside the clone, as the user's cache is
        return {**kept, "BENCH_CACHE": f"{self.directory}-cache"}

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.directory), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def rows(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.directory / "results.sqlite")) as connection:
            return connection.execute(sql).fetchall()

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """`make` with an installation that is there already."""
        programs = self.directory / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "bench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m benchmark "$@"\n')
        (programs / "bench").chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        (programs.parent / ".installed").touch()
        command = ["make", "--no-print-directory", target]
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    place = Clone(tmp_path_factory.mktemp("repository"))
    for name in (".gitignore", "Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, place.directory)
    shutil.copy(RESULTS, place.directory / "results.sqlite")
    place.write(FAKE)
    place.git("init")
    place.git("add", ".")
    place.git("commit", "-m", "one")
    return place.directory


@pytest.fixture
def clone(repository, tmp_path):
    # with their times: git looks only into files that have others than it remembers
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    return Clone(tmp_path)


def test_the_committed_results_are_the_reference():
    # git knows the committed file, also where results of one's own have taken its place
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-s", "results.sqlite", "benchmark/results/reference.sqlite"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    if not listed:
        assert is_reference(ROOT / "results.sqlite")
    else:
        assert listed[1] == listed[5]


def test_before_the_first_run_everything_can_be_read_and_nothing_is_wrong(clone):
    cell_id = clone.rows("select cell_id from cell")[0][0]
    for command in (["report"], ["report", "--reference"], ["status"], ["list", "cells"], ["show", cell_id], ["plan"]):
        assert clone.call(*command).exit_code == 0, command
    checked = clone.call("db", "check")
    assert (checked.exit_code, checked.stdout) == (0, "OK: no damage was found\n")
    assert "the reference results, which come without their files" in checked.stderr
    refused = clone.call("explain", cell_id)
    assert refused.exit_code == 2
    assert f"train it here with: bench run --select cell_id={cell_id}" in refused.stderr
    assert clone.git("status", "--porcelain") == ""


def test_make_run_leaves_git_with_nothing_to_say_and_the_results_are_of_this_machine_alone(clone):
    done = clone.make("run")
    assert done.returncode == 0, done.stderr
    assert "held the reference results and now starts empty" in done.stderr
    assert "reference" not in done.stdout
    assert clone.rows("select machine, status from results") == [(default_machine_name(), "completed")]
    assert clone.git("status", "--porcelain") == ""
    assert clone.rows("select git_dirty from run") == [(0,)]
    shown = clone.call("report", "--reference")
    assert "Measured on machine reference." in shown.stdout
    # and it is not begun anew a second time
    assert clone.call("run").exit_code == 0
    assert clone.rows("select count(*) from run") == [(2,)]
    # the way back that docs/database.md names
    (way,) = re.findall(r"^git update-index --no-skip.*$", (ROOT / "docs" / "database.md").read_text(), re.MULTILINE)
    (clone.directory / "results.sqlite").rename(clone.directory / "mine.sqlite")
    subprocess.run(["bash", "-c", way], cwd=clone.directory, check=True, capture_output=True)
    assert is_reference(clone.directory / "results.sqlite")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--db", "./results.sqlite"),
        pytest.param(("reproduce", "{cell}"), marks=[pytest.mark.tf, pytest.mark.exhaustive]),
    ],
)
def test_the_first_run_in_a_clone_leaves_git_with_nothing_to_say_however_it_is_started(clone, arguments):
    ((cell,),) = clone.rows("select min(cell_id) from results")
    clone.call(*(word.format(cell=cell) for word in arguments))
    assert not is_reference(clone.directory / "results.sqlite")
    assert clone.git("status", "--porcelain") == ""


def test_a_database_that_was_committed_makes_no_run_dirty_and_code_does(clone):
    assert clone.call("run").exit_code == 0
    clone.git("update-index", "--no-skip-worktree", "results.sqlite")
    assert clone.git("status", "--porcelain") == " M results.sqlite\n"
    clone.write(FAKE + "seed = 1\n")
    assert clone.call("run").exit_code == 0
    assert clone.rows("select git_dirty from run") == [(0,), (1,)]


@pytest.mark.parametrize("change", ["update run set name = 'mine'", "vacuum", "create table own (x)"])
def test_only_the_untouched_reference_is_begun_anew(clone, change):
    with closing(sqlite3.connect(clone.directory / "results.sqlite")) as connection:
        connection.executescript(change)
    before = clone.rows("select count(*) from execution")
    assert not is_reference(clone.directory / "results.sqlite")
    assert clone.call("run").exit_code == 0
    assert clone.rows("select count(*) from execution where machine = 'reference'") == before


@pytest.mark.parametrize("name", ["link.sqlite", str(RESULTS)])
def test_no_run_writes_to_the_file_that_comes_with_bench(clone, name):
    (clone.directory / "link.sqlite").symlink_to(RESULTS)
    content = RESULTS.read_bytes()
    refused = clone.call("run", "--db", name)
    assert refused.exit_code == 2
    assert "the reference results stay as they are; give another path with --db" in refused.stderr
    assert clone.call("db", "merge", name, "results.sqlite").exit_code == 2
    assert RESULTS.read_bytes() == content
    assert not Path(f"{RESULTS}.lock").exists()


@pytest.mark.exhaustive
@pytest.mark.tf
def test_a_cell_of_the_reference_is_reproduced_in_a_file_that_begins_anew(clone):
    """The new execution has the number that the original has in the reference."""
    cell_id = clone.rows("select cell_id from execution where execution_id = 1")[0][0]
    done = clone.call("reproduce", cell_id)
    assert (done.exit_code, done.stdout.split(":")[0]) == (0, "identical"), done.stderr
    assert clone.rows("select machine from execution") == [(default_machine_name(),)]
