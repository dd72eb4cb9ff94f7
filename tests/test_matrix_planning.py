from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MatrixError, UserError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan

ROOT = Path(__file__).resolve().parent.parent
MACHINE = MachineKind(gpus=0, cores=2)
TWO = '[matrix]\ndataset = "digits"\nmodel = ["simple_cnn", "basic_cnn"]\nstrategy = ["scratch", "v1"]\nseed = [0, 1]\n'
TRANSFER = '[matrix]\ndataset = ["digits_high", "digits_low"]\nmodel = "simple_cnn"\nstrategy = ["from_low_digits", "scratch"]\n'


def plan_of(text: str, **options) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MACHINE, **options)


def names(plan: Plan) -> list[tuple]:
    return [(cell.dataset, cell.model, cell.strategy, cell.seed) for cell in plan.cells]


def test_exclude_drops_what_matches_every_key():
    plan = plan_of(TWO + '[[matrix.exclude]]\nmodel = "basic*"\nstrategy = ["v1", "v2"]\nseed = 1\n')
    assert len(plan.cells) == 7
    assert ("digits", "basic_cnn", "v1", 1) not in names(plan)


def test_exclude_sees_settings_as_they_finally_are():
    text = TWO + "[[matrix.override]]\nwhen = { seed = 1 }\nset = { epochs = 3 }\n[[matrix.exclude]]\nepochs = 3\n"
    assert {cell.seed for cell in plan_of(text).cells} == {0}
    assert len(plan_of(text, overrides=["epochs=5"]).cells) == 8


def test_included_rows_survive_exclude():
    text = TWO + (
        '[[matrix.exclude]]\nstrategy = "v1"\n[[matrix.include]]\nmodel = "simple_cnn"\nstrategy = "v1"\nseed = 0\n'
    )
    assert names(plan_of(text))[-1] == ("digits", "simple_cnn", "v1", 0)
    assert len(plan_of(text).cells) == 5


def test_an_excluded_cell_comes_back_as_a_parent_and_the_plan_says_so():
    plan = plan_of(TRANSFER + '[[matrix.exclude]]\ndataset = "digits_low"\n')
    assert names(plan) == [
        ("digits_low", "simple_cnn", "scratch", 0),
        ("digits_high", "simple_cnn", "from_low_digits", 0),
        ("digits_high", "simple_cnn", "scratch", 0),
    ]
    assert any("kept because others need them as parents" in note for note in plan.notes)


def test_parents_stand_before_their_children_and_the_rest_in_the_order_of_the_matrix():
    assert names(plan_of(TRANSFER)) == [
        ("digits_low", "simple_cnn", "scratch", 0),
        ("digits_high", "simple_cnn", "from_low_digits", 0),
        ("digits_high", "simple_cnn", "scratch", 0),
        ("digits_low", "simple_cnn", "from_low_digits", 0),
    ]
    assert plan_of(TRANSFER).notes == ()


def test_an_added_parent_is_noted():
    text = '[matrix]\ndataset = "digits_high"\nmodel = "simple_cnn"\nstrategy = "from_low_digits"\nseed = [0, 1]'
    assert plan_of(text).notes == ("2 cells of digits_low \u00d7 simple_cnn \u00d7 scratch added as parents",)


def test_two_names_of_one_content_are_one_cell_with_a_note():
    text = TWO.replace('"v1"', '"same"') + '[strategy.same]\nextends = "scratch"\nlabel = "Other words"\n'
    plan = plan_of(text)
    assert len(plan.cells) == 4
    assert {cell.strategy for cell in plan.cells} == {"scratch"}
    expected = "2 cells of digits \u00d7 simple_cnn \u00d7 same merged into digits \u00d7 simple_cnn \u00d7 scratch, which is the same"
    assert any(expected in note for note in plan.notes)


def test_settings_that_change_nothing_merge_with_a_note():
    plan = plan_of(TWO.replace("v1", "augmented") + "momentum = [0, 0.9]\n")
    assert len(plan.cells) == 8
    assert any("differ in nothing that affects the numbers" in note for note in plan.notes)


def test_rules_that_match_nothing_are_noted():
    text = (
        TWO
        + '[[matrix.exclude]]\nmodel = "nomodel*"\n[[matrix.override]]\nwhen = { dataset = "mnist" }\nset = { epochs = 1 }\n'
    )
    notes = plan_of(text).notes
    assert "matrix.exclude: model = 'nomodel*' matches no model that exists" in notes
    assert "matrix.exclude[0] matches no cell" in notes
    assert "matrix.override[0] matches no cell" in notes


def test_more_threads_than_cores_are_noted():
    assert plan_of(TWO + "threads = [1, 2]\n").notes == ()
    assert "threads = 4 is more than this machine's 2 cores" in plan_of(TWO + "threads = [1, 4]\n").notes[0]


def test_a_matrix_of_which_nothing_is_left_is_a_mistake():
    with pytest.raises(MatrixError, match=r"matrix\.exclude: expected at least one cell, got none"):
        plan_of(TWO + '[[matrix.exclude]]\ndataset = "*"\n')


