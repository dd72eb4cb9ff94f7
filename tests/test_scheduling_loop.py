"""What a run does with the cells of a plan: which run, which are reused, which are blocked, and how it ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place

from benchmark import machine
from benchmark.errors import StorageError
from benchmark.scheduling.decisions import verdicts
from benchmark.scheduling.loop import finish, loop
from benchmark.status import Status

PARENT = fake_cell(dataset="low")
CHILD = fake_cell(strategy="continued", parent=PARENT)
GRANDCHILD = fake_cell(strategy="again", parent=CHILD)
OTHER = fake_cell(seed=3)
FAMILY = [PARENT, CHILD, GRANDCHILD, OTHER]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.001")
    return Place(tmp_path)


def statuses(place: Place) -> dict[str, str]:
    rows = place.rows("select cell_id, status from execution order by execution_id")
    return dict(rows)


def test_children_start_from_their_parents_weights(place):
    assert place.run(FAMILY).exit_code == 0
    started = [cell for cell, _ in place.listener.of("cell_started")]
    assert started.index(PARENT) < started.index(CHILD) < started.index(GRANDCHILD)
    (kept,) = place.rows(
        "select sha256 from artifact join execution using (execution_id) "
        f"where kind = 'weights' and cell_id = '{PARENT.cell_id}'"
    )
    (begun,) = place.rows(f"select weights_sha256 from execution where cell_id = '{CHILD.cell_id}'")
    assert begun == kept


def test_finished_cells_are_not_run_again(place):
    place.run(FAMILY)
    summary = place.run(FAMILY)
    assert summary.reused == {cell.cell_id for cell in FAMILY}
    assert summary.counts == {"completed": 4}
    assert place.listener.of("cell_started") == []
    assert place.rows("select outcome, count(*) from run_cell where run_id = 2 group by 1") == [("reused", 4)]


def test_results_of_another_machine_are_not_ours(place):
    place.run([OTHER])
    assert place.run([OTHER], machine="another").reused == set()


def test_rerun_begins_a_new_execution(place):
    place.run([OTHER])
    place.run([OTHER], rerun=True)
    rows = place.rows("select status, digest from execution")
    assert len(rows) == 2
    assert rows[0] == rows[1]


def test_a_reused_parent_gives_its_weights_to_a_new_child(place):
    place.run([PARENT])
    summary = place.run([PARENT, CHILD])
    assert summary.reused == {PARENT.cell_id}
    assert summary.counts == {"completed": 2}


@pytest.mark.parametrize("damage", ["remove", "flip", "cut"])
def test_a_finished_cell_with_a_damaged_file_runs_again_and_says_so(place, damage):
    place.run([OTHER])
    (weights,) = place.artifacts.glob(f"{OTHER.cell_id}/*/weights.npz")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        weights.unlink()
    else:
        weights.write_bytes(content if damage == "flip" else content[:-1])
    summary = place.run([OTHER])
    assert summary.reused == set()
    assert "runs again" in place.listener.notes
    assert len(place.rows("select 1 from execution where status = 'completed'")) == 2


def test_a_failed_cell_blocks_its_descendants_until_it_is_retried(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", f"batch:1:raise:ValueError@{PARENT.cell_id}")
    summary = place.run(FAMILY)
    assert summary.exit_code == 3
    assert summary.counts == {"failed": 1, "blocked": 2, "completed": 1}
    assert place.listener.ends()[GRANDCHILD.cell_id] == ("blocked", "parent")
    monkeypatch.delenv("BENCH_FAULT")

    summary = place.run(FAMILY)
    assert summary.exit_code == 3
    assert summary.counts == {"failed": 1, "blocked": 2, "completed": 1}
    assert place.listener.of("cell_started") == []

    assert place.run(FAMILY, retry_failed=True).exit_code == 0
    assert set(statuses(place).values()) == {"completed"}
    assert place.rows(f"select count(*) from execution where cell_id = '{PARENT.cell_id}'") == [(1,)]


def test_fail_fast_stops_the_run_and_lets_the_others_go_on_later(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", f"batch:1:raise:ValueError@{OTHER.cell_id}")
    monkeypatch.setenv("BENCH_FAKE_GATE", f"1:{place.folder / 'never'}")
    summary = place.run([OTHER, *(fake_cell(seed=seed) for seed in range(10, 16))], fail_fast=True, jobs=2)
    assert summary.exit_code == 3
    assert "--fail-fast" in summary.stopped
    assert summary.counts["pending"] >= 4
    assert summary.counts["failed"] == 1


def test_a_run_in_which_everything_fails_alike_is_stopped(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", "build:1:raise:ImportError")
    cells = [fake_cell(strategy=f"strategy_{number}") for number in range(12)]
    summary = place.run(cells, jobs=2)
    assert summary.exit_code == 3
    assert "failed alike" in summary.stopped
    assert summary.counts["pending"] >= 6


def test_an_observer_that_raises_is_silenced_and_nothing_else_happens(place):
    class Broken(Listener):
        def __getattr__(self, name):
            raise BrokenPipeError

    assert place.run([OTHER], Broken()).exit_code == 0


def test_the_observer_hears_everything_in_order(place):
    place.run([OTHER])
    names = [call[0] for call in place.listener.told]
    assert names[0] == "run_started"
    assert names[-1] == "run_finished"
    assert names.index("cell_started") < names.index("progress") < names.index("epoch") < names.index("cell_finished")
    forecast = place.listener.of("run_started")[0][3]
    assert forecast() == 0.0


def test_one_cell_at_a_time_has_no_neighbours(place):
    place.run([fake_cell(seed=seed) for seed in range(4)], exclusive=True)
    assert place.rows("select distinct neighbours from attempt") == [(0,)]
    assert place.rows("select jobs from run") == [(1,)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_neighbours_have_disjoint_cores_and_are_counted(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.05")
    place.run([fake_cell(seed=seed, epochs=20) for seed in range(4)], jobs=2)
    assert len(place.rows("select distinct cores from attempt")) == 2
    assert place.rows("select max(neighbours) from attempt") == [(1,)]


def test_a_cell_with_more_threads_than_cores_takes_them_all(place):
    assert place.run([fake_cell(threads=64)]).exit_code == 0
    cores = place.rows("select cores from attempt")[0][0].split()
    assert len(cores) == len(os.sched_getaffinity(0))


def test_a_gpu_cell_without_a_gpu_stays_pending(place):
    summary = place.run([fake_cell(device="gpu"), OTHER])
    assert summary.counts == {"pending": 1, "completed": 1}
    assert "no GPU is left" in place.listener.notes


def test_a_database_that_is_taken_away_stops_the_run_loudly(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.2")

    class Thief(Listener):
        def epoch(self, cell, event):
            place.database.unlink(missing_ok=True)

    with pytest.raises(StorageError):
        place.run([fake_cell(seed=seed, epochs=50) for seed in range(3)], Thief(), grace_seconds=5)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_trained(place):
    place.artifacts.write_text("in the way")
    with pytest.raises(StorageError, match="expected a folder for artifacts"):
        place.run([OTHER])


def test_no_process_and_no_descriptor_is_left(place):
    def held() -> tuple[list[Path], set[psutil.Process]]:
        return sorted(Path("/proc/self/fd").iterdir()), set(psutil.Process().children())

    gc.collect()
    before = held()
    place.run([fake_cell(seed=seed, epochs=1) for seed in range(40)])
    assert held() == before


def test_results_do_not_depend_on_isolation_or_neighbours(place, tmp_path):
    cells = [fake_cell(seed=seed) for seed in range(4)]
    place.run(cells, isolation="fork")
    other = Place(tmp_path / "other")
    other.folder.mkdir()
    other.run(list(reversed(cells)), isolation="spawn", jobs=1)
    assert place.digests() == other.digests()
    assert other.rows("select distinct isolation from attempt") == [("spawn",)]


def test_workers_see_the_threads_of_their_cell_and_no_secret(place, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    seen: list[bytes] = []

    class Spy(Listener):
        def epoch(self, cell, event):
            for (pid,) in place.rows("select worker_pid from attempt where state = 'running'"):
                if pid is not None and not seen:
                    seen.append(Path(f"/proc/{pid}/environ").read_bytes())
                    gate.touch()

    # the worker still lives when its first epoch is told
    gate = place.folder / "gate"
    monkeypatch.setenv("BENCH_FAKE_GATE", f"2:{gate}")
    place.run([fake_cell(threads=2, epochs=2)], Spy(), isolation="spawn")
    assert seen
    assert all(b"canary" not in environ and b"OMP_NUM_THREADS=2" in environ for environ in seen)


SHORT_OF_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from scheduling_plans import fake_cell
from scheduling_runs import Place
place = Place(Path(sys.argv[1]))
place.run([fake_cell(seed=9, epochs=1)])
used = len(os.listdir("/proc/self/fd"))
for more in (8, 13, 24):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, 1024))
    try:
        print(*place.run([fake_cell(seed=more * 10, epochs=1)]).counts.items())
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_too_few_descriptors_are_said_with_the_cure(tmp_path):
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}", "BENCH_TESTING": "1"}
    command = [sys.executable, "-c", SHORT_OF_DESCRIPTORS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    few, fewer, enough = done.stdout.splitlines()
    assert few.startswith("StorageError")
    assert "ulimit -n" in few
    assert "ulimit -n" in fewer or "completed" in fewer
    assert enough == str((Status.COMPLETED, 1))


def test_a_template_that_takes_an_order_and_hangs_is_replaced(place, monkeypatch):
    # long enough for the next one to import what it needs
    monkeypatch.setattr(loop, "LAUNCH_SECONDS", 4.0)
    monkeypatch.setenv("BENCH_FAULT", "template.fork:1:stop")
    monkeypatch.setenv("BENCH_FAULT_MARK", str(place.folder / "struck"))
    assert place.run([OTHER]).exit_code == 0
    assert "took an order and did nothing" in place.listener.notes
    assert [state for state, _ in place.attempts()] == ["completed"]


def test_a_gpu_that_is_lost_twice_is_used_no_more(place, monkeypatch):
    monkeypatch.setattr(machine, "gpu_count", lambda: 1)
    cells = [fake_cell(device="gpu", seed=seed) for seed in range(3)]
    lost = verdicts.Verdict("device_lost", "CUDA_ERROR_ILLEGAL_ADDRESS")
    monkeypatch.setattr(finish, "judge", lambda evidence: lost)
    summary = place.run([*cells, OTHER], jobs=1)
    assert "GPU 0 was lost 2 times" in place.listener.notes
    assert summary.counts["pending"] == 2
