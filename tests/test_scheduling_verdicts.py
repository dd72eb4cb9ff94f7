from __future__ import annotations

import signal

import pytest
from scheduling_plans import fake_cell

from benchmark.events import Completed, Diverged, Exited, Failed, Interrupted
from benchmark.scheduling.decisions.verdicts import Breaker, Evidence, judge, retries, top_frame
from benchmark.status import status_of

GIB = 1 << 30
KILLED = Exited(0, signal.SIGKILL, GIB, 1.0, 0.1)
LEFT = Exited(0, 0, GIB, 1.0, 0.1)
DONE = Completed(3, 1.0, 2.0)

JUDGED = [
    (Evidence(DONE, LEFT), "completed", None),
    (Evidence(DONE, KILLED, overdue="stall"), "completed", None),
    (Evidence(DONE, None), "completed", None),
    (Evidence(DONE, LEFT, protocol="not JSON"), "protocol", "not JSON"),
    (Evidence(Diverged(2, 5), LEFT), "diverged", "epoch 2, batch 5"),
    (Evidence(Failed("failed", "ValueError", "no", ""), LEFT), "failed", "ValueError: no"),
    (Evidence(Failed("data_error", "DataError", "gone", ""), LEFT), "data_error", "gone"),
    (Evidence(Failed("oom", "MemoryError", "", ""), LEFT), "oom", "MemoryError"),
    (Evidence(Failed("device_lost", "XID", "79", ""), LEFT), "device_lost", "79"),
    (Evidence(None, KILLED, overdue="stall: no batch"), "timeout", "stall"),
    (Evidence(Interrupted(3), LEFT, stopping=True), "interrupted", "up to epoch 3"),
    (Evidence(Interrupted(3), LEFT), "crashed", "SIGTERM from outside"),
    (Evidence(None, KILLED, stopping=True), "interrupted", "without saving"),
    (Evidence(None, None), "crashed", "guardian was killed"),
    (Evidence(None, KILLED), "crashed", "SIGKILL"),
    (Evidence(None, KILLED, oom_kills=1), "oom", "kernel"),
    (Evidence(None, KILLED, memory_bytes=GIB), "oom", "probably"),
    (Evidence(None, KILLED, memory_bytes=2 * GIB), "crashed", "SIGKILL"),
    (Evidence(None, Exited(0, signal.SIGSEGV, 1, 0.0, 0.0), memory_bytes=1), "crashed", "SIGSEGV"),
    (Evidence(None, Exited(0, 60, 1, 0.0, 0.0)), "crashed", "signal 60"),
    (Evidence(None, LEFT), "failed", "exited 0 without a result"),
    (Evidence(None, Exited(7, 0, 1, 0.0, 0.0)), "crashed", "exited 7"),
]


@pytest.mark.parametrize(("evidence", "state", "words"), JUDGED)
def test_every_end_has_a_name(evidence, state, words):
    verdict = judge(evidence)
    assert verdict.state == state
    assert words is None or words in verdict.detail


RETRIED = [("crashed", 2), ("device_lost", 2), ("oom", 1), ("timeout", 1)]
FINAL = ["completed", "failed", "protocol", "diverged", "data_error", "interrupted", "abandoned"]


@pytest.mark.parametrize(("cause", "times"), [*RETRIED, *((cause, 0) for cause in FINAL)])
def test_each_cause_is_retried_so_often(cause, times):
    assert [retries(cause, failures) for failures in range(1, 5)] == [failures <= times for failures in range(1, 5)]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("completed", ("completed", None)),
        ("diverged", ("diverged", "diverged")),
        ("interrupted", ("interrupted", "interrupted")),
        ("abandoned", ("interrupted", "abandoned")),
        ("oom", ("failed", "oom")),
        ("failed", ("failed", "failed")),
    ],
)
def test_a_state_means_a_status_and_a_cause(state, status):
    assert status_of(state) == status


def test_the_place_of_an_error_is_its_innermost_frame():
    trace = (
        'Traceback:\n  File "a.py", line 1, in main\n    f()\n  File "b.py", line 22, in build\n    boom\nValueError: 5'
    )
    assert top_frame(trace) == "b.py:22:build"
    assert top_frame("no frames") == ""


def broken(breaker: Breaker, cells, *, place: str = "m.py:1:f", state: str = "failed", now: float = 5.0) -> bool:
    breaker.started = 0.0
    for cell in cells:
        breaker.witness(cell, state, place, now)
    return breaker.tripped is not None


MODELS = [fake_cell(model=name) for name in ("a", "b", "c")]
SEEDS = [fake_cell(seed=seed) for seed in range(5)]


def test_three_cells_that_fail_alike_at_once_stop_the_run():
    assert broken(Breaker(9), MODELS)


def test_seeds_of_one_broken_model_do_not_stop_the_others():
    assert not broken(Breaker(9), SEEDS)
    assert broken(Breaker(1), SEEDS)


@pytest.mark.parametrize(
    ("state", "now"), [("data_error", 5.0), ("diverged", 5.0), ("interrupted", 5.0), ("failed", 61.0)]
)
def test_some_ends_are_no_witness(state, now):
    assert not broken(Breaker(9), MODELS, state=state, now=now)


def test_other_places_and_a_cell_that_completed_keep_the_run_going():
    breaker = Breaker(9)
    for number, cell in enumerate(MODELS):
        assert not broken(breaker, [cell], place=f"m.py:{number}:f")
    breaker = Breaker(9)
    broken(breaker, [fake_cell()], state="completed")
    assert not broken(breaker, MODELS)
