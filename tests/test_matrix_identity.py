from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matrix.cell import defaults_of
from benchmark.matrix.identity import ALWAYS, NEVER, canonical_json, cell_id_of, changed_keys, identity_parts
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan

ROOT = Path(__file__).resolve().parent.parent
MATRIX = """
[matrix]
dataset = "mine"
model = "wide"
strategy = "child"
seed = [0, 1]
[dataset.mine]
extends = "digits"
classes = [3, 1]
[model.wide]
extends = "simple_cnn"
filters = [8, 16]
[strategy.child]
label = "Child"
weights = { dataset = "digits_low", strategy = "parent" }
learning_rate = 1e-4
augment = { flip = "both", rotation = 0.1 }
early_stopping = 3
[strategy.parent]
epochs = 3
"""


def plan_of(text: str, gpus: int = 0) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=gpus, cores=2))


def ids(text: str, **options) -> list[str]:
    return [cell.cell_id for cell in plan_of(text, **options).cells]


def test_an_id_is_twenty_hexadecimal_digits_of_what_decides_the_numbers():
    for cell in plan_of(MATRIX).cells:
        assert cell.cell_id == cell_id_of(cell)
        assert len(cell.cell_id) == 20
        assert int(cell.cell_id, 16) >= 0


def test_ids_do_not_change_from_one_version_of_bench_to_the_next():
    """If this fails, finished cells of every user would run again: raise TRAINING_VERSION only when numbers change."""
    text = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'
    (cell,) = plan_of(text).cells
    parts = json.loads(canonical_json(identity_parts(cell)))
    assert sorted(parts) == [
        "architecture", "backend", "data", "deterministic", "device_kind", "keep", "labels", "monitor", "precision",
        "seed", "stages", "threads", "training_version", "weights",
    ]  # fmt: skip
    assert cell.cell_id == "64c937f61f2146f329fd"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mine", "yours"),
        ("wide", "broad"),
        ("child", "kid"),
        ("parent", "mother"),
        ('label = "Child"', 'label = "Another"'),
        ('label = "Child"\n', ""),
        ("seed = [0, 1]", "seed = [0, 1]\nthreads = 1\nname = 'x'"),
        ("seed = [0, 1]", "seed = [0, 1]\nreuse_features = true\nshare_stages = true"),
        ('flip = "both", rotation = 0.1', 'rotation = 0.1, flip = "both"'),
        ("early_stopping = 3", 'early_stopping = { patience = 3, monitor = "val_loss" }'),
        ("learning_rate = 1e-4", "[[strategy.child.stage]]\nlearning_rate = 0.0001"),
        ("epochs = 3", "epochs = 3\noptimizer = 'adam'\nmomentum = 0.3"),
        ("[strategy.parent]", "[defaults]\nbatch_size = 64\n[strategy.parent]"),
    ],
)
def test_names_labels_order_and_places_are_not_in_the_id(old, new):
    text = MATRIX.replace(old, new)
    if old.startswith("learning_rate"):
        # the stage comes last, with the settings above it
        lines = MATRIX.replace("learning_rate = 1e-4\n", "")
        text = lines.replace(
            "early_stopping = 3\n", "early_stopping = 3\n[[strategy.child.stage]]\nlearning_rate = 0.0001\n"
        )
    assert ids(text) == ids(MATRIX)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = [0, 1]", "seed = [2, 3]"),
        ("classes = [3, 1]", "classes = [1, 3]"),
        ("[8, 16]", "[8, 17]"),
        ("0.1 }", "0.2 }"),
        ("early_stopping = 3", "early_stopping = 4"),
        ("1e-4", "1.0000001e-4"),
        ("seed = [0, 1]", "seed = [0, 1]\nthreads = 2"),
        ("seed = [0, 1]", "seed = [0, 1]\nbackend = 'jax'"),
        ("seed = [0, 1]", "seed = [0, 1]\ndeterministic = false"),
        ("seed = [0, 1]", "seed = [0, 1]\nreuse_features = false"),
        ("seed = [0, 1]", "seed = [0, 1]\nshare_stages = false"),
        ("seed = [0, 1]", "seed = [0, 1]\nprecision = 'mixed_bfloat16'"),
        ("seed = [0, 1]", "seed = [0, 1]\ntest_examples = 100"),
    ],
)
def test_whatever_decides_the_numbers_is_in_the_id(old, new):
    assert not set(ids(MATRIX.replace(old, new))[1::2]) & set(ids(MATRIX)[1::2])


