from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.events import Launched, Progress, StageStarted
from benchmark.scheduling.loop.stall import StallDetector
from benchmark.scheduling.run_options import RunOptions

OPTIONS = RunOptions(
    machine="m", artifacts_root=Path("a"), cache_root=Path("c"), stall_seconds=10, first_batch_seconds=100
)


def progress(batch: int, epoch: int = 1) -> Progress:
    return Progress(1, epoch, batch, 8)


def test_the_first_batch_may_take_long():
    liveness = StallDetector(OPTIONS, 0.0)
    assert liveness.overdue(99.9) is None
    assert "no first batch within 100 s at the start" in liveness.overdue(100.0)


def test_after_it_batches_must_follow():
    liveness = StallDetector(OPTIONS, 0.0)
    liveness.note(progress(1), 50.0)
    assert liveness.deadline() == 60.0
    assert liveness.overdue(59.9) is None
    assert "no further batch within 10 s after epoch 1, batch 1 of 8" in liveness.overdue(60.0)


def test_batches_of_an_evaluation_repeat_the_position_and_are_signs_of_life():
    liveness = StallDetector(OPTIONS, 0.0)
    liveness.note(progress(8), 1.0)
    liveness.note(progress(8), 9.0)
    assert liveness.overdue(18.9) is None
    assert liveness.overdue(19.0) is not None


def test_a_new_stage_is_traced_again():
    liveness = StallDetector(OPTIONS, 0.0)
    liveness.note(Launched(1, 2, 3), 0.5)
    liveness.note(progress(1), 1.0)
    liveness.note(StageStarted(2, 3, 5), 2.0)
    assert liveness.overdue(101.0) is None
    assert liveness.overdue(102.0) is not None


@pytest.mark.parametrize("now", [30.0, 31.0])
def test_the_limit_of_a_cell_holds_however_lively_it_is(now):
    liveness = StallDetector(replace(OPTIONS, timeout_seconds=30), 0.0)
    liveness.note(progress(5), 29.9)
    assert liveness.deadline() == 30.0
    assert liveness.overdue(29.95) is None
    assert "--timeout" in liveness.overdue(now)
