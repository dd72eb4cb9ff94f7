"""`bench gc`: what nothing needs any more is found, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from results_samples import MACHINE, begin, cell, complete, epoch, set_up

from benchmark import layout
from benchmark.catalog.cache_lock import unused_caches
from benchmark.errors import BusyError, UserError
from benchmark.results.artifacts.artifact_folder import claim
from benchmark.results.care.garbage import OLD_SECONDS, cache_garbage, find_garbage
from benchmark.results.store.database import open_database


@pytest.fixture
def database(tmp_path):
    with open_database(tmp_path / "results.sqlite", mode="write") as opened:
        yield opened


@pytest.fixture
def recorded(database):
    """A recorder with one run of three cells, whose folder is marked."""
    begun = begin(database, [cell(seed) for seed in range(3)])
    with database.reading() as connection:
        claim(database.location, connection, layout.artifacts_folder(database.path))
    return begun


def folder_of(database, attempt_id: int, seed: int, *names: str) -> Path:
    folder = layout.artifacts_folder(database.path) / cell(seed).cell_id / str(attempt_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"12345")
    return folder


def found(database) -> dict[str, str]:
    root = layout.artifacts_folder(database.path)
    return {str(one.path.relative_to(root)): one.kind for one in find_garbage(database, root)}


STATES = ("state.npz", "state.previous.npz")


def test_of_a_finished_cell_all_but_registered_files_and_logs_goes(database, recorded):
    recorder, run_id = recorded
    start = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE)
    set_up(recorder, start.attempt_id)
    recorder.record(start.attempt_id, epoch(1))
    folder = folder_of(
        database, start.attempt_id, 0, "weights.npz", "log.txt", *STATES, ".weights.npz.77.partial", "x.npz"
    )
    # while it runs everything is its own
    assert found(database) == {}
    complete(recorder, start.attempt_id, 1)
    inside = f"{cell(0).cell_id}/{start.attempt_id}"
    assert found(database) == {
        f"{inside}/state.npz": "state",
        f"{inside}/state.previous.npz": "state",
        f"{inside}/.weights.npz.77.partial": "temporary",
        f"{inside}/x.npz": "orphan",
    }
    assert {one.size_bytes for one in find_garbage(database, layout.artifacts_folder(database.path))} == {5}
    assert (folder / "weights.npz").exists()


def test_the_states_of_a_cell_that_will_go_on_stay(database, recorded):
    recorder, run_id = recorded
    for seed, state in ((0, "interrupted"), (1, "failed")):
        start = recorder.start_attempt(run_id, cell(seed).cell_id, MACHINE)
        recorder.finish_attempt(start.attempt_id, state=state)
        folder_of(database, start.attempt_id, seed, *STATES, ".state.npz.0a1b2c3d.partial")
    assert set(found(database).values()) == {"temporary"}
    # a new execution goes on without the states of the old one
    again = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE, fresh=True)
    recorder.finish_attempt(again.attempt_id, state="interrupted")
    assert sorted(kind for place, kind in found(database).items() if place.startswith(cell(1).cell_id)) == [
        "state", "state", "temporary",
    ]  # fmt: skip


def test_stages_that_cells_share_go_when_no_cell_is_left_to_be_resumed(database, recorded):
    recorder, run_id = recorded
    place = layout.artifacts_folder(database.path) / "stages" / cell(0).cell_id / "77"
    place.mkdir(parents=True)
    (place / "state.npz").write_bytes(b"12345")
    (place.parent.parent / "mine").mkdir()
    start = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
    recorder.finish_attempt(start.attempt_id, state="interrupted")
    assert found(database) == {}
    again = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
    recorder.finish_attempt(again.attempt_id, state="diverged")
    assert found(database) == {f"stages/{cell(0).cell_id}": "state"}
    assert [one.size_bytes for one in find_garbage(database, layout.artifacts_folder(database.path))] == [5]


def test_folders_of_attempts_that_were_renewed_are_orphans_as_a_whole_but_for_registered_files(database, recorded):
    recorder, run_id = recorded
    start = [recorder.start_attempt(run_id, cell(seed).cell_id, MACHINE).attempt_id for seed in range(2)]
    for attempt_id in start:
        set_up(recorder, attempt_id)
        recorder.record(attempt_id, epoch(1))
        complete(recorder, attempt_id, 1)
    old = folder_of(database, start[0], 0, "weights.npz", "log.txt")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        for table in ("artifact", "epoch", "attempt"):
            for trigger in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {trigger[0]}")
            connection.execute(f"DELETE FROM {table} WHERE attempt_id = {start[0]}")
    (one,) = find_garbage(database, layout.artifacts_folder(database.path))
    assert (one.kind, one.path, one.size_bytes) == ("orphan", old, 10)
    with closing(sqlite3.connect(database.path)) as connection, connection:
        path = (old / "weights.npz").relative_to(layout.artifacts_folder(database.path)).as_posix()
        connection.execute("UPDATE artifact SET path = ?", (path,))
    assert found(database) == {}


@pytest.mark.parametrize(("attempt", "seed"), [(99, 0), (1, 1)])
def test_folders_of_attempts_that_are_unknown_may_be_needed_by_a_later_database(attempt, seed, database, recorded):
    recorder, run_id = recorded
    assert recorder.start_attempt(run_id, cell(0).cell_id, MACHINE).attempt_id == 1
    folder_of(database, attempt, seed, "weights.npz", "log.txt")
    with pytest.raises(UserError, match="attempts that this database does not know have used it"):
        find_garbage(database, layout.artifacts_folder(database.path))


def test_what_bench_did_not_make_and_what_links_lead_to_is_left_alone(database, recorded, tmp_path):
    root = layout.artifacts_folder(database.path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "7").mkdir(parents=True)
    (elsewhere / "7" / "thesis.tex").write_text("years")
    (root / cell(0).cell_id).symlink_to(elsewhere)
    (root / "notes").mkdir()
    (root / "notes" / "1").mkdir()
    (root / "README").write_text("mine")
    (root / cell(1).cell_id).mkdir()
    (root / cell(1).cell_id / "7").symlink_to(elsewhere / "7")
    (root / cell(1).cell_id / "figures").mkdir()
    assert found(database) == {}


def test_half_copies_beside_the_database_go_when_they_are_old(database, recorded):
    part = database.path.with_name(".results.sqlite.0123.partial")
    part.write_bytes(b"123")
    assert find_garbage(database, layout.artifacts_folder(database.path)) == []
    then = part.stat().st_mtime - OLD_SECONDS - 60
    os.utime(part, (then, then))
    (one,) = find_garbage(database, layout.artifacts_folder(database.path))
    assert (one.kind, one.path) == ("temporary", part)


def test_what_killed_commands_have_left_is_garbage(database, recorded):
    recorder, run_id = recorded
    root, beside = layout.artifacts_folder(database.path), database.path.parent
    attempt_id = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE).attempt_id
    recorder.finish_attempt(attempt_id, state="failed")
    figures = folder_of(database, attempt_id, 0) / "figures"
    left = [root / ".merge-0a1b2c3d.partial", beside / ".salvage-0a1b2c3d.partial"]
    for folder in (*left, figures):
        folder.mkdir()
    (figures / ".explanation.npz.0a1b2c3d.partial").write_bytes(b"12345")
    (figures / "explanation.npz").write_bytes(b"12345")
    (beside / ".salvage-0a1b2c3d.partial" / "copy").write_bytes(b"12345")
    kept = {each.path: each.kind for each in find_garbage(database, root)}
    assert kept == {left[0]: "temporary", figures / ".explanation.npz.0a1b2c3d.partial": "temporary"}
    then = left[1].stat().st_mtime - OLD_SECONDS - 60
    os.utime(left[1], (then, then))
    sizes = {each.path: each.size_bytes for each in find_garbage(database, root)}
    assert sizes == {left[0]: 0, figures / ".explanation.npz.0a1b2c3d.partial": 5, left[1]: 5}


def test_a_folder_of_another_database_is_left_alone(database, recorded):
    root = layout.artifacts_folder(database.path)
    (root / ".made-by-bench").write_text('{"identity": "another", "database": "results.db"}')
    folder_of(database, 99, 0, "weights.npz")
    with pytest.raises(UserError, match="it belongs to the database results"):
        find_garbage(database, root)


def test_caches_are_what_can_be_made_again(tmp_path):
    (tmp_path / "prepared" / "digits-16").mkdir(parents=True)
    (tmp_path / "prepared" / "digits-16" / "train.npy").write_bytes(b"123")
    (tmp_path / "mine").mkdir()
    assert [(one.kind, one.path.name, one.size_bytes) for one in cache_garbage(tmp_path)] == [("cache", "digits-16", 3)]
    assert cache_garbage(tmp_path / "nowhere") == []


HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from benchmark.catalog.cache_lock import CacheUse\n"
    "use = CacheUse(Path(sys.argv[1])); print('uses', flush=True); time.sleep(600)\n"
)


def test_caches_that_others_use_are_left_alone_until_they_end_or_are_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [holder.stdout.readline() for holder in holders] == ["uses\n"] * 2
        for holder in holders:
            with pytest.raises(BusyError, match="another bench command uses these caches"), unused_caches(tmp_path):
                pass
            holder.kill()
            holder.wait()
        with unused_caches(tmp_path):
            pass
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_a_cache_that_is_not_there_is_used_by_nobody(tmp_path):
    with unused_caches(tmp_path / "none"):
        assert not (tmp_path / "none").exists()
