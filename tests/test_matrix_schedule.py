from __future__ import annotations

import re

import pytest

from benchmark.errors import MatrixError
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.planning.stage_keys import stage_key
from benchmark.matrix.settings import cell_settings

HEAD = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def plan_of(lines: str = "", head: str = HEAD, *options: str) -> Plan:
    text = f"{head}[defaults]\n{lines}"
    return load_matrix("matrix.toml", text, overrides=options, machine_kind=MachineKind(0, 2))


def cell_of(lines: str = "", head: str = HEAD) -> Cell:
    (cell,) = plan_of(lines, head).cells
    return cell


def problems_of(lines: str, *options: str, head: str = HEAD) -> list[str]:
    with pytest.raises(MatrixError) as caught:
        plan_of(lines, head, *options)
    return [problem.describe("m") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ('schedule = "constant"', ""),
        ('schedule = { kind = "constant", warmup_epochs = 0 }', ""),
        ('schedule = { kind = "cosine", final = 0, warmup_epochs = 0.0 }', 'schedule = "cosine"'),
        ('schedule = { kind = "polynomial", power = 2 }', 'schedule = "polynomial"'),
        (
            'schedule = { warmup_share = 0.3, kind = "one_cycle", initial = 0.04, final = 4e-6 }',
            'schedule = "one_cycle"',
        ),
        (
            'schedule = { kind = "step", at = [3, 6], factor = 0.1 }',
            'schedule = { factor = 0.1, at = [3.0, 6.0], kind = "step" }',
        ),
    ],
)
def test_a_schedule_written_in_two_ways_is_one_cell(written, same):
    assert cell_of(written).cell_id == cell_of(same).cell_id


def test_schedules_that_differ_are_cells_of_their_own_and_survive_json():
    written = [
        '"constant"', '{ kind = "constant", warmup_epochs = 0.5 }', '"cosine"', '{ kind = "cosine", final = 0.1 }',
        '"linear"', '"polynomial"', '"one_cycle"', '{ kind = "step", factor = 0.1, every = 3 }',
        '{ kind = "step", factor = 0.1, at = [3] }', '{ kind = "exponential", factor = 0.9 }',
    ]  # fmt: skip
    plan = plan_of(head=f"{HEAD}schedule = [{', '.join(written)}]\n")
    assert len({cell.cell_id for cell in plan.cells}) == len(written)
    assert plan.axes == ("schedule",)
    assert [Cell.from_dict(cell.to_dict()) for cell in plan.cells] == list(plan.cells)
    shown = [cell_settings(cell)["schedule"] for cell in plan.cells]
    assert shown[:4] == [
        "constant", {"kind": "constant", "warmup_epochs": 0.5}, "cosine", {"kind": "cosine", "final": 0.1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('"cosin"', "defaults.schedule: expected constant, cosine, linear, polynomial, step, exponential or one_cycle, got \"cosin\"; did you mean 'cosine'?"),
        ("3", "defaults.schedule: expected constant, cosine"),
        ("{ final = 0 }", "defaults.schedule.kind: expected constant, cosine"),
        ('{ kind = "cosine", warmup = 2 }', "defaults.schedule.warmup: expected a known key; did you mean 'warmup_epochs'?"),
        ('{ kind = "one_cycle", warmup_epochs = 2 }', "defaults.schedule.warmup_epochs: expected a known key"),
        ('{ kind = "cosine", final = 2 }', "defaults.schedule.final: expected a number ≥ 0 and ≤ 1, got 2"),
        ('"exponential"', "defaults.schedule.factor: expected a number > 0 and ≤ 1; it is missing"),
        ('{ kind = "step", factor = 0.1 }', 'defaults.schedule: expected either every = EPOCHS or at = [EPOCHS, …] beside factor, got "none"'),
        ('{ kind = "step", factor = 0.1, every = 1, at = [2] }', 'beside factor, got "both"'),
        ('{ kind = "step", factor = 0.1, at = [6, 3] }', "defaults.schedule.at: expected rising epochs of the stage, such as [3, 6], got [6.0, 3.0]"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_schedule_is_told_with_its_cure(written, told):
    assert any(told in problem for problem in problems_of(f"schedule = {written}\n"))


@pytest.mark.parametrize(
    ("lines", "options", "where"),
    [
        ('schedule = "cosine"\nreduce_learning_rate = 2\n', (), "m:6: defaults.schedule"),
        ("reduce_learning_rate = 2\n", ("schedule=cosine",), "the command line: --set schedule"),
        ('reduce_learning_rate = 2\n[strategy.scratch]\nextends = "scratch"\nschedule = "cosine"\n', (), "m:9: strategy.scratch.schedule"),
    ],
)  # fmt: skip
def test_a_schedule_beside_a_rate_that_falls_by_itself_is_refused_naming_both(lines, options, where):
    (told,) = problems_of(lines, *options)
    assert told.startswith(f'{where}: expected no schedule but "constant" beside reduce_learning_rate in one stage')
    assert "reduce_learning_rate = false" in told


def test_each_may_stand_in_a_stage_of_its_own():
    stages = '[strategy.two]\n[[strategy.two.stage]]\nschedule = "cosine"\n[[strategy.two.stage]]\nreduce_learning_rate = 2\n'
    assert cell_of(stages, HEAD.replace("scratch", "two"))


def test_a_warm_up_that_takes_the_whole_stage_is_left_out_with_the_reason():
    lines = 'epochs = 2\nschedule = { kind = "linear", warmup_epochs = 2 }\n'
    (left_out,) = plan_of(lines).left_out
    assert left_out.reason == (
        "schedule.warmup_epochs = 2 leaves nothing of the epochs = 2; set warmup_epochs below 2, or more epochs"
    )
    assert plan_of(re.sub("= 2 }", "= 1.5 }", lines)).cells


def test_cells_share_a_first_stage_only_where_its_schedule_plans_the_same_epochs():
    def key(schedule: str, epochs: int, later: str = "") -> str:
        stages = (
            f"[strategy.two]\n[[strategy.two.stage]]\nepochs = {epochs}\n{schedule}\n[[strategy.two.stage]]\n{later}\n"
        )
        return stage_key(cell_of(stages, HEAD.replace("scratch", "two")), 1)

    cosine = 'schedule = "cosine"'
    assert key(cosine, 3) == key(cosine, 3, later=cosine)
    assert len({key(cosine, 3), key(cosine, 4), key("", 3)}) == 3
