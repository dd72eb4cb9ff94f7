"""`bench db salvage`: what can be read of a file that was damaged somewhere, in a new file whose rows hold together."""

from __future__ import annotations

import functools
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from results_samples import FACTS, MACHINE, begin, cell, epoch, query, run_cell

from benchmark.errors import BusyError, NotFoundError, SchemaError, StorageError, UserError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.results.care import sqlite_shell
from benchmark.results.care.check import check_database
from benchmark.results.care.lost_rows import UNKNOWN_TIME
from benchmark.results.care.pages import varint
from benchmark.results.care.salvage import salvage
from benchmark.results.read.queries import results
from benchmark.results.read.user_query import read_only_query
from benchmark.results.schema.versions import TABLE_NAMES
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.upgrade import upgrade_database

PAGE = 4096
MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1, 2, 3, 4, 5, 6, 7]
"""
KIND = MachineKind(gpus=0, cores=2)


def fill(path: Path) -> None:
    """A database of 40 cells with 12 epochs each, and a traceback that needs pages of its own."""
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell(seed) for seed in range(41)])
        for seed in range(40):
            run_cell(recorder, run_id, cell(seed), epochs=12)
        start = recorder.start_attempt(run_id, cell(40).cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1, train_loss=float("nan"), val_loss=float("inf")))
        recorder.finish_attempt(start.attempt_id, state="failed", log_tail="日本 " * 8000)
        recorder.finish_run(run_id, "failed", 3)


OLD = Path(__file__).with_name("fixtures") / "schema" / "v1.sqlite"


@pytest.mark.parametrize("upgraded", [False, True], ids=["older", "upgraded"])
def test_a_file_of_the_first_version_is_saved_with_every_row(upgraded, tmp_path):
    old, new = Path(shutil.copy(OLD, tmp_path / "old.sqlite")), tmp_path / "new.sqlite"
    if upgraded:
        # its rows lack the columns that came later
        upgrade_database(old)
    saved = salvage(old, new)
    assert saved.complete
    with open_database(new, mode="read") as database:
        assert [row["status"] for row in results(database)].count("completed") == 1
        assert read_only_query(database, "SELECT count(*), sum(forgotten) FROM results")[1] == [(5, 0)]
        assert read_only_query(database, "SELECT count(*) FROM predictions")[1] == [(4,)]


@functools.cache
def shell_recovers() -> bool:
    """Whether a shell that knows `.recover` is installed here; many are built without it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (a)")
        with sqlite_shell.recovered(path, Path(folder)) as script:
            return script is not None


@pytest.fixture(autouse=True, params=["pages", "shell"])
def reader(request, tmp_path_factory, monkeypatch) -> str:
    """Who reads the rows: our reader of pages, or SQLite's own shell."""
    if request.param == "shell" and not shell_recovers():
        pytest.skip("no sqlite3 that can .recover is installed")
    if request.param == "pages":
        monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    return request.param


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "results.sqlite"
    fill(path)
    return path


@pytest.fixture
def damaged(sound, tmp_path) -> Path:
    """A copy, to be damaged."""
    path = tmp_path / "results.sqlite"
    path.write_bytes(sound.read_bytes())
    return path


def rows(path: Path) -> dict[str, set]:
    with closing(sqlite3.connect(path)) as connection:
        return {name: set(connection.execute(f"SELECT * FROM {name}")) for name in TABLE_NAMES}


