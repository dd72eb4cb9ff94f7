from __future__ import annotations

import hashlib
import sqlite3
import struct
from contextlib import closing

import pytest
from results_samples import MACHINE, begin, cell, epoch, run_cell

from benchmark.events import ArtifactWritten
from benchmark.results.care.check import artifact_problem, check_database
from benchmark.results.store.database import open_database


@pytest.fixture
def filled(tmp_path):
    """A closed database with two completed cells; one loss of the second has bytes that are easy to find."""
    path = tmp_path / "results.sqlite"
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell(0), cell(1)])
        run_cell(recorder, run_id, cell(0))
        start = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1, train_loss=0.12345678912345678))
        recorder.finish_attempt(start.attempt_id, state="diverged")
        recorder.finish_run(run_id, "completed", 0)
    return path


def check(path, root=None):
    with open_database(path, mode="read") as database:
        return check_database(database, root)


def test_a_single_bit_that_flipped_on_the_disk_names_the_attempt(filled):
    assert check(filled) == []
    content = bytearray(filled.read_bytes())
    loss = struct.pack(">d", 0.12345678912345678)
    found = [place for place in range(len(content)) if content.startswith(loss, place)]
    content[found[-1] + 7] ^= 1
    filled.write_bytes(content)
    (finding,) = check(filled)
    assert finding.kind == "digest"
    assert cell(1).cell_id in finding.where
    assert "attempt 2" in finding.where


def test_a_zeroed_page_is_found(filled):
    with filled.open("r+b") as file:
        # not of the catalogue, without which the file would not open
        file.seek(4096 * 4)
        file.write(bytes(4096))
    assert {finding.kind for finding in check(filled)} == {"file"}


def test_a_row_without_the_row_it_belongs_to_is_found(filled):
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute("DELETE FROM attempt WHERE attempt_id = 1")
        connection.commit()
    found = {(finding.kind, finding.where.split()[0]) for finding in check(filled)}
    assert ("reference", "epoch") in found or ("reference", "artifact") in found


def test_artifacts_are_checked_by_size_and_sha256_and_only_inside_their_folder(tmp_path):
    root = tmp_path / "results.artifacts"
    (root / "c" / "1").mkdir(parents=True)
    file = root / "c" / "1" / "weights.npz"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert artifact_problem(root, "c/1/weights.npz", digest, 7) is None
    assert artifact_problem(root, "c/1/weights.npz", digest, 8) == "expected 8 bytes, got 7"
    file.write_bytes(b"weighty")
    assert artifact_problem(root, "c/1/weights.npz", digest, 7).startswith("expected the sha256")
    assert artifact_problem(root, "c/1/none.npz", digest, 7) == "is missing"
    assert artifact_problem(root, "c/1", digest, file.parent.stat().st_size).startswith("cannot be read")
    (tmp_path / "secret").write_bytes(b"weights")
    (root / "link").symlink_to(tmp_path / "secret")
    for path in ("../secret", "link", str(tmp_path / "secret")):
        assert artifact_problem(root, path, digest, 7) == "leads out of the artifacts folder"


def test_the_artifacts_of_a_database_are_checked_against_its_rows(tmp_path):
    path, root = tmp_path / "results.sqlite", tmp_path / "results.artifacts"
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        file = root / cell().cell_id / str(start.attempt_id) / "weights.npz"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
        digest = hashlib.sha256(b"weights").hexdigest()
        recorder.record(start.attempt_id, ArtifactWritten("weights", "weights.npz", digest, 7))
    assert check(path, root) == []
    file.write_bytes(b"weightz")
    (finding,) = check(path, root)
    assert (finding.kind, finding.where) == ("artifact", f"{cell().cell_id}/{start.attempt_id}/weights.npz")
    root.rename(tmp_path / "elsewhere")
    (finding,) = check(path, root)
    assert (finding.kind, finding.where) == ("artifact", str(root))
    assert "the folder is missing, with its 1 file:" in finding.detail


@pytest.mark.parametrize(
    ("change", "where", "detail"),
    [
        ("update run set memory_bytes = 'nan'", "run row 1", "memory_bytes: expected integer, got text"),
        ("update run set started_utc = 'yesterday'", "run row 1", "started_utc: expected a date and time"),
        ("update run set command = x'ff00'", "run row 1", "command: expected text, got blob"),
        ("update run set command = cast(x'ff41' as text)", "run", "UTF-8"),
        ("update cell set spec = '{}'", f"cell row {cell(0).cell_id}", "spec: expected the settings of a cell as JSON"),
        ("update cell set spec = '{'", f"cell row {cell(0).cell_id}", "spec: expected the settings"),
    ],
)
def test_a_value_that_bench_never_writes_is_found_and_named(filled, change, where, detail):
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute(change)
        connection.commit()
    found = [finding for finding in check(filled) if finding.kind == "value"]
    assert any(finding.where == where and detail in finding.detail for finding in found), found
