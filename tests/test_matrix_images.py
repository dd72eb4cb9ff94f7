"""What a matrix may say of training images: `augment`, `mixup`, `cutmix`, `resize`."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import MatrixError
from benchmark.forecast.cost import cost_of
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.planning.stage_keys import stage_key
from benchmark.matrix.settings import cell_settings

HEAD = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def plan_of(lines: str) -> Plan:
    return load_matrix("matrix.toml", f"{HEAD}[defaults]\n{lines}\n", machine_kind=MachineKind(0, 2))


def cell_of(lines: str) -> Cell:
    (cell,) = plan_of(lines).cells
    return cell


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ('mixup = 0\ncutmix = 0.0\nresize = "squeeze"', ""),
        ("augment = { random_crop = 0, randaugment = false }", ""),
        ("augment = { randaugment = 0 }", ""),
        ("augment = { randaugment = { layers = 0 } }", ""),
        ("augment = { randaugment = { magnitude = 0.3, layers = 2 } }", "augment = { randaugment = 0.3 }"),
        ("augment = { randaugment = {} }", "augment = { randaugment = 0.3 }"),
        ("augment = { randaugment = 1, random_crop = 4 }", "augment = { random_crop = 4, randaugment = 1.0 }"),
    ],
)
def test_what_says_the_same_is_the_same_cell(written, same):
    assert cell_of(written).cell_id == cell_of(same).cell_id


def test_what_changes_images_is_another_cell_and_survives_json():
    written = [
        "", "mixup = 0.2", "cutmix = 1", "mixup = 0.2\ncutmix = 1", 'resize = "crop"', 'resize = "pad"',
        "augment = { random_crop = 2 }", "augment = { randaugment = 0.5 }",
        "augment = { randaugment = { layers = 1, magnitude = 0.5 } }",
    ]  # fmt: skip
    cells = [cell_of(lines) for lines in written]
    assert len({cell.cell_id for cell in cells}) == len(written)
    assert [Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) for cell in cells] == cells
    assert cell_settings(cells[-1])["augment"] == {"randaugment": {"layers": 1, "magnitude": 0.5}}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("mixup = -0.1", "defaults.mixup: expected a number ≥ 0, got -0.1"),
        ("cutmix = true", "defaults.cutmix: expected a number ≥ 0, got true"),
        ('mixup = "0.2"', "write numbers without quotes"),
        ('resize = "croped"', "defaults.resize: expected squeeze, crop or pad, got \"croped\"; did you mean 'crop'?"),
        ("augment = { random_crop = 0.1 }", "defaults.augment.random_crop: expected an integer from 0 to 1024, got 0.1"),
        ("augment = { randaugment = 9 }", "defaults.augment.randaugment: expected a magnitude from 0 to 1, or a table"),
        ("augment = { randaugment = { layer = 2 } }", "did you mean 'layers'?"),
        ("augment = { randaugment = { magnitude = 3 } }", "defaults.augment.randaugment.magnitude: expected a number ≥ 0 and ≤ 1"),
        ("augment = { random_cropp = 4 }", "did you mean 'random_crop'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(written, said):
    with pytest.raises(MatrixError) as caught:
        plan_of(written)
    assert any(said in problem.describe("m") for problem in caught.value.problems)


def test_padding_as_wide_as_the_images_is_left_out_with_the_reason():
    plan = plan_of("augment = { random_crop = 16 }\nimage_size = 16")
    (left_out,) = plan.left_out
    assert "augment.random_crop = 16 moves images of 16 pixels out of sight; set it to less than 16" in left_out.reason


def test_stages_before_one_that_mixes_are_those_of_cells_whose_labels_are_vectors():
    def first_stage(second: str) -> str:
        strategy = f"[strategy.own]\n[[strategy.own.stage]]\nepochs = 1\n[[strategy.own.stage]]\n{second}\n"
        head = HEAD.replace('"scratch"', '"own"')
        (cell,) = load_matrix("matrix.toml", head + strategy, machine_kind=MachineKind(0, 2)).cells
        return stage_key(cell, 1)

    plain, smoothed, mixed = map(first_stage, ("epochs = 2", "label_smoothing = 0.1", "mixup = 0.2"))
    assert plain != smoothed == mixed


def test_randaugment_is_in_the_forecast():
    plain, one, two = (
        cost_of(cell_of(f"augment = {{ randaugment = {{ layers = {layers}, magnitude = 0.3 }} }}")).total()
        for layers in (0, 1, 2)
    )
    assert two - one == pytest.approx(one - plain)
    assert one > plain