def roots(path: Path) -> dict[str, int]:
    return dict(query(path, "SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))


def overwrite(path: Path, page: int, content: bytes = bytes(PAGE)) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


def lost(saved) -> dict[str, int]:
    return {table.table: table.lost for table in saved.tables if table.lost}


def test_a_sound_file_is_taken_over_whole(sound, tmp_path, reader):
    saved = salvage(sound, tmp_path / "new.sqlite")
    assert saved.by_shell == (reader == "shell")
    assert saved.complete
    assert rows(tmp_path / "new.sqlite") == rows(sound)
    assert query(tmp_path / "new.sqlite", "PRAGMA user_version") == query(sound, "PRAGMA user_version")
    with open_database(tmp_path / "new.sqlite", mode="write") as database:
        assert check_database(database, None) == []
        begin(database, [cell(99)])


@pytest.mark.parametrize("schema", sorted((Path(__file__).with_name("fixtures") / "schema").glob("*.sqlite")), ids=str)
def test_a_file_of_a_released_schema_keeps_its_version(schema, tmp_path):
    schema = Path(shutil.copy(schema, tmp_path))
    salvage(schema, tmp_path / "new.sqlite")
    assert query(tmp_path / "new.sqlite", "PRAGMA user_version") == query(schema, "PRAGMA user_version")
    assert query(tmp_path / "new.sqlite", "SELECT count(*) FROM epoch") == query(schema, "SELECT count(*) FROM epoch")


def test_without_its_first_page_every_row_is_found_by_its_shape(damaged, sound, tmp_path):
    overwrite(damaged, 1)
    with pytest.raises(StorageError, match="bench db salvage"), open_database(damaged, mode="read"):
        pass
    saved = salvage(damaged, tmp_path / "new.sqlite")
    assert saved.bad_pages == 1
    assert rows(tmp_path / "new.sqlite") == rows(sound)


@pytest.mark.parametrize("table", [name for name in TABLE_NAMES if name not in {"run", "prediction"}])
def test_without_the_root_of_a_table_its_leaves_are_found(table, damaged, sound, tmp_path):
    overwrite(damaged, roots(damaged)[table])
    salvage(damaged, tmp_path / "new.sqlite")
    before, after = rows(sound), rows(tmp_path / "new.sqlite")
    # a WITHOUT ROWID tree keeps rows in its interior pages too; a small table is its root alone
    small = table in {"run_cell", "artifact"}
    for name in TABLE_NAMES:
        if name == table and (small or name == "epoch"):
            assert after[name] <= before[name]
        else:
            assert after[name] == before[name], name


def test_rows_in_the_wal_of_a_killed_run_are_taken(tmp_path):
    path = tmp_path / "results.sqlite"
    code = (
        "import os, signal, sys\n"
        "from results_samples import *\n"
        "from benchmark.results.store.database import open_database\n"
        "recorder, run = begin(open_database(sys.argv[1], mode='write'), [cell()])\n"
        "start = recorder.start_attempt(run, cell().cell_id, MACHINE)\n"
        "for number in range(1, 8): recorder.record(start.attempt_id, epoch(number))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, path], env={"PYTHONPATH": ":".join(filter(None, sys.path))}, check=False
    )
    assert path.with_name("results.sqlite-wal").stat().st_size > 0
    salvage(path, tmp_path / "new.sqlite")
    assert query(tmp_path / "new.sqlite", "SELECT count(*), max(epoch) FROM epoch") == [(7, 7)]


def test_a_lost_run_is_made_again_from_those_that_name_it(damaged, tmp_path):
    overwrite(damaged, roots(damaged)["run"])
    saved = salvage(damaged, tmp_path / "new.sqlite")
    assert {table.table: table.rebuilt for table in saved.tables if table.rebuilt} == {"run": 1}
    ((machine, state, started),) = query(tmp_path / "new.sqlite", "SELECT machine, state, started_utc FROM run")
    assert (machine, state) == (MACHINE, "abandoned")
    assert started != UNKNOWN_TIME
    with open_database(tmp_path / "new.sqlite", mode="read") as database:
        assert len(results(database)) == 41


def test_lost_executions_and_attempts_are_made_again_and_can_go_on(damaged, tmp_path):
    for name in ("execution", "attempt"):
        for (page,) in pages_of(damaged, name):
            overwrite(damaged, page)
    saved = salvage(damaged, tmp_path / "new.sqlite")
    rebuilt = {table.table: table.rebuilt for table in saved.tables if table.rebuilt}
    # the one that failed left no artifact that names its cell
    assert rebuilt == {"execution": 40, "attempt": 40}
    assert query(tmp_path / "new.sqlite", "SELECT DISTINCT status, cause FROM execution") == [
        ("interrupted", "abandoned")
    ]
    with open_database(tmp_path / "new.sqlite", mode="write") as database:
        recorder, run_id = begin(database, [cell(0)])
        start = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE)
        assert (start.execution_id, start.earlier_attempt_ids) == (1, (1,))


def pages_of(path: Path, table: str) -> list[tuple[int]]:
    from benchmark.results.care.pages import page_file

    with page_file(path) as pages:
        before = set(pages.visited)
        list(pages.tree(roots(path)[table]))
        return [(number,) for number in pages.visited - before]


@pytest.mark.parametrize("threads", [1, 2])
def test_lost_cells_are_made_again_from_the_text_of_their_matrix(tmp_path, threads):
    path = tmp_path / "results.sqlite"
    matrix = MATRIX + 'threads = "auto"\n'
    kinds = load_matrix("m.toml", matrix, machine_kind=KIND).undecided
    chosen = replace(KIND, threads=dict.fromkeys(kinds, threads))
    cells = load_matrix("m.toml", matrix, overrides=["epochs=3"], machine_kind=chosen).cells
    facts = {
        "machine": MACHINE,
        "matrix_path": "m.toml",
        "matrix_text": matrix,
        "cpu_cores": 2,
        "command": "bench run --set epochs=3 --jobs 2",
    }
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [*cells, cell(77)], facts=facts)
        for one in (*cells, cell(77)):
            run_cell(recorder, run_id, one, epochs=3)
    before = rows(path)
    for (page,) in pages_of(path, "cell"):
        overwrite(path, page)
    saved = salvage(path, tmp_path / "new.sqlite")
    after = rows(tmp_path / "new.sqlite")
    assert {row[0] for row in after["cell"]} == {one.cell_id for one in cells}
    assert after["cell"] <= before["cell"]
    # of the cell that no matrix tells of nothing is left, and it is said
    assert lost(saved)["cell"] == 1
    assert next(table.which for table in saved.tables if table.table == "cell") == cell(77).cell_id
    assert len(after["execution"]) == len(cells)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_was_damaged_what_is_written_holds_together_and_was_there_before(seed, damaged, sound, tmp_path):
    chance = random.Random(seed)
    content = bytearray(damaged.read_bytes())
    pages = len(content) // PAGE
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(pages) * PAGE
        content[start : start + PAGE] = bytes(PAGE) if chance.random() < 0.5 else chance.randbytes(PAGE)
    if seed % 3 == 0:
        del content[chance.randrange(PAGE, len(content)) :]
    damaged.write_bytes(content)
    target = tmp_path / "new.sqlite"
    saved = salvage(damaged, target)
    assert not saved.complete
    assert damaged.read_bytes() == content
    assert query(target, "PRAGMA integrity_check") == [("ok",)]
    assert query(target, "PRAGMA foreign_key_check") == []
    assert rows(target)["epoch"] <= rows(sound)["epoch"]
    known = {table.table: (table.saved, table.rebuilt) for table in saved.tables}
    for name, found in rows(target).items():
        assert len(found) <= sum(known[name])


