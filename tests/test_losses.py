"""What training makes small: how a matrix writes it, what it is of an image, and that training, scores and files agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_matrix_schedule import HEAD, cell_of, plan_of, problems_of

from benchmark.matrix.cell import Cell
from benchmark.matrix.planning.stage_keys import stage_key
from benchmark.matrix.settings import cell_settings
from benchmark.prediction_metrics import log_loss, prediction_metrics, shares

TWO_STAGES = """\
[strategy.two]
[[strategy.two.stage]]
epochs = 2
loss = "{}"
[[strategy.two.stage]]
epochs = 1
loss = "{}"
"""
TWO = HEAD.replace('"scratch"', '"two"')


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ('loss = "cross_entropy"', ""),
        ('loss = { kind = "cross_entropy" }', ""),
        ('loss = { kind = "focal", gamma = 2 }', 'loss = "focal"'),
        ('loss = { gamma = 2.0, kind = "focal" }', 'loss = "focal"'),
    ],
)
def test_a_loss_written_in_two_ways_is_one_cell(written, same):
    assert cell_of(written).cell_id == cell_of(same).cell_id


def test_losses_that_differ_are_cells_of_their_own_and_survive_json():
    written = ['"cross_entropy"', '"focal"', '{ kind = "focal", gamma = 0.5 }', '"binary_cross_entropy"']
    cells = plan_of(head=f"{HEAD}loss = [{', '.join(written)}]\n").cells
    assert len({one.cell_id for one in cells}) == 4
    assert [Cell.from_dict(one.to_dict()) for one in cells] == list(cells)
    assert [cell_settings(one)["loss"] for one in cells] == [
        "cross_entropy", "focal", {"gamma": 0.5, "kind": "focal"}, "binary_cross_entropy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"crossentropy"', "did you mean 'cross_entropy'?"),
        ('{ kind = "focal", gama = 2 }', "did you mean 'gamma'?"),
        ('{ kind = "focal", gamma = -1 }', "expected a number ≥ 0 and ≤ 100"),
        ('{ kind = "cross_entropy", gamma = 2 }', "expected a known key"),
        ("2", "expected cross_entropy, focal or binary_cross_entropy"),
    ],
)
def test_a_loss_that_does_not_exist_is_refused_with_what_does(written, said):
    assert said in problems_of(f"loss = {written}")[0]


def test_a_sigmoid_at_the_end_is_for_all_stages():
    (problem,) = problems_of(
        TWO_STAGES.format("binary_cross_entropy", "focal").replace("[strategy.two]", "", 1), head=TWO
    )
    assert '"binary_cross_entropy" in every stage or in none' in problem
    assert plan_of(TWO_STAGES.format("binary_cross_entropy", "binary_cross_entropy"), TWO).cells


def test_epochs_of_different_losses_are_not_compared_by_them():
    stages = TWO_STAGES.format("cross_entropy", "focal")
    assert plan_of(stages, TWO).cells
    (problem,) = problems_of(f'monitor = "val_loss"\n{stages}', head=TWO)
    assert 'the same in every stage beside monitor = "val_loss"' in problem
    assert plan_of(f'monitor = "val_loss"\nkeep = "last"\n{stages}', TWO).cells


def test_a_first_stage_is_shared_only_where_labels_reach_it_alike():
    plain, focal = (
        plan_of(TWO_STAGES.format("cross_entropy", last), TWO).cells[0] for last in ("cross_entropy", "focal")
    )
    assert stage_key(plain, 1) != stage_key(focal, 1)
    two = plan_of(TWO_STAGES.format("focal", "cross_entropy"), TWO).cells[0]
    assert stage_key(two, 1) == stage_key(plan_of(TWO_STAGES.format("focal", "focal"), TWO).cells[0], 1)


def test_probabilities_of_sigmoids_are_shares_in_metrics_and_those_of_a_softmax_stay():
    softmax = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=np.float16)
    assert np.array_equal(shares(softmax), softmax.astype(np.float64))
    sigmoids, labels = np.array([[0.9, 0.3, 0.3], [0.0, 0.0, 0.0], [0.2, 0.1, 0.1]]), np.array([0, 1, 0])
    assert shares(sigmoids) == pytest.approx(np.array([[0.6, 0.2, 0.2], [1 / 3] * 3, [0.5, 0.25, 0.25]]))
    metrics = prediction_metrics(labels, sigmoids.argmax(1), sigmoids)
    assert metrics["log_loss"] == pytest.approx(-(math.log(0.6) + math.log(1 / 3) + math.log(0.5)) / 3)
    assert metrics["log_loss"] == pytest.approx(log_loss(shares(sigmoids), labels))


@pytest.mark.tf
def test_the_loss_of_an_image_is_the_formula_and_what_training_makes_small():
    import keras
    from training_cells import stage

    from benchmark.training.losses import build_loss, example_losses

    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 30)
    vectors = np.eye(4, dtype=np.float32)[labels]
    softmax = random.dirichlet(np.ones(4), 30).astype(np.float32)
    sigmoid = random.uniform(size=(30, 4)).astype(np.float32)
    p = softmax[np.arange(30), labels].astype(float)
    binary = -(vectors * np.log(sigmoid) + (1 - vectors) * np.log(1 - sigmoid)).mean()
    for loss, given, expected in (
        ("cross_entropy", softmax, -np.log(p).mean()),
        ("focal", softmax, (-((1 - p) ** 2) * np.log(p)).mean()),
        ((("gamma", 0.5), ("kind", "focal")), softmax, (-((1 - p) ** 0.5) * np.log(p)).mean()),
        ("binary_cross_entropy", sigmoid, binary),
    ):
        spec = stage(loss=loss)
        trained = float(build_loss(spec, one_hot=True)(vectors, given))
        assert example_losses(spec)(given, labels).mean() == pytest.approx(expected, rel=1e-5)
        assert trained == pytest.approx(expected, rel=1e-5)
        smoothed = stage(loss=loss, label_smoothing=0.2)
        assert float(build_loss(smoothed, one_hot=True)(vectors, given)) != pytest.approx(trained, rel=1e-3)
        assert np.array_equal(example_losses(smoothed)(given, labels), example_losses(spec)(given, labels))
    rows = (random.uniform(size=(30, 4)) < 0.5).astype(np.float32)  # several labels an image
    both = -(rows * np.log(sigmoid) + (1 - rows) * np.log(1 - sigmoid)).mean()
    assert example_losses(stage(loss="binary_cross_entropy"))(sigmoid, rows).mean() == pytest.approx(both, rel=1e-5)
    assert keras.backend.backend() == "tensorflow"


@pytest.mark.tf
def test_a_network_for_the_binary_loss_ends_in_sigmoids_and_a_plug_in_must(tmp_path):
    import keras
    from training_cells import DIGITS, architecture

    from benchmark.files import sha256_of
    from benchmark.matrix.cell import Architecture
    from benchmark.training.networks.network import build_network
    from benchmark.training.networks.plugin_models import PluginError

    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1)).astype(np.float32)
    for name in ("basic_cnn", "advanced_cnn", "resnet18"):
        keras.utils.set_random_seed(0)
        softmax = build_network(architecture(name), DIGITS).core
        keras.utils.set_random_seed(0)
        sigmoid = build_network(architecture(name), DIGITS, binary=True).core
        p, q = (keras.ops.convert_to_numpy(core(images)) for core in (softmax, sigmoid))
        odds = q / (1 - q)  # the softmax of the same scores
        assert np.allclose(odds / odds.sum(axis=1, keepdims=True), p, atol=1e-4)
    file = tmp_path / "mine.py"
    for activation, fits in (("softmax", False), ("sigmoid", True), ("linear", False)):
        file.write_text(
            "import keras\n\n\ndef mine(input_shape, num_classes):\n    x = images = keras.Input(input_shape)\n"
            "    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))\n"
            f"    return keras.Model(images, keras.layers.Dense(num_classes, activation='{activation}')(x))\n"
        )
        mine = Architecture("plugin:mine", (), sha256_of(file.read_bytes()), str(file))
        if fits:
            build_network(mine, DIGITS, binary=True, allow_plugins=True)
        else:
            with pytest.raises(
                PluginError, match=r'found .*end the model with `Dense\(num_classes, activation="sigmoid"'
            ):
                build_network(mine, DIGITS, binary=True, allow_plugins=True)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("class_weights = false\nsampling = false", ""),
        ('class_weights = { "3" = 1 }', ""),
        ('class_weights = { "3" = 2, "1" = 1, "0" = 0.5 }', 'class_weights = { "0" = 0.5, "3" = 2.0 }'),
    ],
)
def test_weights_of_classes_written_in_two_ways_are_one_cell(written, same):
    assert cell_of(written).cell_id == cell_of(same).cell_id


def test_weights_and_sampling_are_cells_of_their_own_and_survive_json():
    cells = plan_of(
        head=f'{HEAD}class_weights = [false, "balanced", {{ "3" = 2 }}]\nsampling = [false, "balanced"]\n'
    ).cells
    assert len({one.cell_id for one in cells}) == 6
    assert [Cell.from_dict(one.to_dict()) for one in cells] == list(cells)
    settings = [cell_settings(one) for one in cells]
    assert [one["class_weights"] for one in settings[::2]] == [None, "balanced", {"3": 2}]
    assert [one["sampling"] for one in settings[:2]] == [None, "balanced"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('class_weights = "balance"', 'expected false, "balanced", or a table'),
        ('class_weights = { "3" = -1 }', "expected a number ≥ 0"),
        ('class_weights = { "3" = 0 }', "expected a class whose weight is above 0"),
        ('sampling = "balance"', "expected false, or balanced"),
    ],
)
def test_weights_that_are_none_are_refused(written, said):
    assert said in problems_of(written)[0]


def test_a_weight_of_a_class_that_there_is_not_leaves_the_cell_out_with_those_that_there_are():
    plan = plan_of('class_weights = { "3" = 2, cat = 3 }')
    assert not plan.cells
    assert 'class_weights: digits has no class "cat"; its classes are 0, 1, 2' in plan.left_out[0].reason


@pytest.mark.tf
def test_weights_multiply_the_loss_of_an_image_and_balanced_ones_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight
    from training_cells import stage

    from benchmark.errors import DataError
    from benchmark.training.losses import build_loss, class_weights

    labels = np.array([0, 0, 0, 1, 2, 2], dtype=np.int32)
    names = ("a", "b", "c")
    balanced = class_weights(stage(class_weights="balanced"), labels, names, "npz:x")
    assert balanced == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert class_weights(stage(class_weights=(("b", 3.0),)), labels, names, "npz:x").tolist() == [1, 3, 1]
    with pytest.raises(DataError, match='npz:x has no class "d"; its classes are a, b, c'):
        class_weights(stage(class_weights=(("d", 3.0),)), labels, names, "npz:x")
    given = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
    expected = (balanced[labels] * -np.log(given[np.arange(6), labels])).mean()
    vectors = np.eye(3, dtype=np.float32)[labels]
    assert float(build_loss(stage(), one_hot=False, weights=balanced)(labels, given)) == pytest.approx(
        expected, rel=1e-5
    )
    assert float(build_loss(stage(), one_hot=True, weights=balanced)(vectors, given)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.tf
def test_balanced_draws_are_as_many_of_each_class_and_follow_from_seed_and_epoch():
    from benchmark.training.data.dataset import balanced_order

    labels = np.array([2] * 9000 + [0] * 900 + [1] * 100)[np.random.default_rng(0).permutation(10_000)]
    drawn = balanced_order(labels, 3, 7)
    assert np.bincount(labels[drawn]) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert len(drawn) == len(labels)
    assert np.bincount(drawn[labels[drawn] == 1], minlength=10_000)[labels == 1].min() > 10  # each of its images
    assert np.array_equal(drawn, balanced_order(labels, 3, 7))
    assert not np.array_equal(drawn, balanced_order(labels, 3, 8))
    assert not np.array_equal(drawn, balanced_order(labels, 4, 7))


@pytest.mark.parametrize(("written", "said"), [("1", "> 0 and < 1"), ("0", "> 0 and < 1"), ('"0.9"', "without quotes")])
def test_an_average_takes_a_share(written, said):
    assert said in problems_of(f"ema = {written}")[0]
    assert cell_of("ema = false").cell_id == cell_of().cell_id != cell_of("ema = 0.9").cell_id


@pytest.mark.tf
def test_an_average_is_that_of_kerass_optimizer_with_batch_norm_and_without_frozen_layers():
    import keras
    from training_cells import DIGITS, architecture, stage

    from benchmark.training.losses import build_loss
    from benchmark.training.networks.network import build_network
    from benchmark.training.stages import build_optimizer, set_trainable
    from benchmark.training.steps.dispatch import compiled_steps
    from benchmark.training.weight_average import WeightAverage
    from benchmark.training.weights.weight_files import weight_arrays

    keras.utils.set_random_seed(0)
    network = build_network(
        architecture("advanced_cnn", filters=(4, 4), stage_dropout=(0.0, 0.0), dense_units=8, dropout=0.0), DIGITS
    )
    set_trainable(network, "last:4")
    spec = stage(ema=0.8)
    optimizer = build_optimizer(spec, "float32")
    optimizer.use_ema, optimizer.ema_momentum = True, 0.8
    steps = compiled_steps(network.core, network.core, optimizer, build_loss(spec, one_hot=False), one_hot=False)
    average, random, seen = WeightAverage(network.core, 0.8), np.random.default_rng(0), []
    assert average.arrays() == {}
    for _ in range(5):
        images = random.integers(0, 256, (8, 16, 16, 1), dtype=np.uint8)
        steps.train(images, random.integers(0, 10, 8).astype(np.int32))
        average.update()
        seen.append(weight_arrays(network.core))
    averages, plain = average.arrays(), seen[-1]
    theirs = dict(
        zip(
            [one.path for one in network.core.trainable_variables],
            optimizer._model_variables_moving_average,
            strict=True,
        )
    )
    for path, mean in theirs.items():
        assert np.allclose(averages[path], keras.ops.convert_to_numpy(mean), atol=1e-6), path
    norms = [path for path in averages if path not in theirs]
    assert len(norms) == 2
    assert all("moving" in path for path in norms)
    for path in norms:
        by_hand = seen[0][path]
        for one in seen[1:]:
            by_hand = 0.8 * by_hand + 0.2 * one[path]
        assert np.allclose(averages[path], by_hand, atol=1e-6)
        assert not np.array_equal(averages[path], plain[path])
    restored = WeightAverage(network.core, 0.8)
    restored.restore(averages)
    for one in (restored, average):
        one.update()
    assert all(np.array_equal(restored.arrays()[path], array) for path, array in average.arrays().items())
    with average.in_place():
        assert all(np.array_equal(weight_arrays(network.core)[path], array) for path, array in average.arrays().items())
    assert all(np.array_equal(weight_arrays(network.core)[path], array) for path, array in plain.items())


def test_any_metric_of_the_validation_images_can_be_monitored_and_a_wrong_name_is_told_the_nearest():
    for name in ("val_macro_f1", "val_log_loss", "val_ece", "val_auroc"):
        one = cell_of(f'monitor = "{name}"\nearly_stopping = {{ patience = 2, monitor = "{name}" }}')
        assert (one.monitor, one.stages[0].early_stopping.monitor) == (name, name)
        assert one.cell_id != cell_of().cell_id
    assert "did you mean 'val_macro_f1'?" in problems_of('monitor = "val_macrof1"')[0]
    assert "metrics are val_accuracy, val_loss, val_balanced_accuracy" in problems_of('monitor = "test_f"')[0]
    from benchmark.prediction_metrics import FURTHER_NAMES

    assert set(FURTHER_NAMES) == set(prediction_metrics(np.array([0, 1]), np.array([0, 1]), np.eye(2)))
