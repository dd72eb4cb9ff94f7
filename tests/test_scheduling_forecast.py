from __future__ import annotations

import pytest
from scheduling_plans import fake_cell

from benchmark.scheduling.forecast import Durations, Remaining


def past(cell, seconds):
    names = {"cell_id": cell.cell_id, "dataset": cell.dataset, "model": cell.model}
    return {**names, "epochs_planned": cell.epochs, "total_seconds": seconds}


CELL = fake_cell(epochs=4)
LONGER = fake_cell(epochs=8, seed=1)
STRANGER = fake_cell(model="resnet18", epochs=2)


def test_nothing_known_is_said_as_nothing():
    assert Durations().seconds(CELL) is None


def test_the_same_cell_counts_most_then_its_kind_then_this_run():
    durations = Durations([past(CELL, 10.0), past(CELL, 12.0)])
    assert durations.seconds(CELL) == 12.0
    assert durations.seconds(LONGER) == pytest.approx(22.0)
    assert durations.seconds(STRANGER) is None
    durations.learn(LONGER, 40.0)
    assert durations.seconds(LONGER) == 40.0
    assert durations.seconds(STRANGER) == pytest.approx(10.0)


def test_an_execution_without_a_duration_teaches_nothing():
    assert Durations([past(CELL, None)]).seconds(CELL) is None


def remaining(work, durations, cores=2, jobs=2):
    return Remaining(durations, lambda: work, lambda cell: min(cell.threads, cores), cores, jobs)()


def test_work_is_shared_by_what_runs_side_by_side():
    durations = Durations([past(CELL, 10.0)])
    cells = [(CELL, 0.0)] * 6
    assert remaining(cells, durations) == pytest.approx(30.0)
    assert remaining(cells, durations, jobs=1) == pytest.approx(60.0)
    assert remaining([(CELL, 4.0), (CELL, 12.0)], durations) == pytest.approx(6.0)
    assert remaining([], durations) == 0.0


def test_a_wide_cell_takes_all_cores():
    wide = fake_cell(threads=2)
    assert remaining([(wide, 0.0)] * 2, Durations([past(wide, 10.0)])) == pytest.approx(20.0)


def test_one_unknown_cell_makes_the_sum_unknown():
    assert remaining([(CELL, 0.0), (STRANGER, 0.0)], Durations([past(CELL, 10.0)])) is None