@pytest.mark.parametrize(
    ("select", "exclude", "count"),
    [
        (["model=simple_cnn"], [], 4),
        (["model=simple_cnn,seed=0"], [], 2),
        (["model=simple_cnn,seed=0", "strategy=v1"], [], 5),
        (["model=*cnn", "seed=1"], ["strategy=scratch"], 4),
        (["seed=0|1"], ["model=basic*,seed=1"], 6),
        (["epochs=10,batch_size=64,augment=none,deterministic=true"], [], 8),
        (["learning_rate=1e-3"], [], 4),
    ],
)
def test_select_and_exclude_choose_cells(select, exclude, count):
    assert len(plan_of(TWO, select=select, exclude=exclude).cells) == count


def test_a_cell_can_be_selected_by_its_id():
    plan = plan_of(TWO)
    assert plan_of(TWO, select=[f"cell_id={plan.cells[3].cell_id[:6]}*"]).cells == (plan.cells[3],)


def test_selected_children_bring_their_parents():
    plan = plan_of(TRANSFER, select=["strategy=from_low_digits,dataset=digits_high"])
    assert [cell.dataset for cell in plan.cells] == ["digits_low", "digits_high"]


def test_a_selection_that_matches_nothing_is_a_mistake_of_the_user():
    with pytest.raises(MatrixError, match="expected at least one cell of the matrix, got none by '--select seed=7'"):
        plan_of(TWO, select=["seed=7"])
    with pytest.raises(MatrixError, match="did you mean 'simple_cnn'"):
        plan_of(TWO, select=["model=simpel_cnn"])
    with pytest.raises(UserError, match="did you mean 'model'"):
        plan_of(TWO, select=["modl=simple_cnn"])


def test_selection_also_chooses_among_what_is_left_out():
    text = '[matrix]\ndataset = "mnist"\nmodel = ["vgg16", "resnet50"]\nstrategy = "scratch"\n'
    assert [left.model for left in plan_of(text, select=["model=vgg16"]).left_out] == ["vgg16"]


def test_axes_are_those_on_which_the_cells_differ():
    assert plan_of(TWO).axes == ("model", "strategy", "seed")
    assert plan_of(TWO, select=["seed=0"]).axes == ("model", "strategy")
    assert plan_of(TWO + "batch_size = [16, 32]\n").axes == ("model", "strategy", "seed", "batch_size")


NAMES = st.text(min_size=1, max_size=30)


@given(NAMES)
def test_any_name_is_kept_or_refused(name):
    escaped = "".join(
        f"\\U{ord(character):08x}" if character < "\ud800" or character > "\udfff" else "?" for character in name
    )
    text = f'[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "{escaped}"\n[strategy."{escaped}"]\nepochs = 3\n'
    try:
        (cell,) = plan_of(text).cells
    except MatrixError:
        return
    assert cell.strategy_label == cell.strategy
    assert cell.stages[0].epochs == 3


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/x", "CON", "dot.", "a b", "שלום", "👩‍🚀", "[red]", "a,b=c", "$(x)", "%s"]
)
def test_hostile_names_are_names(name):
    text = f"[matrix]\ndataset = 'digits'\nmodel = 'simple_cnn'\nstrategy = '{name}'\n[strategy.'{name}']\nepochs = 3\n"
    assert plan_of(text).cells[0].strategy == name


def test_the_default_matrix_is_planned_in_no_time():
    started = time.process_time()
    plan = load_matrix(ROOT / "matrix.toml", machine_kind=MACHINE)
    assert time.process_time() - started < 0.5
    assert not plan.left_out


BIG = """
import pathlib, re, time
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
text = f'''
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
batch_size = {AXIS}
learning_rate = {[(rate + 1) / 1e4 for rate in range(10)]}
seed = {list(range(1000))}
[[matrix.exclude]]
batch_size = 5
seed = 3
[[matrix.override]]
when = {{ batch_size = 7 }}
set = {{ epochs = 3 }}
'''
started = time.process_time()
plan = load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2))
seconds = time.process_time() - started
# ru_maxrss would be that of the test's own process, from before exec
status = pathlib.Path("/proc/self/status")
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) if status.exists() else 0
print(len({cell.cell_id for cell in plan.cells}), seconds, peak / 1024)
"""


def test_a_hundred_thousand_cells_take_less_than_five_seconds_and_200_mib():
    code = BIG.replace("{AXIS}", str(list(range(1, 11))))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    cells, seconds, mebibytes = done.stdout.split()
    assert int(cells) == 100_000 - 10
    assert float(seconds) < 5
    assert float(mebibytes) < 200


def test_an_axis_in_place_of_what_a_strategy_sets_itself_is_noted():
    text = """
    [matrix]
    dataset = "digits"
    model = "simple_cnn"
    strategy = ["scratch", "own"]
    optimizer = ["sgd", "adam"]
    seed = [0, 1]
    [strategy.own]
    optimizer = "adamw"
    """
    notes = load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).notes
    assert [note for note in notes if "axis" in note] == [
        "the axis optimizer takes the place of what these strategies set: own"
    ]
