"""Rows 25, 45, 46, 51, 60, 62 and 63: artifacts, states, parents, matrices and clocks that are not what they were."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest
from harness import MATRIX, ROOT, running
from results_samples import begin, cell, run_cell
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place
from waiting import wait_until

from benchmark import machine_load
from benchmark.results.read.cell_states import recorded
from benchmark.results.read.queries import results
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import open_database
from benchmark.results.write.recorder import Recorder, utc_now

PARENT = fake_cell(dataset="low", epochs=3)
CHILD = fake_cell(strategy="continued", parent=PARENT, epochs=3)
GRANDCHILD = fake_cell(strategy="again", parent=CHILD, epochs=3)
FAMILY = [PARENT, CHILD, GRANDCHILD]
OTHER = fake_cell(seed=3, epochs=3)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.002")
    return Place(tmp_path)


def undisturbed(folder: Path, cells) -> dict[str, str]:
    folder.mkdir()
    place = Place(folder)
    assert place.run(cells).exit_code == 0
    return place.digests()


def started(place: Place) -> list[str]:
    return [started.cell_id for started, _ in place.listener.of("cell_started")]


# ---- 25: no room for a state, an artifact, a log


def test_a_state_that_finds_no_room_is_noted_and_the_cell_goes_on(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", "ckpt.write:4:enospc,ckpt.write:7:enospc")
    assert place.run([OTHER]).exit_code == 0
    ((state, detail),) = place.attempts()
    assert state == "completed"
    assert "checkpoint_failed at epoch 2: [Errno 28]" in detail


def test_an_artifact_that_finds_no_room_ends_its_cell_by_that_name_and_no_other(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", f"artifact:2:enospc@{OTHER.cell_id}")
    assert place.run([OTHER, PARENT]).exit_code == 3
    assert place.listener.ends() == {OTHER.cell_id: ("failed", "failed"), PARENT.cell_id: ("completed", None)}
    assert "No space left on device" in place.rows("select detail from attempt where state = 'failed'")[0][0]
    monkeypatch.delenv("BENCH_FAULT")
    assert place.run([OTHER, PARENT], retry_failed=True).exit_code == 0
    assert place.digests() == undisturbed(place.folder / "undisturbed", [OTHER, PARENT])


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_an_artifact_that_is_not_there_when_its_cell_completes_fails_the_cell(place, monkeypatch, harm):
    taken = []

    class Thief(Listener):
        """Takes the weights away between their writing and the last word."""

        def progress(self, cell, event):
            taken.append(cell)

    monkeypatch.setenv("BENCH_FAULT", "complete:1:stop")
    weights = place.artifacts / OTHER.cell_id / "1" / "weights.npz"

    def thief() -> None:
        wait_until(lambda: place.database.exists() and weights.exists() and _stopped(place))
        if harm == "missing":
            weights.unlink()
        else:
            os.truncate(weights, 10)
        os.kill(_worker(place), signal.SIGCONT)

    import threading

    thread = threading.Thread(target=thief)
    thread.start()
    assert place.run([OTHER], Thief()).exit_code == 3
    thread.join()
    ((state, detail),) = place.attempts()
    assert state == "failed"
    assert detail.startswith("artifact: weights.npz")


def _worker(place: Place) -> int | None:
    with contextlib.suppress(Exception):
        return place.rows("select worker_pid from attempt where state = 'running'")[0][0]
    return None


def _stopped(place: Place) -> bool:
    pid = _worker(place)
    if pid is None:
        return False
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"


# ---- 45: states that belong to somebody else


def test_states_that_were_swapped_are_not_gone_on_from(place, monkeypatch):
    cells = [fake_cell(seed=seed, epochs=3) for seed in (1, 2)]
    clean = undisturbed(place.folder / "undisturbed", cells)
    monkeypatch.setenv("BENCH_FAULT", "batch:10:raise:ValueError")
    assert place.run(cells).exit_code == 3
    first, second = (place.artifacts / cell.cell_id / str(number) for number, cell in enumerate(cells, 1))
    for name in ("state.npz", "state.previous.npz"):
        (first / name).rename(place.folder / name)
        (second / name).rename(first / name)
        (place.folder / name).rename(second / name)
    monkeypatch.delenv("BENCH_FAULT")
    assert place.run(cells, retry_failed=True).exit_code == 0
    assert place.rows("select max(resumed_from_epoch) from attempt") == [(None,)]
    assert place.digests() == clean


# ---- 46: parents


class Interrupter(Listener):
    def epoch(self, cell, event):
        os.kill(os.getpid(), signal.SIGTERM)


def test_children_of_an_interrupted_parent_wait_for_it_and_start_from_its_weights(place, monkeypatch):
    clean = undisturbed(place.folder / "undisturbed", FAMILY)
    # the parent has not ended when it is told to
    monkeypatch.setenv("BENCH_FAKE_GATE", f"2:{place.folder / 'never'}")
    summary = place.run(FAMILY, Interrupter())
    assert summary.exit_code == 143
    assert summary.counts == {"interrupted": 1, "pending": 2}
    monkeypatch.delenv("BENCH_FAKE_GATE")
    assert place.run(FAMILY).exit_code == 0
    assert place.digests() == clean


def replace_weights(place: Place, seed: int) -> None:
    """Gives the parent other weights, as a rerun on a machine with other rounding would."""
    import hashlib

    import numpy as np

    ((path,),) = place.rows(
        "select path from artifact join execution using (execution_id) "
        f"where kind = 'weights' and cell_id = '{PARENT.cell_id}' order by artifact_id desc limit 1"
    )
    file = place.artifacts / path
    np.savez(file, weights=np.random.default_rng(seed).standard_normal(64))
    content = file.read_bytes()
    facts = (hashlib.sha256(content).hexdigest(), len(content), path)
    import sqlite3

    with contextlib.closing(sqlite3.connect(place.database)) as connection, connection:
        connection.execute("update artifact set sha256 = ?, size_bytes = ? where path = ?", facts)


def test_a_child_begins_anew_when_the_weights_of_its_parent_have_changed(place):
    place.run([*FAMILY, OTHER])
    before = place.digests()
    replace_weights(place, 1)
    assert place.run([*FAMILY, OTHER]).exit_code == 0
    assert started(place) == [CHILD.cell_id, GRANDCHILD.cell_id]
    assert "the weights of its parent have changed" in place.listener.notes
    now = place.digests()
    changed = {cell_id for cell_id in now if now[cell_id] != before[cell_id]}
    assert changed == {CHILD.cell_id, GRANDCHILD.cell_id}
    assert place.run([*FAMILY, OTHER]).reused == now.keys()


def test_a_child_stands_when_its_parent_comes_to_the_same_weights_again(place):
    place.run(FAMILY)
    before = place.digests()
    shutil.rmtree(place.artifacts / PARENT.cell_id)
    summary = place.run(FAMILY)
    assert summary.counts == {"completed": 3}
    assert started(place) == [PARENT.cell_id]
    assert place.digests() == before
    assert place.run(FAMILY).reused == before.keys()


def test_a_child_stands_when_its_parent_cannot_be_repeated(place, monkeypatch):
    place.run(FAMILY)
    before = place.digests()
    shutil.rmtree(place.artifacts / PARENT.cell_id)
    monkeypatch.setenv("BENCH_FAULT", f"batch:1:raise:ValueError@{PARENT.cell_id}")
    summary = place.run(FAMILY)
    assert summary.counts == {"failed": 1, "completed": 2}
    assert place.digests() == before
    assert place.rows("select count(*) from execution where status = 'blocked'") == [(0,)]


# ---- 60: another matrix than before


@pytest.mark.slow
def test_after_an_edit_changed_cells_are_new_and_the_others_stay(tmp_path):
    with contextlib.contextmanager(running)(tmp_path) as run:
        process = run.start(**run.held())
        run.wait_for("select count(*) > 1 from epoch")
        process.kill()
        process.communicate()
        before = run.epochs()
        edited = MATRIX.replace("epochs = 4", "epochs = 5").replace("seed = [0, 1]", "seed = [0, 1, 2]")
        (run.folder / "matrix.toml").write_text(edited)
        assert run.resume() == 0
        assert before.items() <= run.epochs().items()
        assert run.rows("select distinct epochs from execution where status = 'completed'") == [(5,)]
        assert len(run.digests()) == 6
        (run.folder / "matrix.toml").write_text(MATRIX)
        assert run.resume() == 0
        with contextlib.contextmanager(running)(tmp_path / "clean") as clean:
            assert clean.resume() == 0
            assert clean.digests().items() <= run.digests().items()


# ---- 62, 63: clocks

_CLOCKS = {"time.time", "datetime.now", "datetime.utcnow", "time.localtime", "datetime.today", "date.today"}
_LABELS = {
    "benchmark/results/write/recorder.py",
    "benchmark/results/store/lock.py",
    "benchmark/results/store/database.py",
    "benchmark/cli/commands/status.py",
    "benchmark/cli/progress/followed_run.py",
    "benchmark/results/care/garbage.py",
}
"""Where wall time is written down or shown for people, and where it is compared with the times that files carry."""


def test_no_decision_uses_wall_time():
    for path in sorted((ROOT / "benchmark").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        asked = {ast.unparse(call.func) for call in calls} & _CLOCKS
        assert not asked or str(path.relative_to(ROOT)) in _LABELS, f"{path} asks {asked}"


def test_a_clock_that_jumps_changes_labels_and_nothing_else(tmp_path):
    moments = iter([f"2026-01-{day:02}T00:00:00.000Z" for day in range(28, 0, -1)])
    with open_database(tmp_path / "results.sqlite", mode="write") as database:
        begin(database, [cell(0), cell(1)])
        recorder = Recorder(database, now=lambda: next(moments))
        for seed in (0, 1):
            run_id = recorder.begin_run(_facts(f"run {seed}"))
            recorder.register(run_id, [cell(seed)], (), set())
            run_cell(recorder, run_id, cell(seed))
            recorder.finish_run(run_id, "completed", 0)
        found = results(database)
        assert [row["seed"] for row in found] == [0, 1]
        assert all(row["started_utc"] > row["finished_utc"] for row in found)
        assert all(row["fit_seconds"] > 0 and row["total_seconds"] > 0 for row in found)
        newest = recorded(database, found[0]["machine"]).states
        assert {state.status for state in newest.values()} == {"completed"}
        numbers = list(all_runs(database))
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))


def _facts(name: str):
    from results_samples import FACTS

    return {**FACTS, "name": name}


def test_a_suspend_is_no_stall_and_its_timing_does_not_count(place, monkeypatch):
    """The boot clock runs ahead of the monotonic one by an hour while the cell trains."""
    real, asked = machine_load.load_sample, []

    def sample():
        from dataclasses import replace

        asked.append(1)
        now = real()
        return replace(now, boottime_seconds=now.boottime_seconds + 3600 * (len(asked) > 1))

    monkeypatch.setattr(machine_load, "load_sample", sample)
    assert place.run([OTHER]).exit_code == 0
    assert place.attempts() == [("completed", "timing disturbed: the machine slept for 3600 s")]
    assert place.rows("select timing_valid from execution") == [(0,)]


def test_utc_labels_do_not_follow_the_zone_of_the_shell(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        hours = [
            time.strftime("%Y-%m-%dT%H", time.gmtime()),
            utc_now()[:13],
            time.strftime("%Y-%m-%dT%H", time.gmtime()),
        ]
        assert hours == sorted(hours)
    finally:
        monkeypatch.undo()
        time.tzset()
