"""Ctrl-C ends every command that can take longer than a second, with 130 and without a traceback, and nothing is half written."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from cli_workplace import MATRIX, Workplace, copied_place, finished_place
from PIL import Image
from waiting import PATIENCE_SECONDS, wait_until

from benchmark.results.schema.tables import SCHEMA_VERSION

pytestmark = pytest.mark.process

FOLDERS = """
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"

[dataset.own]
source = "folder:pictures"
image_size = 16
color = "rgb"
"""

SECONDS = 1.0
"""What a person waits for at most."""

OLD = Path(__file__).with_name("fixtures") / "schema" / "v1.sqlite"
ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"


def as_others(*values: object) -> object:
    """A command that is stuck in the same call as one that is always tried."""
    return pytest.param(*values, marks=pytest.mark.exhaustive)


# a command, and the point at which it is stuck: in a library that does not listen (deep), or in Python (hang)
DATABASE = [
    as_others(("status",), "db.open:1:deep"),
    as_others(("list", "runs"), "db.open:1:deep"),
    as_others(("list", "cells"), "db.open:1:deep"),
    as_others(("show", "{cell}"), "db.open:1:deep"),
    as_others(("why", "{cell}"), "db.open:1:deep"),
    as_others(("plan",), "db.open:1:deep"),
    as_others(("report", "--output", "report.md"), "db.open:1:deep"),
    as_others(("report", "--figures", "drawn"), "db.open:1:deep"),
    as_others(("compare", "strategy=scratch", "strategy=regularized"), "db.open:1:deep"),
    as_others(("reproduce", "{cell}"), "db.open:2:deep"),
    as_others(("predict", "{cell}", "picture.png"), "db.open:1:deep"),
    as_others(("explain", "{cell}"), "db.open:1:deep"),
    as_others(("db", "check"), "db.open:1:deep"),
    as_others(("db", "check"), "db.open:2:deep"),
    as_others(("db", "backup", "copy.sqlite"), "db.open:1:deep"),
    as_others(("db", "export", "exported"), "db.open:1:deep"),
    as_others(("db", "merge", "results.sqlite", "other.sqlite"), "db.open:2:deep"),
    (("db", "merge", "results.sqlite", "other.sqlite"), "db.commit:1:deep"),
    as_others(("db", "salvage", "results.sqlite", "rescued.sqlite"), "db.open:1:deep"),
    as_others(("gc",), "db.open:1:deep"),
    as_others(("gc", "--delete"), "db.open:1:deep"),
    as_others(("query", "select 1"), "db.open:1:deep"),
    (("run",), "expand:1:deep"),
    as_others(("run",), "db.commit:1:deep"),
    as_others(("run", "--dry-run"), "db.open:1:deep"),
    (("run",), "db.commit:2:hang"),
    as_others(("report",), "db.open:1:hang"),
    as_others(("db", "merge", "results.sqlite", "other.sqlite"), "db.commit:1:hang"),
]
# while a file is written aside, or the second of several is deleted or read through
WRITING = [
    as_others(("db", "backup", "copy.sqlite"), "write:1:deep"),
    (("db", "export", "exported"), "write:2:deep"),
    as_others(("db", "export", "exported"), "write:1:hang"),
    as_others(("db", "export", "exported", "--to", "parquet"), "write:1:deep"),
    as_others(("db", "salvage", "results.sqlite", "rescued.sqlite"), "write:1:deep"),
    (("db", "merge", "all.sqlite", "results.sqlite"), "write:2:deep"),
    as_others(("db", "merge", "all.sqlite", "results.sqlite"), "write:2:hang"),
    (("db", "check"), "verify:2:deep"),
    (("gc", "--delete"), "delete:2:deep"),
    as_others(("report", "--output", "report.md"), "write:1:deep"),
    as_others(("report", "--figures", "drawn"), "write:2:deep"),
]
IMAGES = [
    (("plan",), "look:1:deep"),
    as_others(("plan", "--probe"), "look:2:deep"),
    as_others(("run", "--dry-run"), "look:1:deep"),
    (("run",), "look:3:deep"),
    as_others(("prepare",), "look:1:deep"),
    as_others(("plan",), "look:1:hang"),
    as_others(("run",), "look:2:hang"),
]


# in the middle of a migration: of the file, and of the copy that is read
UPGRADES = [
    (("db", "upgrade"), "migrate.step:1:deep"),
    as_others(("db", "upgrade"), "migrate.step:1:hang"),
    as_others(("db", "upgrade"), "write:1:deep"),
    (("run",), "migrate.step:1:hang"),
    as_others(("gc", "--delete"), "migrate.step:1:hang"),
    as_others(("db", "merge", "results.sqlite", "other.sqlite"), "migrate.step:1:deep"),
    (("report",), "migrate.step:1:deep"),
    as_others(("status",), "migrate.step:1:hang"),
    (("db", "upgrade"), "migrate.step:1:kill9"),
    as_others(("run",), "migrate.step:1:kill9"),
]


def named(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    place = finished_place(tmp_path_factory.mktemp("finished"), MATRIX)
    assert place.call("db", "backup", "other.sqlite").exit_code == 0
    for number, folder in enumerate(sorted(place.directory.glob("results.artifacts/*/*"))):
        (folder / f"litter{number}").touch()
    Image.new("RGB", (8, 8)).save(place.directory / "picture.png")
    return place


def temporary(place: Workplace) -> str:
    """A place for temporary files alone, which must be empty in the end."""
    folder = place.directory.parent / f"{place.directory.name}-tmp"
    folder.mkdir(exist_ok=True)
    return str(folder)


def interrupted(place: Workplace, arguments: tuple[str, ...], fault: str) -> tuple[float, subprocess.Popen[str], str]:
    """Sends SIGINT when a command has reached the point where it is stuck."""
    mark = place.directory / "mark"
    process = subprocess.Popen(
        place.command(*arguments),
        cwd=place.directory,
        env={**place.environment, "BENCH_FAULT": fault, "BENCH_FAULT_MARK": str(mark), "TMPDIR": temporary(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        wait_until(lambda: Path(f"{mark}.0").exists() or process.poll() is not None, fault, pause_seconds=0.002)
        assert process.poll() is None, f"it never came to {fault}: {process.communicate()}"
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        seconds = time.monotonic() - begun
    assert not list(Path(temporary(place)).iterdir())
    return seconds, process, stderr


def check_interrupted(seconds: float, process: subprocess.Popen[str], stderr: str) -> None:
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    # where it is stuck it would be for hours; how long it takes at best: the next test
    assert seconds < PATIENCE_SECONDS


def test_ctrl_c_ends_a_command_within_a_second(finished, tmp_path):
    def seconds_to_end(number: int) -> float:
        place = copied_place(finished, tmp_path / str(number))
        seconds, *ended = interrupted(place, ("status",), "db.open:1:deep")
        check_interrupted(seconds, *ended)
        return seconds

    # what other programs do may delay one of them, and not all
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert any(seconds_to_end(number) < SECONDS * busy for number in range(20))


@pytest.mark.parametrize(("arguments", "fault"), DATABASE, ids=named)
def test_ctrl_c_ends_whatever_works_on_a_database(finished, tmp_path, arguments, fault):
    place = copied_place(finished, tmp_path)
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        ((cell,),) = connection.execute("select min(cell_id) from execution where status = 'completed'")
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    check_interrupted(*interrupted(place, tuple(word.format(cell=cell) for word in arguments), fault))

    after = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert before <= after
    grown = {path for path in after - before if not any(part.startswith(".") for part in path.parts)}
    assert {path.name for path in grown} <= {
        "mark.0",
        "results.sqlite-wal",
        "results.sqlite-shm",
        "results.sqlite.lock",
    }
    for name in ("results.sqlite", "other.sqlite"):
        with contextlib.closing(sqlite3.connect(place.directory / name)) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    if arguments[0] == "run" or "merge" in arguments:
        assert place.call("run").exit_code == 0


@pytest.mark.parametrize(("arguments", "fault"), WRITING, ids=named)
def test_ctrl_c_leaves_nothing_half_written(finished, tmp_path, arguments, fault):
    place = copied_place(finished, tmp_path)
    before = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    check_interrupted(*interrupted(place, arguments, fault))

    after = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # a figure that is there is whole
    made = {path.name for path in after.keys() - before.keys() if path.suffix != ".png" or path.name.startswith(".")}
    usual = {f"{name}.sqlite{end}" for name in ("results", "all") for end in ("", "-wal", "-shm", ".lock")}
    assert made - usual <= {"mark.0", ".made-by-bench", "results.csv"}
    litter = {path for path in before if path.name.startswith("litter")}
    assert len(litter - after.keys()) == (arguments[0] == "gc"), "what was done is done, and no more"
    assert {path: before[path] for path in before.keys() - litter} | after == after
    if "merge" in arguments:
        assert place.call(*arguments).exit_code == 0
        assert place.call("db", "check", "--db", "all.sqlite").exit_code == 0


@pytest.mark.parametrize(("arguments", "fault"), IMAGES, ids=named)
def test_ctrl_c_ends_a_look_at_a_users_images(tmp_path, arguments, fault):
    place = Workplace(tmp_path)
    place.write(FOLDERS)
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / part / name / "1.png")
    check_interrupted(*interrupted(place, arguments, fault))
    assert not list(tmp_path.glob("cache/prepared/*/meta.json"))


def content(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        return list(connection.iterdump())


@pytest.mark.parametrize(("arguments", "fault"), UPGRADES, ids=named)
def test_an_upgrade_that_is_ended_in_the_middle_has_changed_nothing(tmp_path, arguments, fault):
    place = Workplace(tmp_path / "place")
    place.directory.mkdir()
    place.write(MATRIX)
    database = Path(shutil.copy(OLD, place.directory / "results.sqlite"))
    shutil.copy(OLD, place.directory / "other.sqlite")
    before = content(database)
    if fault.endswith("kill9"):
        assert place.run(*arguments, BENCH_FAULT=fault).returncode == -9
    else:
        check_interrupted(*interrupted(place, arguments, fault))
        made = {path.name for path in place.directory.glob("*.bak")} | {
            path.name for path in place.directory.glob(".*")
        }
        assert made <= {"results.sqlite.v1.bak"}
    assert content(database) == before
    for kept in place.directory.glob("*.bak"):
        assert content(kept) == before
    done = place.call("db", "upgrade")
    assert done.exit_code == 0, done.stderr
    assert content(place.directory / "results.sqlite.v1.bak") == before
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma user_version").fetchall() == [(SCHEMA_VERSION,)]


@pytest.mark.parametrize("verb", ["explain", "predict"])
def test_ctrl_c_ends_a_process_that_is_waited_for(finished, tmp_path, verb):
    place = copied_place(finished, tmp_path / "place")
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("""update cell set spec = replace(spec, '"fake"', '"tensorflow"')""")
        connection.commit()
    before = {path for path in place.directory.rglob("*") if path.suffix in {".png", ".svg", ".npz"}}
    process = subprocess.Popen(
        place.command(verb, "strategy=scratch,model=simple_cnn,dataset=digits,seed=0", "picture.png"),
        cwd=place.directory,
        env={**place.environment, "TMPDIR": temporary(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # the guardian, and the process that answers
    wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) > 1, "both run", pause_seconds=0.002)
    started = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    check_interrupted(time.monotonic() - begun, process, stderr)
    assert not any(child.is_running() for child in started)
    assert not list(Path(temporary(place)).iterdir())
    assert {path for path in place.directory.rglob("*") if path.suffix in {".png", ".svg", ".npz"}} == before


def test_ctrl_c_ends_a_query_that_never_does(finished, tmp_path):
    place = copied_place(finished, tmp_path)
    process = subprocess.Popen(
        place.command("query", ENDLESS, "--timeout", "600"),
        cwd=place.directory,
        env=place.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    # it has opened the database when the file is among its descriptors, and then it is in SQLite for good
    database = str(place.directory / "results.sqlite")
    while database not in _files_of(process.pid):
        assert process.poll() is None
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    check_interrupted(time.monotonic() - begun, process, stderr)


def _files_of(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for number in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(number.readlink()))
    return found
