"""Images with several labels each: planned, trained, scored by scikit-learn's definitions, and kept as rows of 0 and 1."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sklearn.metrics as sk
from own_data import draw, prepared, refusal
from test_matrix_own import plan, problems

from benchmark.prediction_metrics import prediction_metrics
from benchmark.results.write.encoded_outcomes import encoded_outcomes
from benchmark.results.write.stored_metrics import metric_columns
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.evaluation import compute_scores

MATRIX = """\
[matrix]
dataset = "many"
model = "simple_cnn"
strategy = "scratch"
{axes}
[defaults]
epochs = 2
{defaults}
[dataset.many]
source = "folder:many"
labels_file = "labels.csv"
image_size = 16
color = "grey"
"""


def matrix(defaults="", axes=""):
    return MATRIX.format(defaults=defaults, axes=axes)


@pytest.fixture
def folder(tmp_path):
    rows = ["file,labels,split"]
    for number in range(40):
        draw(tmp_path / "many" / f"{number}.png", 6 * number)
        labels = [name for name, size in {"b": 2, "a": 3, "c": 5}.items() if number % size == 0]
        rows.append(f"{number}.png,{';'.join(labels)},{'test' if number % 7 == 3 else 'train'}")
    (tmp_path / "many" / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def example(images=200, classes=5):
    random = np.random.default_rng(0)
    labels = (random.random((images, classes)) < random.random(classes)).astype(np.uint8)
    probabilities = np.clip(labels * 0.3 + random.random((images, classes)) * 0.7, 0, 1).astype(np.float32)
    return labels, probabilities


def test_metrics_are_those_of_scikit_learn():
    labels, probabilities = example()
    predicted = (probabilities >= 0.5).astype(int)
    ours = prediction_metrics(labels.astype(int), predicted, probabilities)
    expected = {
        "subset_accuracy": sk.accuracy_score(labels, predicted),
        "macro_f1": sk.f1_score(labels, predicted, average="macro"),
        "weighted_f1": sk.f1_score(labels, predicted, average="weighted"),
        "auroc": sk.roc_auc_score(labels, probabilities, average="macro"),
        "average_precision": sk.average_precision_score(labels, probabilities, average="macro"),
        "map": sk.average_precision_score(labels, probabilities, average="macro"),
        "log_loss": np.mean([sk.log_loss(labels[:, n], probabilities[:, n], labels=[0, 1]) for n in range(5)]),
        "brier": sum(sk.brier_score_loss(labels[:, n], probabilities[:, n]) for n in range(5)),
    }
    assert ours == pytest.approx(expected, rel=1e-5)


def test_a_label_that_no_image_has_leaves_what_ranks_undefined():
    labels, probabilities = example()
    labels[:, 1] = 0
    metrics = prediction_metrics(labels.astype(int), (probabilities >= 0.5).astype(int), probabilities)
    assert metrics["map"] is metrics["auroc"] is None
    assert 0 < metrics["macro_f1"] < 1


def test_accuracy_is_the_share_of_images_all_of_whose_labels_are_right():
    labels = np.array([[1, 0], [0, 0], [1, 1]], np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.4, 0.5], [0.5, 0.5]], np.float32)
    assert compute_scores(probabilities, labels, lambda p, _: np.zeros(len(p))).accuracy == pytest.approx(2 / 3)


def test_stored_predictions_hold_the_rows_and_give_the_same_metrics_again():
    labels, probabilities = example(300, 8)
    content = pack_predictions(np.arange(300), labels, probabilities, probabilities)
    with np.load(io.BytesIO(content)) as stored:
        assert (stored["labels"] == labels).all()
        assert (stored["predicted"] == (probabilities >= 0.5)).all()
        assert stored["tta_predicted"].shape == (300, 8)
    columns = metric_columns(content)
    exact = prediction_metrics(labels.astype(int), (probabilities >= 0.5).astype(int), probabilities)
    assert columns == pytest.approx({f"test_{name}": value for name, value in exact.items()}, abs=2e-3)
    assert columns["test_subset_accuracy"] == exact["subset_accuracy"]
    assert encoded_outcomes(content, 8) is None  # the view has one label an image


def test_the_binary_cross_entropy_is_the_default_of_several_labels(folder):
    (cell,) = plan(folder, matrix()).cells
    assert cell.data.multi_label
    assert [stage.loss for stage in cell.stages] == ["binary_cross_entropy"]
    (written,) = plan(folder, matrix('loss = "binary_cross_entropy"')).cells
    assert written.cell_id == cell.cell_id


@pytest.mark.parametrize(
    ("defaults", "key"),
    [
        ('loss = "cross_entropy"', "loss"),
        ('loss = "focal"', "loss"),
        ('class_weights = "balanced"', "class_weights"),
        ('sampling = "balanced"', "sampling"),
    ],
)
def test_what_needs_one_label_an_image_is_refused(folder, defaults, key):
    message = problems(folder, matrix(defaults))
    assert f"defaults.{key}: expected" in message
    assert "for images with several labels" in message
    assert f"matrix.{key}: expected" in problems(folder, matrix(axes=defaults))


def test_what_is_monitored_is_a_metric_of_several_labels(folder):
    (cell,) = plan(folder, matrix('monitor = "val_map"')).cells
    assert cell.monitor == "val_map"
    assert "defaults.monitor: expected a metric of images with several labels" in problems(
        folder, matrix('monitor = "val_kappa"')
    )


def test_rows_of_0_and_1_in_an_archive_are_several_labels_and_one_hot_rows_are_not(tmp_path):
    rows = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]] * 5, np.uint8)
    images = np.zeros((20, 16, 16), np.uint8)
    text = matrix().replace("folder:many", "npz:many.npz").replace('labels_file = "labels.csv"\n', "")
    np.savez(tmp_path / "many.npz", x=images, y=rows)
    (cell,) = plan(tmp_path, text).cells
    assert (cell.data.multi_label, cell.data.num_classes) == (True, 3)
    arrays, _ = prepared(tmp_path / "many.npz", tmp_path, source="npz:many.npz", multi_label=True)
    assert len(arrays["train_labels"]) + len(arrays["test_labels"]) == 20
    assert set(map(tuple, arrays["train_labels"].tolist())) == set(map(tuple, rows.tolist()))
    np.savez(tmp_path / "many.npz", x=images, y=np.eye(3)[np.arange(20) % 3])
    assert "`num_classes`, because nothing can be told from" in problems(tmp_path, text)
    assert "save y.argmax(axis=1)" in refusal(tmp_path / "many.npz", tmp_path, source="npz:many.npz")
    np.savez(tmp_path / "many.npz", x=images, y=rows * 2)
    message = refusal(tmp_path / "many.npz", tmp_path, source="npz:many.npz", multi_label=True)
    assert "expected rows of 0 and 1 for several labels an image, [n, classes], found 2 at [0, 0]" in message


@pytest.mark.tf
@pytest.mark.parametrize(
    "backend",
    [
        "tensorflow",
        pytest.param("torch", marks=pytest.mark.exhaustive),
        pytest.param("jax", marks=pytest.mark.exhaustive),
    ],
)
def test_several_labels_are_learned_and_scored(folder, backend):
    from cli_workplace import Workplace

    if backend != "tensorflow":
        pytest.importorskip(backend)
    place = Workplace(folder)
    place.write(matrix("learning_rate = 3e-3\nlabel_smoothing = 0.1").replace("epochs = 2", "epochs = 3"))
    done = place.call("run", "--set", f"backend={backend}", "--set", "tta=1")
    assert done.exit_code == 0, done.stderr
    (row,) = place.document("query", "select * from results")
    assert row["test_accuracy"] == row["test_subset_accuracy"]
    assert row["test_loss"] == pytest.approx(row["test_log_loss"], abs=2e-3)
    assert 0 < row["test_map"] <= 1
    assert row["test_kappa"] is row["test_ece"] is None
    assert place.call("report").exit_code == place.call("show", row["cell_id"][:8]).exit_code == 0
