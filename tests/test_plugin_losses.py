"""Losses of one's own: what is in the id, who has to consent, what they are given, and how their faults are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_cells import cell, job, run_worker, stage

from benchmark.errors import MatrixError, UserError
from benchmark.events import Evaluated, Failed
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.trust import require_consent

CODE = """\
from keras import ops
def nll(y_true, y_pred, *, scale=1.0):
    if len(y_true.shape) == 1:
        y_true = ops.one_hot(y_true, y_pred.shape[-1])
    return -scale * ops.sum(y_true * ops.log(ops.clip(y_pred, 1e-7, 1 - 1e-7)), axis=-1)
def mean(y_true, y_pred): return ops.mean(nll(y_true, y_pred))
def wide(y_true, y_pred): return y_pred
def broken(y_true, y_pred):
    return ops.no_such(y_pred)
def infinite(y_true, y_pred): return ops.log(0 * ops.sum(y_pred, axis=-1))
def misses(y_true, y_pred): return ops.cast(ops.argmax(y_pred, axis=-1) != ops.cast(y_true, "int64"), "float32")
"""
MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
loss = "plugin:nll"
epochs = 1
train_examples = 100
test_examples = 50
[plugins]
losses = ["my.py"]
"""


def cells(folder: Path, loss: str = '"plugin:nll"', code: str = CODE, name: str = "my.py") -> tuple[Cell, ...]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(code)
    text = MATRIX.replace('"plugin:nll"', loss).replace("my.py", name)
    return load_matrix(folder / "matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).cells


def test_the_code_of_a_loss_is_in_the_id_and_its_path_is_not(tmp_path):
    (only,) = cells(tmp_path)
    assert cells(tmp_path / "other", name="renamed.py")[0].cell_id == only.cell_id
    assert cells(tmp_path, code=CODE + "# changed\n")[0].cell_id != only.cell_id
    assert cells(tmp_path, '{ kind = "plugin:nll" }')[0].cell_id == only.cell_id
    assert len({each.cell_id for each in cells(tmp_path, '["plugin:nll", { kind = "plugin:nll", scale = 2 }]')}) == 2
    assert Cell.from_dict(only.to_dict()) == only


def test_a_loss_runs_with_consent_only_and_is_not_needed_to_predict(tmp_path):
    with pytest.raises(UserError, match=r"my.py \(loss nll\)"):
        require_consent(cells(tmp_path), "bench run", allowed=False)
    require_consent(cells(tmp_path), "bench run", allowed=True)
    require_consent(cells(tmp_path), "bench predict", allowed=False, with_data=False)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ('"plugin:"', "a name that is not empty"),
        ('{ kind = "plugin:nll", scale = [1] }', "matrix.loss.scale: expected a finite number, a text, true or false"),
        ('{ kind = "plugin:nll", scale = nan }', "matrix.loss.scale: expected a finite number"),
    ],
)
def test_a_mistake_in_a_matrix_is_said_with_its_place(tmp_path, loss, said):
    with pytest.raises(MatrixError, match=said):
        cells(tmp_path, loss)