def test_what_changes_a_parent_changes_its_children():
    changed = plan_of(MATRIX.replace("epochs = 3", "epochs = 4")).cells
    assert not {cell.cell_id for cell in changed} & set(ids(MATRIX))


def test_the_kind_of_device_is_in_the_id_and_the_device_asked_for_is_not():
    text = MATRIX.replace("seed = [0, 1]", 'seed = [0, 1]\ndevice = "DEVICE"')
    assert ids(text.replace("DEVICE", "cpu"), gpus=1) == ids(text.replace("DEVICE", "auto"), gpus=0)
    assert ids(text.replace("DEVICE", "gpu:0"), gpus=1) == ids(text.replace("DEVICE", "auto"), gpus=1)
    assert ids(text.replace("DEVICE", "cpu"), gpus=1) != ids(text.replace("DEVICE", "gpu"), gpus=1)


def test_ids_are_the_same_in_every_process():
    code = (
        "import sys; from benchmark.matrix.load import load_matrix; from benchmark.matrix.plan import MachineKind\n"
        "plan = load_matrix('m', sys.stdin.read(), machine_kind=MachineKind(0, 2))\n"
        "print(*(cell.cell_id for cell in plan.cells))"
    )
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=MATRIX,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=environment,
        )
        assert done.stdout.split() == ids(MATRIX)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_canonical_json_is_exact_and_has_no_order(record):
    text = canonical_json(record)
    assert json.loads(text) == record
    assert canonical_json(dict(reversed(record.items()))) == text
    assert text.isascii()
    assert changed_keys(record, json.loads(text)) == []


def test_canonical_json_refuses_what_json_does_not_know():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("nan")})


def test_changed_keys_are_dotted_and_sorted():
    first, second = (
        plan_of(text).cells[-1] for text in (MATRIX, MATRIX.replace("0.1 }", "0.2 }").replace("[8, 16]", "[8]"))
    )
    assert changed_keys(first.to_dict(), second.to_dict()) == [
        "architecture.parameters.filters",
        "cell_id",
        "stages[0].augment.rotation",
        "weights.parent_cell_id",
    ]
    one, two = {"a": [{"b": 1}], "c": 1}, {"a": [{"b": 2}, {}], "d": 1}
    assert changed_keys(one, two) == ["a", "c", "d"]
    assert changed_keys({"x": (1, 2)}, {"x": [1, 2]}) == []


def test_only_fields_with_a_default_are_ever_added_to_what_makes_an_id():
    """If this fails, a new field has no default, or a list was changed that must stay: every recorded id would change."""
    for kind, names in ALWAYS.items():
        assert names | NEVER | defaults_of(kind).keys() >= {field.name for field in fields(kind)}
    assert sorted(len(names) for names in ALWAYS.values()) == [2, 3, 3, 4, 8, 11, 13]


def test_parts_that_cells_of_a_matrix_share_make_the_ids_that_whole_cells_make():
    text = f"{SMALL}threads = 2\nsave = 'model'\naugment = {{ zoom = 0.1 }}\nreduce_learning_rate = 3\n"
    for cell in [*plan_of(MATRIX).cells, *plan_of(text).cells]:
        parts = canonical_json(identity_parts(cell))
        assert cell.cell_id == cell_id_of(cell) == hashlib.sha256(parts.encode()).hexdigest()[:20]
        assert json.loads(parts) == json.loads(json.dumps(identity_parts(type(cell).from_dict(cell.to_dict()))))


def test_views_and_saved_files_are_part_of_the_id_only_where_they_are_asked_for():
    (plain, _) = plan_of(SMALL).cells
    for line in ("tta = 0", "save = false", 'save = "weights"', 'save = ["history", "weights"]'):
        assert plan_of(f"{SMALL}{line}").cells[0].cell_id == plain.cell_id
    asked = [plan_of(f"{SMALL}{line}").cells[0] for line in ("tta = 3", 'save = "model"', 'save = ["h5", "model"]')]
    assert len({plain.cell_id, *(cell.cell_id for cell in asked)}) == 4
    for cell in (plain, *asked):
        assert cell_id_of(cell) == cell.cell_id
        assert type(cell).from_dict(json.loads(json.dumps(cell.to_dict()))) == cell
    assert asked[2].save == ("model", "h5")


SMALL = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1]
[defaults]
"""
