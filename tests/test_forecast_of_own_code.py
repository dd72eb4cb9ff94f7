"""What the forecast knows, and says that it does not know, of callbacks, losses, metrics and versions of the user's own code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scheduling_plans import fake_cell

from benchmark.cli.runs.run_forecast import History, expect
from benchmark.forecast.estimate import Durations, pioneers
from benchmark.forecast.remaining import Running
from benchmark.matrix.cell import Architecture
from benchmark.matrix.identity import cell_id_of
from benchmark.results.records import Recorded
from benchmark.scheduling.run_options import RunOptions


def script(code="a" * 64, command=("python", "train.py"), **changes):
    own = Architecture("script", (), code=code, command=command, folder="/home/me")
    return replace(fake_cell(backend="script", **changes), architecture=own)


def network(seed=0, *, metrics=(), **stage):
    cell = fake_cell(backend="tensorflow", seed=seed)
    made = replace(cell, metric_codes=metrics, stages=tuple(replace(each, **stage) for each in cell.stages))
    return replace(made, cell_id=cell_id_of(made))


OWN = {
    "callback": lambda seed=0: network(seed, callbacks=("slow",), callback_codes=(("slow", "1" * 64),)),
    "loss": lambda seed=0: network(seed, loss="plugin:mine", loss_code="1" * 64),
    "metric": lambda seed=0: network(seed, metrics=(("mine", "1" * 64),)),
}


def effort(cell, seconds, epochs=None):
    return {
        "spec": json.dumps(cell.to_dict()), "epochs": epochs, "total_seconds": seconds, "peak_rss_bytes": 700 << 20,
    }  # fmt: skip


def longer(cell):
    return replace(cell, stages=tuple(replace(stage, epochs=10 * stage.epochs) for stage in cell.stages))


@pytest.mark.parametrize("own", OWN)
def test_own_code_that_has_not_run_is_forecast_by_the_model_and_said_to_be(own):
    known = Durations(efforts=[effort(network(), 10.0)])
    assert known.expected(longer(network()))[1] == "same model"
    assert known.expected(OWN[own]()) == (pytest.approx(10.0), "other code")
    # and what lacks it by cells that have it
    assert Durations(efforts=[effort(OWN[own](), 10.0)]).expected(network())[1] == "other code"


@pytest.mark.parametrize("own", OWN)
def test_what_own_code_took_is_expected_of_cells_that_have_it_and_of_no_others(own):
    known = Durations(efforts=[effort(network(), 10.0), effort(OWN[own](), 90.0)])
    plain, costly = longer(network()), longer(OWN[own]())
    assert {known.expected(plain)[1], known.expected(costly)[1]} == {"same model"}
    assert known.seconds(costly) == pytest.approx(9 * known.seconds(plain))
    assert known.seconds(OWN[own](seed=3)) == 90.0


def test_a_cell_with_each_code_runs_early():
    cells = [each(seed) for seed in (0, 1) for each in (network, *OWN.values())]
    assert pioneers(cells, Durations()) == {cell.cell_id for cell in cells[:4]}
    assert pioneers(cells, Durations(efforts=[effort(network(), 10.0)])) == {cell.cell_id for cell in cells[1:4]}


def test_running_cells_tell_of_cells_with_the_same_code():
    running = Running(Durations(efforts=[effort(network(), 10.0)]))
    running.learn(OWN["callback"](), 90.0)
    assert running.seconds(longer(OWN["callback"](seed=1))) > 3 * running.seconds(OWN["callback"](seed=1)) >= 90.0


def test_a_changed_program_is_forecast_by_what_it_was():
    known = Durations(efforts=[effort(script(), 500.0)])
    assert known.expected(script(code="b" * 64)) == (pytest.approx(500.0), "other code")
    assert known.estimate(script(code="b" * 64)).peak_rss_bytes == 700 << 20
    assert known.expected(script(command=("python", "other.py")))[1] == "unknown"


def test_a_program_that_reports_no_epochs_is_known_once_it_has_run():
    known = Durations(efforts=[effort(script(), 500.0, epochs=None)])
    assert known.expected(script(seed=7)) == (500.0, "same shape")


def test_where_the_matrix_lies_is_no_matter():
    moved = replace(script(), architecture=replace(script().architecture, folder="/elsewhere"))
    assert Durations(efforts=[effort(script(), 500.0)]).expected(moved)[1] == "same shape"


USUAL = (
    "  no cell of these models has been measured on this machine yet: within a factor of about two, without your own callbacks, "
    "losses and metrics"
)
OTHER = (
    "  the forecast of 1 of 2 cells is that of the same models with other code of yours "
    "(callbacks, losses, metrics, an earlier version): what the change takes is not counted"
)
BOTH = [effort(network(), 10.0), effort(OWN["callback"](), 10.0)]


@pytest.mark.parametrize(("efforts", "lines"), [([], [USUAL]), (BOTH[:1], [OTHER]), (BOTH, [])])
def test_the_plan_says_what_is_not_counted(efforts, lines):
    known = History(Recorded(), Durations(efforts=efforts))
    options = RunOptions("tester", Path("results.artifacts"), Path("cache"))
    assert expect([network(), OWN["callback"]()], known, options).in_words()[1:] == lines
