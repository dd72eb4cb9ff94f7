"""`bench db salvage|merge|export` and `bench gc`, from the outside; and damage that `bench db check` names."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import MATRIX, Workplace, copied_place, finished_place

from benchmark import layout
from benchmark.errors import UserError


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    return finished_place(tmp_path_factory.mktemp("finished"), MATRIX)


@pytest.fixture
def place(finished, tmp_path) -> Workplace:
    return copied_place(finished, tmp_path)


def query(place: Workplace, sql: str, database: str = "results.sqlite") -> list:
    with closing(sqlite3.connect(place.directory / database)) as connection:
        return connection.execute(sql).fetchall()


def test_a_damaged_file_is_refused_with_the_command_that_saves_it_and_goes_on_afterwards(place):
    file = place.directory / "results.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 4] = bytes(4096 * 2)
    file.write_bytes(content)
    refused = place.call("run")
    assert refused.exit_code == 4
    assert "bench db salvage 'results.sqlite' rescued.sqlite" in refused.stderr
    assert file.read_bytes() == content
    done = place.call("db", "salvage", "results.sqlite", "rescued.sqlite", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert file.read_bytes() == content
    assert {row["table"] for row in json.loads(done.stdout)} >= {"run", "cell", "execution", "epoch"}
    file.rename(place.directory / "damaged.sqlite")
    (place.directory / "rescued.sqlite").rename(file)
    assert place.call("run").exit_code == 0
    assert place.call("db", "check").exit_code == 0
    assert place.call("report").exit_code == 0


def test_salvage_overwrites_nothing(place):
    done = place.call("db", "salvage", "results.sqlite", "matrix.toml")
    assert done.exit_code == 2
    assert (place.directory / "matrix.toml").read_text() == MATRIX


def test_two_machines_are_merged_once(place):
    assert place.call("run", "--machine", "other", "--db", "other.sqlite", "--select", "seed=0").exit_code == 0
    done = place.call("db", "merge", "all.sqlite", "results.sqlite", "other.sqlite", "--format", "json")
    assert done.exit_code == 0, done.stderr
    ours, theirs = json.loads(done.stdout)
    assert (ours["execution"], theirs["cell"]) == (14, 0)
    again = json.loads(
        place.call("db", "merge", "all.sqlite", "other.sqlite", "results.sqlite", "--format", "json").stdout
    )
    assert not any(value for row in again for key, value in row.items() if key != "source")
    assert place.call("db", "check", "--db", "all.sqlite").exit_code == 0
    machines = query(place, "SELECT DISTINCT machine FROM results ORDER BY 1", "all.sqlite")
    assert machines == [("other",), ("tester",)]
    assert place.call("report", "--db", "all.sqlite", "--machine", "tester").exit_code == 0


def test_a_database_is_not_merged_into_itself_and_its_holder_is_waited_for_by_nobody(place):
    (place.directory / "link.sqlite").symlink_to("results.sqlite")
    for source in ("results.sqlite", "link.sqlite"):
        done = place.call("db", "merge", "results.sqlite", source)
        assert done.exit_code == 2
        assert "another database" in done.stderr
    assert place.call("db", "merge", "results.sqlite", "none.sqlite").exit_code == 2
    assert place.call("db", "merge", "results.sqlite").exit_code == 2


def test_export_writes_the_views_and_the_cells(place):
    assert place.call("db", "export", "out").exit_code == 0
    assert place.call("db", "export", "out", "--format", "json").exit_code == 0
    out = place.directory / "out"
    for name in ("results", "history", "cells"):
        rows = list(csv.DictReader(io.StringIO((out / f"{name}.csv").read_text())))
        assert len(rows) == len(json.loads((out / f"{name}.json").read_text()))
        if name != "cells":
            assert list(rows[0]) == [column for _, column, *_ in query(place, f"PRAGMA table_info({name})")]
    cells = json.loads((out / "cells.json").read_text())
    assert all(cell["spec"]["cell_id"] == cell["cell_id"] for cell in cells)
    assert "net[/]" in {cell["model"] for cell in cells}
    assert {path.suffix for path in out.iterdir() if path.name != layout.OWN_MARK} == {".csv", ".json"}
    (place.directory / "file").touch()
    assert place.call("db", "export", "file").exit_code == 4


def test_gc_shows_first_and_deletes_when_asked(place):
    orphan = place.directory / "results.artifacts" / ("0" * 20) / "99"
    orphan.mkdir(parents=True)
    (orphan / "weights.npz").write_bytes(b"x" * 2048)
    before = sorted(place.directory.rglob("*"))
    shown = place.document("gc")
    assert sorted(place.directory.rglob("*")) == before
    assert {row["kind"] for row in shown} == {"orphan", "state"}
    assert next(row for row in shown if row["kind"] == "orphan")["size_bytes"] == 2048
    registered = {path for (path,) in query(place, "SELECT path FROM artifact")}
    done = place.call("gc", "--delete")
    assert done.exit_code == 0
    assert "deleted" in done.stderr
    assert not orphan.parent.exists()
    assert place.document("gc") == []
    root = place.directory / "results.artifacts"
    left = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert left == {*registered, ".made-by-bench"}
    assert place.call("db", "check").exit_code == 0
    assert "14 completed (14 from earlier runs)" in place.call("run").stderr


def test_gc_takes_caches_only_when_asked_and_refuses_while_a_run_goes_on(place):
    cached = place.directory / "cache" / "prepared" / "digits-8"
    cached.mkdir(parents=True)
    assert "cache" not in {row["kind"] for row in place.document("gc")}
    assert "cache" in {row["kind"] for row in place.document("gc", "--caches")}
    from benchmark.results.store.lock import lock_database

    with lock_database(place.directory / "results.sqlite"):
        assert place.call("gc").exit_code == 0
        assert place.call("gc", "--delete").exit_code == 75
    assert place.call("gc", "--delete", "--caches").exit_code == 0
    assert not cached.exists()


@pytest.mark.parametrize(
    ("arguments", "reader"),
    [
        (("report", "--figures", "drawn"), "benchmark.cli.reports.figure_option.draw_figures"),
        (("explain", "seed=0"), "benchmark.cli.commands.explain._question"),
    ],
)
def test_caches_are_not_taken_from_a_command_that_reads_images(place, monkeypatch, arguments, reader):
    (place.directory / "cache").mkdir(exist_ok=True)

    def reading(*_):
        refused = place.run("gc", "--delete", "--caches")
        raise UserError(f"meanwhile: {refused.returncode}")

    monkeypatch.setattr(reader, reading)
    assert "meanwhile: 75" in place.call(*arguments).stderr
    assert place.call("gc", "--delete", "--caches").exit_code == 0


def test_a_bit_that_flipped_in_a_metric_names_the_cell_and_the_attempt(place):
    columns = (
        "cell_id, attempt_id, epoch.train_loss FROM epoch JOIN execution USING (execution_id) JOIN cell USING (cell_id)"
    )
    # of the one cell whose numbers no other has, and not of the epoch that its result repeats
    found = query(place, f"SELECT {columns} WHERE strategy = 'from_low_digits' AND epoch.epoch = 2")
    ((cell_id, attempt_id, loss),) = found
    file = place.directory / "results.sqlite"
    content = bytearray(file.read_bytes())
    stored = struct.pack(">d", loss)
    assert content.count(stored) == 2, "train_loss and val_loss of the fake backend are equal"
    content[content.index(stored) + 6] ^= 0x10
    file.write_bytes(content)
    done = place.call("db", "check", "--format", "json")
    assert done.exit_code == 4
    (finding,) = json.loads(done.stdout)
    assert finding["kind"] == "digest"
    assert f"cell {cell_id}" in finding["where"]
    assert f"attempt {attempt_id}" in finding["where"]
    assert place.call("db", "check").exit_code == 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "expected"),
        (lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]), "sha256"),
    ],
)
def test_a_missing_or_changed_artifact_is_named_and_its_cell_runs_again(damage, said, place):
    weights = sorted((place.directory / "results.artifacts").rglob("weights.npz"))[3]
    damage(weights)
    (finding,) = json.loads(place.call("db", "check", "--format", "json").stdout)
    assert (finding["kind"], said in finding["detail"]) == ("artifact", True)
    assert finding["where"] == weights.relative_to(place.directory / "results.artifacts").as_posix()
    done = place.call("run")
    assert done.exit_code == 0
    assert "14 completed (13 from earlier runs)" in done.stderr


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ("update cell set spec = '{'", ["report"], "spec: expected the settings of a cell as JSON"),
        ("update run set memory_bytes = 'nan'", ["show", "dataset=digits_high"], "memory_bytes: expected integer"),
        ("update run set started_utc = 'x'", ["status"], "started_utc: expected a date and time"),
        ("update cell set spec = '[]'", ["db", "merge", "all.sqlite", "results.sqlite"], "spec: expected the settings"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_row_that_somebody_edited_is_damage_of_the_database_and_no_defect_of_ours(place, change, words, said):
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute(change)
        connection.commit()
    done = place.call(*words)
    assert done.exit_code == 4, done.stderr
    assert said in done.stderr
    assert "bench db salvage" in done.stderr
    assert "defect" not in done.stderr
    assert place.call("db", "check").exit_code == 4


def test_a_defect_of_ours_is_not_blamed_on_a_sound_database(place, monkeypatch):
    def slip(*_, **__):
        raise ValueError("a slip of ours")

    monkeypatch.setattr("benchmark.results.read.queries.results", slip)
    done = place.call("report")
    assert done.exit_code == 1
    assert "ValueError: a slip of ours" in done.stderr


def test_what_somebody_edited_is_salvaged_as_far_as_the_rest_tells_it(place):
    clean = query(place, "select cell_id, spec from cell order by cell_id")
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("update cell set spec = '{' where rowid = 1")
        connection.execute("update run set started_utc = 'yesterday'")
        connection.commit()
    done = place.call("db", "salvage", "results.sqlite", "rescued.sqlite")
    assert done.exit_code == 0, done.stderr
    assert place.call("report", "--db", "rescued.sqlite").exit_code == 0
    assert query(place, "select cell_id, spec from cell order by cell_id", "rescued.sqlite") == clean
    # a moment is no number of a result
    assert query(place, "select count(*) from execution", "rescued.sqlite") == query(
        place, "select count(*) from execution"
    )
