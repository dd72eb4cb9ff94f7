"""Whatever one worker does, its cell has a named end, the others finish, and a retry gives the undisturbed numbers."""

from __future__ import annotations

import pytest
from harness import processes_with
from scheduling_plans import fake_cell
from scheduling_runs import GuardianKiller, Place
from waiting import wait_until

pytestmark = pytest.mark.slow

RETRIED = {
    "start:1:kill9": "crashed",
    "build:1:segv": "crashed",
    "batch:2:kill9": "crashed",
    "batch:6:kill9": "crashed",
    "batch:10:kill9": "crashed",
    "ckpt.write:1:kill9": "crashed",
    "ckpt.write:2:kill9": "crashed",
    "ckpt.write:3:kill9": "crashed",
    "ckpt.write:5:kill9": "crashed",
    "ckpt.done:1:kill9": "crashed",
    "ckpt.done:3:kill9": "crashed",
    "epoch.sent:1:kill9": "crashed",
    "epoch.sent:3:kill9": "crashed",
    "artifact:2:kill9": "crashed",
    "evaluate:1:kill9": "crashed",
    "complete:1:kill9": "crashed",
    "batch:5:hog": "oom",
    "batch:5:raise:MemoryError": "oom",
    "batch:5:hang": "timeout",
    "batch:5:spin": "timeout",
    "batch:5:stop": "timeout",
    "batch:5:deaf": "timeout",
    "batch:5:half": "timeout",
}
"""Faults after which a cell goes on, and the state in which the struck attempt ends."""

ENDED = {
    "batch:5:exit": "exited 0 without a result",
    "batch:5:raise:ValueError": "ValueError: fault point",
    "batch:5:raise:SystemExit": "SystemExit: fault point",
    "build:1:raise:KeyError": "KeyError: 'fault point",
}
"""Faults that are the cell's own, and what is said of them."""

UNHURT = {"batch:2:child": "", "batch:5:junk": "", "ckpt.write:4:enospc": "checkpoint_failed at epoch 2"}
"""Faults that a cell survives in its first attempt, and what is noted of them."""

STALL_SECONDS = 6
"""Longer than what else the machine does holds up those that do not stall."""

VICTIM = fake_cell(seed=0, epochs=3)
OTHER = fake_cell(seed=1, epochs=2)
CELLS = {fault: fake_cell(seed=seed, epochs=3) for seed, fault in enumerate([*RETRIED, *ENDED, *UNHURT])}


@pytest.fixture(scope="module")
def testing():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_TESTING", "1")
        yield patch


@pytest.fixture(scope="module")
def clean(tmp_path_factory, testing):
    """Digests of a run in which nothing happened."""
    place = Place(tmp_path_factory.mktemp("clean"))
    place.run([*CELLS.values(), OTHER])
    return place.digests()


@pytest.fixture(scope="module")
def struck(tmp_path_factory, testing):
    """One run in which every cell but one is struck once by a fault of its own."""
    place = Place(tmp_path_factory.mktemp("struck"))
    with testing.context() as patch:
        patch.setenv("BENCH_FAULT", ",".join(f"{fault}@{cell.cell_id}" for fault, cell in CELLS.items()))
        patch.setenv("BENCH_FAULT_MARK", str(place.folder / "struck"))
        patch.setenv("BENCH_MARK_OF_THIS_TEST", str(place.folder))
        place.run([*CELLS.values(), OTHER], stall_seconds=STALL_SECONDS, first_batch_seconds=100)
    return place


@pytest.fixture
def place(tmp_path, testing):
    return Place(tmp_path)


@pytest.fixture
def once(monkeypatch, tmp_path, testing):
    """Sets a fault that strikes once, in the first attempt that reaches it."""

    def set_fault(fault: str) -> None:
        monkeypatch.setenv("BENCH_FAULT", fault)
        monkeypatch.setenv("BENCH_FAULT_MARK", str(tmp_path / "struck"))

    return set_fault


def attempts_at(place: Place, cell) -> list[tuple]:
    return place.rows(
        "select attempt.state, attempt.detail, log_tail from attempt join execution using (execution_id) "
        f"where cell_id = '{cell.cell_id}' order by attempt_id"
    )


@pytest.mark.parametrize("fault", RETRIED)
def test_a_worker_that_dies_or_stalls_goes_on_and_ends_with_the_undisturbed_numbers(struck, clean, fault):
    cell = CELLS[fault]
    assert [state for state, _, _ in attempts_at(struck, cell)] == [RETRIED[fault], "completed"]
    assert struck.digests()[cell.cell_id] == clean[cell.cell_id]
    counts = "select count(*), count(distinct epoch) from epoch join execution using (execution_id)"
    assert struck.rows(f"{counts} where cell_id = '{cell.cell_id}'") == [(3, 3)]


