"""Split, weights, order and augmentation have seeds of their own, and folds divide the training examples."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cli_workplace import Workplace
from hypothesis import given
from hypothesis import strategies as st
from scheduling_plans import fake_cell
from test_backends import of_each_installed
from training_cells import DIGITS, KILLED, architecture, cell, history, job, run_worker, stage

from benchmark import events
from benchmark.errors import MatrixError
from benchmark.files import sha256_of
from benchmark.forecast.shapes import Shapes
from benchmark.matrix.cell import STREAMS, Cell, Data
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.planning.example_counts import class_counts
from benchmark.matrix.planning.stage_keys import common_stages, stage_key
from benchmark.matrix.settings import cell_settings
from benchmark.training.data.splits import split_training
from benchmark.training.programs.prepare import prepare

ONE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nseed = [0, 3]\n'

each_stream = pytest.mark.parametrize("stream", STREAMS)


def plan_of(text: str, **options) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2), **options)


def ids(text: str, **options) -> list[str]:
    return [each.cell_id for each in plan_of(text, **options).cells]


# ---- identity


@each_stream
def test_a_stream_with_the_seed_of_its_cell_is_the_same_cell_wherever_it_is_written(stream):
    plain = ids(ONE)
    for text, options in (
        (ONE + f"{stream} = 3\n", {"select": ["seed=3"]}),
        (ONE + f"[defaults]\n{stream} = 3\n", {"select": ["seed=3"]}),
        (ONE, {"select": ["seed=3"], "overrides": [f"{stream}=3"]}),
        (ONE + f"[[matrix.override]]\nwhen = {{ seed = 3 }}\nset = {{ {stream} = 3 }}\n", {"select": ["seed=3"]}),
    ):
        assert ids(text, **options) == plain[1:]
    assert ids(ONE + f'{stream} = "seed"\n') == plain


@each_stream
def test_another_seed_of_a_stream_is_another_cell(stream):
    cells = plan_of(ONE + f"{stream} = [0, 3, 5]\n").cells
    assert len({each.cell_id for each in cells}) == 6
    assert set(ids(ONE)) < {each.cell_id for each in cells}
    assert [each.stream_seed(stream) for each in cells] == [0, 3, 5, 0, 3, 5]
    assert [getattr(each, stream) for each in cells] == [None, 3, 5, 0, None, 5]


def test_a_record_without_streams_is_read_as_the_cell_that_it_was():
    one = plan_of(ONE).cells[1]
    record = {name: value for name, value in one.to_dict().items() if name not in STREAMS}
    record["data"] = {name: value for name, value in record["data"].items() if not name.startswith("fold")}
    assert Cell.from_dict(json.loads(json.dumps(record))) == one


@each_stream
def test_selections_and_rules_see_the_seed_that_a_stream_has(stream):
    axis = ONE + f"{stream} = [0, 3, 5]\n"
    chosen = plan_of(axis, select=[f"{stream}=3"]).cells
    assert [(each.seed, each.stream_seed(stream)) for each in chosen] == [(0, 3), (3, 3)]
    assert [each.seed for each in plan_of(ONE, select=[f"{stream}=3"]).cells] == [3]
    kept = plan_of(ONE + f"[[matrix.exclude]]\n{stream} = 3\n").cells
    assert [each.seed for each in kept] == [0]
    changed = plan_of(ONE + f"[[matrix.override]]\nwhen = {{ {stream} = 3 }}\nset = {{ epochs = 2 }}\n").cells
    assert [(each.seed, each.epochs) for each in changed] == [(0, 10), (3, 2)]


def test_children_inherit_the_seeds_of_streams_as_they_inherit_the_seed():
    child = '[strategy.child]\nweights = {{ dataset = "digits_low", strategy = "scratch"{} }}\n'
    text = ONE.replace('"scratch"', '"child"') + "weights_seed = [3, 4]\n"
    cells = plan_of(text + child.format("")).cells
    by_id = {each.cell_id: each for each in cells}
    pairs = [(by_id[each.parent_cell_id], each) for each in cells if each.parent_cell_id]
    assert [(a.seed, a.weights_seed) for a, _ in pairs] == [(b.seed, b.weights_seed) for _, b in pairs]
    assert [(b.seed, b.weights_seed) for _, b in pairs] == [(0, 3), (0, 4), (3, None), (3, 4)]
    named = plan_of(text + child.format(", seed = 7, order_seed = 9")).cells
    assert {(each.seed, each.order_seed) for each in named if not each.parent_cell_id} == {(7, 9)}


@each_stream
def test_stages_are_shared_only_where_all_streams_agree(stream):
    first, other = (replace(fake_cell(), cell_id=name, **changes) for name, changes in (("a", {}), ("b", {stream: 7})))
    assert stage_key(first, 1) != stage_key(other, 1)
    assert common_stages([first, other]) == {}


def test_forecasts_take_repetitions_and_folds_for_one_thing():
    plain, shapes = fake_cell(), Shapes()
    folded = [replace(plain, data=replace(plain.data, folds=5, fold=fold)) for fold in (0, 1)]
    assert shapes.of(folded[0]) is shapes.of(folded[1])
    assert shapes.of(plain) is shapes.of(replace(plain, weights_seed=8, split_seed=9))


# ---- what each stream drives


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


AUGMENTED = cell(
    architecture=architecture("simple_cnn", filters=(4,), dense_units=8, dropout=0.3),
    stages=(stage(epochs=2, augment=(("rotation", 0.1), ("contrast", 0.3))),),
)
DRAWN_BY = {"split_seed": "split", "weights_seed": "weights", "order_seed": "order", "augment_seed": "pixels"}


def digests(one: Cell, digits) -> dict[str, str]:
    """What a cell begins with: its split, its initial weights, the order of its first epoch, its augmented pixels."""
    import keras

    from benchmark.files import sha256_of
    from benchmark.training.augmenting.augmentation import augmentation_layers, reseed
    from benchmark.training.data.dataset import epoch_order, open_dataset
    from benchmark.training.networks.network import build_network
    from benchmark.training.process.runtime import seed_process

    dataset = open_dataset(digits, one.data, one.stream_seed("split_seed"), one_hot=False)
    keras.backend.clear_session()
    seed_process(one.stream_seed("weights_seed"))
    weights = build_network(one.architecture, one.data).core.get_weights()
    augment = keras.Sequential([keras.Input((16, 16, 1)), *augmentation_layers(one.stages[0].augment, 1)])
    reseed(augment, one.stream_seed("augment_seed"), 1)
    images = np.full((4, 16, 16, 1), 100, dtype=np.float32) + np.arange(16, dtype=np.float32)[:, None]
    drawn = {
        "split": [dataset.training.split.indices, dataset.validation.split.indices],
        "weights": weights,
        "order": [epoch_order(len(dataset.training), one.stream_seed("order_seed"), 1)],
        "pixels": [keras.ops.convert_to_numpy(augment(images, training=True))],
    }
    return {name: sha256_of(b"".join(array.tobytes() for array in arrays)) for name, arrays in drawn.items()}


@pytest.mark.tf
def test_each_stream_draws_its_own_part_and_nothing_else(digits):
    plain = digests(AUGMENTED, digits)
    for stream in STREAMS:
        other = digests(replace(AUGMENTED, **{stream: 5}), digits)
        assert [name for name in plain if plain[name] != other[name]] == [DRAWN_BY[stream]]
    together = digests(replace(AUGMENTED, **dict.fromkeys(STREAMS, 5)), digits)
    assert together == digests(replace(AUGMENTED, seed=5), digits)


def streamed(backend: str, digits, folder, name: str, one: Cell, faults: str = "", **options):
    """How a worker of a backend trains a cell."""
    # how often states are worth it depends on how fast the machine is
    placed = job(replace(one, backend=backend), folder / name, digits, every_state=True, **options)
    return run_worker(placed, faults=faults, backend=backend)


@pytest.mark.tf
@pytest.mark.parametrize("backend", of_each_installed("tensorflow", "jax", "torch"))
def test_a_worker_draws_from_every_stream_and_goes_on_to_the_same_bits(backend, digits, tmp_path):
    run = partial(streamed, backend, digits, tmp_path)
    # what drew from the seed of the cell itself would draw something else in the second
    seeded = history(run("five", replace(AUGMENTED, seed=5)))
    assert history(run("all", replace(AUGMENTED, **dict.fromkeys(STREAMS, 5)))) == seeded

    own = replace(AUGMENTED, split_seed=1, weights_seed=2, order_seed=3, augment_seed=4)
    clean = run("clean", own)
    assert history(clean) != seeded
    assert run("1", own, faults="kill-after-epoch:1").exit_code == KILLED
    resumed = run("2", own, earlier_directories=(str(tmp_path / "1"),))
    assert resumed.one(events.Resumed).epoch == 1
    assert history(resumed) == history(clean)
    assert sha256_of(tmp_path / "2" / "weights.npz") == sha256_of(tmp_path / "clean" / "weights.npz")


@pytest.mark.tf
@pytest.mark.exhaustive
def test_each_stream_alone_comes_to_other_numbers_in_a_worker(digits, tmp_path):
    cells = {"plain": AUGMENTED, **{stream: replace(AUGMENTED, **{stream: 5}) for stream in STREAMS}}
    numbers = [history(streamed("tensorflow", digits, tmp_path, *named)) for named in cells.items()]
    assert len({json.dumps(each, default=str) for each in numbers}) == len(cells)


@pytest.mark.tf
def test_without_augmentation_and_dropout_their_seed_changes_nothing(digits, tmp_path):
    still = cell(architecture=architecture("simple_cnn", filters=(4,), dense_units=8, dropout=0.0))
    first = run_worker(job(still, tmp_path / "1", digits))
    other = run_worker(job(replace(still, augment_seed=9), tmp_path / "2", digits))
    assert history(first) == history(other)


# ---- folds

LABELS = np.random.default_rng(0).integers(0, 10, 1003)
label_lists = st.lists(st.integers(0, 4), min_size=12, max_size=200).map(np.array)


def fold_of(labels, fold: int, folds: int, seed: int = 0, **changes):
    data = replace(Data("digits", None, 10, 16, "grey", None, None, 1 / folds), folds=folds, fold=fold, **changes)
    return data, *split_training(labels, data, seed)


@pytest.mark.parametrize("examples", [None, 300])
def test_the_folds_of_one_seed_cover_what_is_trained_on_exactly_once(examples):
    parts = [fold_of(LABELS, fold, 5, train_examples=examples) for fold in range(5)]
    validated = np.concatenate([validation.indices for _, _, validation in parts])
    assert len(validated) == len(np.unique(validated)) == (examples or len(LABELS))
    for _, training, validation in parts:
        both = np.concatenate([training.indices, validation.indices])
        assert np.array_equal(np.sort(both), np.sort(validated))


def test_folds_follow_the_split_seed_alone():
    first, again, other = (fold_of(LABELS, 2, 5, seed=seed)[2].indices for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(label_lists, st.integers(2, 5))
def test_folds_are_as_equal_as_those_of_scikit_learn_and_as_large_as_foretold(labels, folds):
    classes, totals = np.unique(labels, return_counts=True)
    kept = np.flatnonzero(np.isin(labels, classes[totals > 1]))
    if len(kept) < folds:
        return
    known, sizes = list(map(int, classes)), []
    for fold in range(folds):
        data, _, validation = fold_of(labels, fold, folds, classes=tuple(known), num_classes=len(known))
        counts = [int((labels[validation.indices] == kind).sum()) for kind in known]
        assert counts == list(class_counts(data, totals.tolist(), totals.tolist()).validation)
        sizes.append(counts)
    spread = np.ptp(np.array(sizes), axis=0)
    assert spread.max() <= 1
    assert np.ptp(np.array(sizes).sum(axis=1)) <= 1


def test_the_only_example_of_a_class_is_always_trained_on():
    labels = np.array([0] * 10 + [1])
    for fold in range(5):
        _, training, validation = fold_of(labels, fold, 5, num_classes=2)
        assert 10 in training.indices
        assert len(validation) == 2


FOLDS = ONE.replace("seed = [0, 3]", "fold = [0, 1, 2]") + "[defaults]\nfolds = 3\n"


def test_folds_are_an_axis_and_the_validation_fraction_is_ignored():
    cells = plan_of(FOLDS).cells
    assert [(each.data.folds, each.data.fold, each.keep) for each in cells] == [(3, n, "best") for n in range(3)]
    assert len({each.cell_id for each in cells}) == 3
    assert cell_settings(cells[0])["validation_fraction"] == pytest.approx(1 / 3)
    for fraction in (0.3, 0):
        assert ids(FOLDS + f"validation_fraction = {fraction}\n") == [each.cell_id for each in cells]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FOLDS.replace("fold = [0, 1, 2]\n", ""), "matrix.fold: expected an integer from 0 to 2 beside folds = 3"),
        (FOLDS.replace("[0, 1, 2]", "[0, 3]"), "matrix.fold: expected an integer from 0 to 2 beside folds = 3, got 3"),
        (FOLDS.replace("folds = 3\n", ""), "matrix.fold: expected `folds` beside it"),
        (FOLDS.replace("folds = 3\n", "folds = 1\n"), "an integer from 2 to 1000"),
    ],
)
def test_a_fold_that_is_none_is_refused_with_a_cure(text, message, tmp_path):
    with pytest.raises(MatrixError) as caught:
        plan_of(text)
    assert message in str(caught.value)
    work = Workplace(tmp_path)
    work.write(text)
    assert work.call("plan").exit_code == 2


def test_a_dataset_without_folds_has_one_cell_for_all_of_them():
    text = FOLDS.replace('"digits"', '["digits", "digits_low"]').replace(
        "[defaults]", '[dataset.digits]\nextends = "digits"'
    )
    assert [(each.dataset, each.data.fold) for each in plan_of(text).cells] == [
        ("digits", 0), ("digits", 1), ("digits", 2), ("digits_low", None),
    ]  # fmt: skip


def test_more_folds_than_examples_are_left_out_with_the_reason():
    (left,) = plan_of(ONE.replace("[0, 3]", "0") + "fold = 0\nfolds = 50\ntrain_examples = 40\n").left_out
    assert left.reason == "folds = 50 of 40 examples leaves some empty; use fewer folds"


@pytest.mark.tf
def test_a_worker_validates_on_its_fold(digits, tmp_path):
    folded = cell(data=replace(DIGITS, train_examples=300, test_examples=100, folds=5, fold=4, validation_fraction=0.2))
    built = run_worker(job(folded, tmp_path / "1", digits)).one(events.ModelBuilt)
    assert (built.train_examples, built.validation_examples) == (240, 60)


# ---- at the command line


def test_the_plan_shows_the_seed_of_every_stream(tmp_path):
    work = Workplace(tmp_path)
    work.write(ONE + "weights_seed = [3, 4]\n")
    planned = json.loads(work.call("plan", "--format", "json").stdout)["cells"]
    assert [(each["seed"], each["weights_seed"], each["split_seed"]) for each in planned] == [
        (0, 3, 0), (0, 4, 0), (3, 3, 3), (3, 4, 3),
    ]  # fmt: skip
    assert "weights_seed" in work.call("plan").stdout.replace("weights seed", "weights_seed")


def test_lists_and_pages_of_cells_show_the_seeds_that_they_have_of_their_own(tmp_path):
    work = Workplace(tmp_path)
    work.write(ONE + 'backend = "fake"\nweights_seed = [3, 4]\n[defaults]\nepochs = 1\n')
    assert work.call("run").exit_code == 0
    listed = json.loads(work.call("list", "cells", "--select", "weights_seed=4", "--format", "json").stdout)
    assert [(each["seed"], each["weights_seed"]) for each in listed] == [(0, 4), (3, 4)]
    shown = json.loads(work.call("show", "seed=3,weights_seed=4", "--format", "json").stdout)
    assert (shown["settings"]["weights_seed"], shown["settings"]["order_seed"]) == (4, 3)
    assert "reused" in work.call("why", "seed=3,weights_seed=4").stdout
    report = json.loads(work.call("report", "--table", "summary", "--format", "json").stdout)
    assert [row["n"] for row in report["tables"][0]["rows"]] == [{"completed": 2, "planned": 2}]