def test_a_loss_that_no_file_has_is_said_with_what_is_missing(tmp_path):
    text = MATRIX.replace("[plugins]", "").replace('losses = ["my.py"]', "")
    with pytest.raises(MatrixError, match=r"matrix.loss: .* \[plugins\], .* got \"plugin:nll\"; name its file"):
        load_matrix(tmp_path / "matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2))


@pytest.mark.tf
@pytest.mark.parametrize("labels", ["integer", "one_hot"])
def test_a_loss_of_ones_own_is_trained_and_scored_like_the_built_in_one(tmp_path, labels):
    import keras

    from benchmark.training.losses import build_loss, example_losses, is_one_hot
    from benchmark.training.plugin_losses import plugin_loss

    random = np.random.default_rng(0)
    truth, given = random.integers(0, 10, 20), random.dirichlet(np.ones(10), 20).astype(np.float32)
    for name, smoothing in (("nll", 0.0), ("nll", 0.2), ("mean", 0.0)):
        (whole,) = cells(tmp_path, f'"plugin:{name}"')
        spec = replace(whole.stages[0], label_smoothing=smoothing)
        whole = replace(whole, labels=labels, stages=(spec,))
        one_hot, own = is_one_hot(whole), plugin_loss(whole, spec, allowed=True)
        assert one_hot == (labels == "one_hot" or smoothing > 0)
        batch = np.eye(10, dtype=np.float32)[truth] if one_hot else truth.astype(np.int32)
        built_in = replace(spec, loss="cross_entropy", loss_code=None)
        losses = [
            float(build_loss(each, one_hot=one_hot, own=mine)(batch, keras.ops.convert_to_tensor(given)))
            for each, mine in ((built_in, None), (spec, own))
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
        scores = example_losses(spec, own)(given, truth)
        assert scores.mean() == pytest.approx(example_losses(built_in)(given, truth).mean(), rel=1e-6)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wide",
            r"my.py:7: expected the loss of each image, of shape \(11,\), or their mean, .* found shape \(11, 10\)",
        ),
        ("broken", r"my.py:9: AttributeError: .*no_such"),
        ("infinite", r"my.py:10: expected finite losses of probabilities from .* found -inf"),
        ("missing", "my.py: expected a function missing, found broken, infinite, mean, misses, nll, wide"),
    ],
)
def test_a_fault_of_a_loss_is_told_with_its_line_before_anything_is_trained(tmp_path, name, said):
    from benchmark.training.plugin_losses import plugin_loss
    from benchmark.training.process.plugin_code import PluginError

    (only,) = cells(tmp_path, f'"plugin:{name}"')
    with pytest.raises(PluginError, match=said):
        plugin_loss(only, only.stages[0], allowed=True)


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_loss_of_ones_own_trains_a_cell_like_the_built_in_one(tmp_path, backend):
    from benchmark.training.programs.prepare import prepare

    pytest.importorskip(backend)
    digits = prepare("digits", 16, "grey", tmp_path / "cache")
    (planned,) = cells(tmp_path)
    tested = {}
    for name in ("cross_entropy", "plugin:nll"):
        own = {"loss": name, "loss_code": planned.stages[0].loss_code, "loss_file": planned.stages[0].loss_file}
        spec = stage(epochs=2, class_weights="balanced", **(own if name != "cross_entropy" else {}))
        wanted = job(cell(stages=(spec,), backend=backend), tmp_path / name, digits, allow_plugins=True)
        tested[name] = run_worker(wanted, backend=backend).one(Evaluated).test_loss
    assert tested["plugin:nll"] == pytest.approx(tested["cross_entropy"], rel=1e-3)


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_loss_without_a_gradient_is_told_what_it_must_be_made_of(tmp_path, backend):
    from benchmark.training.programs.prepare import prepare

    pytest.importorskip(backend)
    digits = prepare("digits", 16, "grey", tmp_path / "cache")
    (planned,) = cells(tmp_path, '"plugin:misses"')
    spec = replace(planned.stages[0], epochs=1)
    wanted = job(cell(stages=(spec,), backend=backend), tmp_path / "cell", digits, allow_plugins=True)
    failed = run_worker(wanted, backend=backend).one(Failed)
    assert failed.error_type == "PluginError"
    assert "must be made of y_pred by operations that have a gradient" in failed.message


@pytest.mark.tf
def test_a_mean_has_no_weights_of_classes(tmp_path):
    from benchmark.training.losses import build_loss
    from benchmark.training.plugin_losses import plugin_loss
    from benchmark.training.process.plugin_code import PluginError

    (only,) = cells(tmp_path, '"plugin:mean"')
    own = plugin_loss(only, only.stages[0], allowed=True)
    loss = build_loss(only.stages[0], one_hot=False, weights=np.ones(10, np.float32), own=own)
    with pytest.raises(PluginError, match=r"my.py:6: .* beside class_weights, found a single number"):
        loss(np.zeros(3, np.int32), np.full((3, 10), 0.1, np.float32))
