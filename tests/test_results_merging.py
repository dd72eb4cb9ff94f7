"""`bench db merge`: databases of several machines in one, each row once, however often and in whatever state."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from results_samples import EXITED, FACTS, begin, cell, epoch, set_up

from benchmark import layout
from benchmark.errors import StorageError
from benchmark.events import ArtifactWritten, Completed, Evaluated
from benchmark.results.care.check import check_database
from benchmark.results.care.merge import Merge, merge
from benchmark.results.schema.tables import look
from benchmark.results.store.database import open_database
from benchmark.results.write.recorder import Recorder


class Lab:
    """The database of one machine, with its artifacts."""

    def __init__(self, folder: Path, machine: str) -> None:
        folder.mkdir()
        self.path, self.machine = folder / "results.sqlite", machine

    @property
    def artifacts(self) -> Path:
        return layout.artifacts_folder(self.path)

    def run(self, seeds, *, state: str = "completed", epochs: int = 3, fresh: bool = False, end: bool = True) -> None:
        """One run of some cells, all of which end alike."""
        start = f"{self.machine}-{state}-{epochs}-{seeds}"
        facts = {**FACTS, "machine": self.machine, "pid": len(seeds), "boot_id": start}
        with open_database(self.path, mode="write") as database:
            recorder, run_id = begin(database, [cell(seed) for seed in seeds], facts=facts)
            for seed in seeds:
                self._attempt(recorder, run_id, seed, state, epochs, fresh)
            if end:
                recorder.finish_run(run_id, "completed", 0)

    def _attempt(self, recorder: Recorder, run_id: int, seed: int, state: str, epochs: int, fresh: bool) -> None:
        start = recorder.start_attempt(run_id, cell(seed).cell_id, self.machine, fresh=fresh)
        set_up(recorder, start.attempt_id)
        for number in range(1, epochs + 1):
            loss = math.nan if number == 2 else 1 / number
            recorder.record(start.attempt_id, epoch(number, train_loss=loss, val_loss=math.inf))
        if state == "running":
            return
        if state == "completed":
            content = f"{self.machine} {seed} {start.attempt_id}".encode()
            place = self.artifacts / cell(seed).cell_id / str(start.attempt_id) / "weights.npz"
            place.parent.mkdir(parents=True)
            place.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            recorder.record(start.attempt_id, ArtifactWritten("weights", "weights.npz", digest, len(content)))
            recorder.record(start.attempt_id, Evaluated(0.9, 0.3, epochs, 0.2))
            recorder.record(start.attempt_id, Completed(epochs, float(epochs), 9.0))
        recorder.finish_attempt(start.attempt_id, state=state, exited=EXITED, disturbed=False)

    def query(self, sql: str):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def take(self, *others: Lab) -> list[Merge]:
        done = []
        with open_database(self.path, mode="write") as database:
            for other in others:
                with open_database(other.path, mode="read") as source:
                    done.append(merge(database, source, self.artifacts, other.artifacts))
        return done

    def damage(self):
        with open_database(self.path, mode="read") as database:
            return check_database(database, self.artifacts)


RESULTS = "SELECT cell_id, machine, status, epochs, test_accuracy, digest, nan_metrics FROM execution ORDER BY machine, cell_id"
EPOCHS = (
    "SELECT cell_id, machine, epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.nan_metrics FROM epoch "
    "JOIN execution USING (execution_id) ORDER BY 2, 1, 3"
)
COUNTS = [
    f"SELECT count(*) FROM {name}" for name in ("run", "cell", "run_cell", "execution", "attempt", "epoch", "artifact")
]


@pytest.fixture
def labs(tmp_path):
    """Three machines, the third without a database yet."""
    return [Lab(tmp_path / name, name) for name in ("ant", "bee", "all")]


def counts(lab: Lab) -> list[int]:
    return [lab.query(sql)[0][0] for sql in COUNTS]


def test_two_machines_become_one_database_with_every_row_once(labs):
    ant, bee, everything = labs
    ant.run([0, 1])
    ant.run([1, 2], fresh=True)
    bee.run([1, 2, 3])
    first, second = everything.take(ant, bee)
    assert (first.added["execution"], second.added["execution"]) == (4, 3)
    assert second.added["cell"] == 1
    assert everything.query(RESULTS) == ant.query(RESULTS) + bee.query(RESULTS)
    assert everything.query(EPOCHS) == ant.query(EPOCHS) + bee.query(EPOCHS)
    assert everything.query("PRAGMA foreign_key_check") == []
    assert everything.damage() == []
    contents = {path.read_bytes() for path in everything.artifacts.rglob("weights.npz")}
    assert contents == {path.read_bytes() for lab in (ant, bee) for path in lab.artifacts.rglob("weights.npz")}


def test_merging_twice_adds_nothing(labs):
    ant, bee, everything = labs
    ant.run([0, 1])
    bee.run([1], state="diverged")
    bee.run([0], state="failed")
    everything.take(ant, bee)
    before, files = counts(everything), sorted(everything.artifacts.rglob("*"))
    for done in everything.take(ant, bee, ant):
        assert not any(done.added.values())
        assert (done.renewed, done.files) == (0, 0)
    assert counts(everything) == before
    assert sorted(everything.artifacts.rglob("*")) == files


def test_an_execution_that_went_on_since_takes_the_place_of_its_older_self(labs):
    ant, _, everything = labs
    ant.run([0], state="interrupted", epochs=2)
    everything.take(ant)
    assert everything.query("SELECT status, epochs FROM execution") == [("interrupted", 2)]
    ant.run([0], epochs=4)
    (done,) = everything.take(ant)
    assert (done.renewed, done.added["execution"], done.added["run"]) == (1, 0, 1)
    assert everything.query(RESULTS) == ant.query(RESULTS)
    assert everything.query("SELECT number, state FROM attempt ORDER BY number") == [
        (1, "interrupted"),
        (2, "completed"),
    ]
    assert everything.damage() == []
    assert not any(everything.take(ant)[0].added.values())


def test_looks_are_taken_once_with_the_numbers_that_their_executions_have_here(labs):
    ant, bee, everything = labs
    ant.run([0])
    bee.run([1, 0])
    with open_database(bee.path, mode="write") as database, database.transaction() as connection:
        facts = {"kind": "judge", "campaign": "spring", "a": "seed=0", "b": "seed=1", "verdict": "worse"}
        when = {"run_id": 1, "looked_utc": "2026-03-04T05:06:07.089Z"}
        connection.execute(look.insert().values(executions="[[1], [2]]", **facts, **when))
    for _ in range(2):
        everything.take(ant, bee)
    (row,) = everything.query("SELECT run_id, executions, verdict FROM look")
    assert row == (2, "[[2], [3]]", "worse")


def test_what_still_runs_is_taken_as_abandoned_and_renewed_when_it_has_ended(labs):
    ant, _, everything = labs
    ant.run([0], state="running", epochs=2, end=False)
    (done,) = everything.take(ant)
    assert done.unfinished == 1
    assert everything.query("SELECT status, cause FROM execution") == [("interrupted", "abandoned")]
    assert everything.query("SELECT state FROM run UNION ALL SELECT state FROM attempt") == [("abandoned",)] * 2
    ant.run([0], epochs=3)
    everything.take(ant)
    assert everything.query(RESULTS) == ant.query(RESULTS)


def test_an_execution_that_went_on_in_two_places_is_kept_twice(labs):
    ant, bee, everything = labs
    ant.run([0], state="interrupted", epochs=2)
    shutil.copy(ant.path, bee.path)
    bee.machine = "ant"
    ant.run([0], epochs=4)
    bee.run([0], epochs=5)
    everything.take(ant, bee)
    again = everything.take(ant, bee)
    assert everything.query("SELECT status, epochs FROM execution ORDER BY 2") == [("completed", 4), ("completed", 5)]
    assert not any(done.added["execution"] for done in again)
    assert everything.damage() == []


def test_artifacts_whose_files_are_not_there_are_left_out_and_come_later(labs):
    ant, _, everything = labs
    ant.run([0, 1])
    aside = ant.artifacts.rename(ant.artifacts.with_name("elsewhere"))
    (done,) = everything.take(ant)
    assert (done.missing, done.added["artifact"]) == (2, 0)
    assert everything.damage() == []
    aside.rename(ant.artifacts)
    next(ant.artifacts.rglob("weights.npz")).write_bytes(b"other")
    (done,) = everything.take(ant)
    assert (done.missing, done.added["artifact"], done.files) == (1, 1, 1)
    assert everything.damage() == []


def test_results_of_the_same_machine_in_both_are_said(labs):
    ant, bee, _ = labs
    bee.machine = "ant"
    ant.run([0, 1])
    bee.run([1], epochs=5)
    (done,) = ant.take(bee)
    assert done.doubled == 1


def test_a_path_that_leads_out_of_the_folder_copies_nothing(labs, tmp_path):
    ant, _, everything = labs
    ant.run([0])
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with closing(sqlite3.connect(ant.path)) as connection:
        facts = (f"{cell(0).cell_id}/1/../../../../secret", hashlib.sha256(b"secret").hexdigest())
        connection.execute("UPDATE artifact SET path = ?, sha256 = ?, size_bytes = 6", facts)
        connection.commit()
    (done,) = everything.take(ant)
    assert (done.missing, done.files) == (1, 0)
    assert not everything.artifacts.exists()


def test_a_file_that_cannot_be_copied_leaves_the_database_as_it_was(labs, monkeypatch):
    ant, _, everything = labs
    ant.run([0])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        everything.take(ant)
    monkeypatch.undo()
    assert counts(everything) == [0] * 7
    everything.take(ant)
    assert everything.query(RESULTS) == ant.query(RESULTS)