def test_nothing_is_ever_overwritten_and_nothing_half_is_left(damaged, tmp_path):
    target = tmp_path / "new.sqlite"
    target.write_text("mine")
    with pytest.raises(UserError, match="expected a path that does not exist, found a file"):
        salvage(damaged, target)
    assert target.read_text() == "mine"
    damaged.write_bytes(random.Random(1).randbytes(20 * PAGE))
    with pytest.raises(StorageError, match="no row of a bench database"):
        salvage(damaged, tmp_path / "other.sqlite")
    assert {path.name for path in tmp_path.iterdir()} == {"results.sqlite", "results.sqlite.lock", "new.sqlite"}


def test_what_is_no_database_of_ours_is_refused_by_name(tmp_path):
    with pytest.raises(NotFoundError, match="found no file"):
        salvage(tmp_path / "none.sqlite", tmp_path / "new.sqlite")
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StorageError, match="empty"):
        salvage(tmp_path / "empty.sqlite", tmp_path / "new.sqlite")
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.executescript("PRAGMA application_id = 7; CREATE TABLE run (a); INSERT INTO run VALUES (1)")
    with pytest.raises(SchemaError, match="application_id"):
        salvage(foreign, tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()


def test_a_newer_schema_is_refused(damaged, tmp_path):
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("PRAGMA user_version = 900")
    with pytest.raises(SchemaError, match="newer bench"):
        salvage(damaged, tmp_path / "new.sqlite")


def test_a_database_that_a_run_holds_is_left_to_it(damaged, tmp_path):
    with lock_database(damaged), pytest.raises(BusyError):
        salvage(damaged, tmp_path / "new.sqlite")


@pytest.mark.parametrize(
    ("content", "number", "length"),
    [(b"\x7f", 127, 1), (b"\x81\x00", 128, 2), (b"\xff" * 9, -1, 9), (b"\x80" * 8 + b"\x01", 1, 9)],
)
def test_numbers_of_variable_length(content, number, length):
    assert varint(b"x" + content + b"x", 1) == (number, 1 + length)


def test_facts_of_the_sample_have_a_matrix_that_is_none():
    # so that the other tests here rebuild no cells
    assert FACTS["matrix_text"] == "[matrix]\n"
