"""`threads = "auto"` in a matrix: what it comes to is given as data, and ids hold the number."""

from __future__ import annotations

import pytest

from benchmark.forecast.shapes import Shapes
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.speed_key import possible_threads, speed_key_of_cell

MATRIX = """
[matrix]
dataset = ["digits", "digits_low"]
model = "simple_cnn"
strategy = ["scratch", "regularized"]
seed = [0, 1]
threads = {threads}
[defaults]
epochs = {epochs}
"""


def plan(threads: object = '"auto"', epochs: int = 3, chosen: dict[str, int] | None = None, text: str = MATRIX) -> Plan:
    kind = MachineKind(gpus=0, cores=4, threads=chosen or {})
    return load_matrix("m", text.format(threads=threads, epochs=epochs), machine_kind=kind)


def ids(planned: Plan) -> set[str]:
    return {cell.cell_id for cell in planned.cells}


def test_a_number_is_assumed_and_remarked_upon_until_the_machine_was_measured():
    planned = plan()
    assert {cell.threads for cell in planned.cells} == {1}
    assert set(planned.auto) == set(planned.undecided)
    assert {cell_id for found in planned.auto.values() for cell_id in found} == ids(planned)
    (note,) = (note for note in planned.notes if "threads" in note)
    assert "has not been measured on this machine for 8 cells of simple_cnn" in note
    assert "bench plan --probe" in note


def test_cells_have_the_ids_of_the_number_that_was_chosen():
    chosen = dict.fromkeys(plan().undecided, 2)
    planned = plan(chosen=chosen)
    assert ids(planned) == ids(plan(2)) != ids(plan(1))
    assert planned.undecided == ()
    assert set(planned.auto) == set(chosen)
    assert 'threads = "auto" is, as measured on this machine, 2 for 8 cells of simple_cnn' in planned.notes


def test_auto_beside_a_number_is_the_same_cell_where_it_comes_to_that_number():
    assert ids(plan('[1, "auto"]')) == ids(plan(1))
    chosen = dict.fromkeys(plan().undecided, 2)
    both = plan('[1, "auto"]', chosen=chosen)
    assert ids(both) == ids(plan(1)) | ids(plan(2))
    assert "threads" in both.axes


def test_kinds_of_cells_are_decided_one_by_one():
    text = MATRIX.replace('"simple_cnn"', '["simple_cnn", "advanced_cnn"]')
    text = text.replace(', "digits_low"', "").replace(', "regularized"', "")
    first, second = plan(text=text).undecided
    planned = plan(text=text, chosen={first: 2})
    assert {(cell.model, cell.threads) for cell in planned.cells} == {("simple_cnn", 2), ("advanced_cnn", 1)}
    assert planned.undecided == (second,)


def test_a_parent_is_decided_like_its_child():
    text = MATRIX.replace('["digits", "digits_low"]', '"digits_high"').replace(
        '["scratch", "regularized"]', '"from_low_digits"'
    )
    planned = plan(text=text)
    assert {cell.threads for cell in planned.cells} == {1}
    chosen = plan(text=text, chosen=dict.fromkeys(planned.undecided, 2))
    assert {cell.threads for cell in chosen.cells} == {2}
    assert all(cell.parent_cell_id in ids(chosen) for cell in chosen.cells if cell.parent_cell_id)


def test_overrides_and_rules_may_say_auto_too():
    text = MATRIX + '\n[[matrix.override]]\nwhen = {{ seed = 1 }}\nset = {{ threads = "auto" }}\n'
    chosen = dict.fromkeys(plan().undecided, 4)
    assert {(cell.seed, cell.threads) for cell in plan(2, text=text, chosen=chosen).cells} == {(0, 2), (1, 4)}


@pytest.mark.parametrize("wrong", ['"most"', "0", "true"])
def test_any_other_word_is_a_mistake_that_names_what_is_allowed(wrong):
    with pytest.raises(Exception, match='an integer from 1 to 4096, or "auto"'):
        plan(wrong)


def test_the_pace_is_what_a_forecast_takes_for_a_kind_but_for_the_threads():
    """Two tables say what decides the time of a step: `matrix/speed_key.py` and `forecast/shapes.py`."""
    text = (
        MATRIX
        + """
[[matrix.include]]
dataset = "digits"
model = ["simple_cnn", "resnet18"]
strategy = "scratch"
batch_size = [32, 64]
image_size = [8, 16]
precision = ["float32", "mixed_bfloat16"]
optimizer = ["adam", "sgd"]
backend = ["tensorflow", "jax"]
augment = [false, {{ rotation = 0.1 }}]
"""
    )
    cells = plan(1, text=text).cells
    shapes = Shapes()
    kinds = {cell.cell_id: shapes.of(cell).kind for cell in cells}
    speed_keys = {cell.cell_id: speed_key_of_cell(cell) for cell in cells}
    assert (
        len(set(speed_keys.values()))
        == len(set(kinds.values()))
        == len({(kinds[i], speed_keys[i]) for i in kinds})
        > 32
    )


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_what_auto_may_come_to(cores, counts):
    assert possible_threads(cores) == counts