@pytest.mark.parametrize("fault", ENDED)
def test_an_error_of_the_cell_itself_is_not_retried(struck, fault):
    (attempt,) = attempts_at(struck, CELLS[fault])
    assert attempt[0] == "failed"
    assert ENDED[fault] in attempt[1]
    assert struck.listener.ends()[CELLS[fault].cell_id] == ("failed", "failed")


@pytest.mark.parametrize("fault", UNHURT)
def test_some_faults_hurt_nobody(struck, clean, fault):
    cell = CELLS[fault]
    (attempt,) = attempts_at(struck, cell)
    assert attempt[0] == "completed"
    assert UNHURT[fault] in (attempt[1] or "")
    assert struck.digests()[cell.cell_id] == clean[cell.cell_id]


def test_the_cell_that_was_not_struck_finished_as_ever(struck, clean):
    assert struck.summary.exit_code == 3
    assert struck.digests()[OTHER.cell_id] == clean[OTHER.cell_id]
    assert struck.rows("select count(*) from attempt where state = 'running'") == [(0,)]


def test_nothing_of_the_run_is_alive_not_even_grandchildren(struck):
    wait_until(lambda: not processes_with(f"BENCH_MARK_OF_THIS_TEST={struck.folder}"), "all of them are gone")


def test_a_flood_on_stderr_is_bounded(struck):
    logs = list((struck.artifacts / CELLS["batch:5:junk"].cell_id).glob("*/log*.txt"))
    assert logs
    assert sum(log.stat().st_size for log in logs) <= 2 << 20


def test_what_stalled_is_said(struck):
    detail = attempts_at(struck, CELLS["batch:5:hang"])[0][1]
    assert detail == f"stall: no further batch within {STALL_SECONDS:g} s after epoch 1"


def test_a_stalled_worker_writes_its_stacks_before_it_is_killed(struck):
    assert "_hang" in attempts_at(struck, CELLS["batch:5:hang"])[0][2]


def test_a_crash_leaves_the_trace_of_faulthandler(struck):
    tail = attempts_at(struck, CELLS["build:1:segv"])[0][2]
    assert "Segmentation fault" in tail
    assert "fake_worker.py" in tail


def test_a_traceback_is_in_the_database(place, once):
    once("batch:5:raise:ValueError")
    place.run([VICTIM])
    (found,) = place.rows("select error_type, error_message, traceback from attempt")
    assert found[:2] == ("ValueError", "fault point: ValueError")
    assert "fake_worker.py" in found[2]


def test_three_crashes_are_too_many(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", f"batch:1:kill9@{VICTIM.cell_id}")
    assert place.run([VICTIM, OTHER]).exit_code == 3
    assert [state for state, _ in place.attempts()].count("crashed") == 3
    assert place.listener.ends()[VICTIM.cell_id] == ("failed", "crashed")
    assert place.attempts()[0][1] == "ended by SIGKILL"


def test_a_cell_has_a_limit_as_a_whole(place, once):
    once("batch:1:hang")
    place.run([VICTIM], timeout_seconds=0.3)
    assert "--timeout" in place.attempts()[0][1]


def test_a_guardian_that_is_killed_takes_its_worker_with_it(place, clean, monkeypatch):
    assert place.run([VICTIM, OTHER], GuardianKiller(place, monkeypatch), jobs=1).exit_code == 0
    assert ("crashed", "its guardian was killed") in place.attempts()
    assert place.digests()[VICTIM.cell_id] == clean[VICTIM.cell_id]


def test_resumed_epochs_are_told_again_and_stand_once(place, clean, once):
    once("epoch.sent:2:kill9")
    place.run([VICTIM])
    told = [event for _, event in place.listener.of("epoch")]
    assert [(event.epoch, event.replayed) for event in told if event.replayed] == [(1, True), (2, True)]
    assert place.rows("select resumed, timing_valid from execution") == [(1, 0)]
    assert place.digests()[VICTIM.cell_id] == clean[VICTIM.cell_id]


def test_a_diverged_cell_is_a_result_and_blocks_its_children(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_DIVERGES", "2")
    child = fake_cell(strategy="continued", parent=VICTIM)
    summary = place.run([VICTIM, child])
    assert summary.counts == {"diverged": 1, "blocked": 1}
    assert place.rows("select epoch, train_loss, nan_metrics from epoch where epoch = 2")[0][1] is None
    assert place.rows("select cause from execution order by execution_id") == [("diverged",), ("parent",)]
