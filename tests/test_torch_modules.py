"""Modules of PyTorch as plug-ins: what they are recognised by, how they train, and what strangers get wrong."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
from cli_workplace import Workplace
from test_backends import answer_of, history, run
from training_cells import KILLED, cell, stage

from benchmark import events
from benchmark.catalog.facts import KERAS, LIGHTNING, TORCH
from benchmark.errors import MatrixError
from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.reading.plugin_frameworks import framework_of
from benchmark.training.programs.prepare import prepare

FILE = Path(__file__).with_name("strange_modules.py").resolve()
GOOD = Architecture("plugin:good", (("width", 4),), sha256_of(FILE), str(FILE), framework=TORCH)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra [torch] is not installed")


@pytest.mark.parametrize(
    ("source", "framework"),
    [
        ("import torch\ndef net(): return torch.nn.Linear(1, 1)", TORCH),
        ("from torch import nn\nclass net(nn.Module): pass", TORCH),
        ("import keras\nfrom torch import nn\nclass M(nn.Module): pass\ndef net(): return M()", TORCH),
        ("import keras\nfrom torch import nn\ndef other(): return nn.ReLU()\ndef net(): return keras.Model()", KERAS),
        ("import torch.nn as nn\ndef make(): return nn.ReLU()\nnet = make", TORCH),
        ("def net():\n    import timm\n    return timm.create_model('resnet18')", TORCH),
        ("import lightning as L\nclass net(L.LightningModule): pass", LIGHTNING),
        ("from pytorch_lightning import LightningModule\nclass A(LightningModule): pass\ndef net(): return A()", LIGHTNING),
        ("import torch, lightning\nclass A(lightning.LightningModule): pass\ndef net(): return torch.nn.ReLU()", TORCH),
        ("from segmentation_models_pytorch import Net\ndef net(): return Net()", TORCH),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\ndef net(): return torch.nn.ReLU()", TORCH),
        ("from tensorflow import keras\ndef net(): return keras.Model()", KERAS),
        ("def net(): return 1", KERAS),
        ("def net(: return 1", KERAS),
    ],
)  # fmt: skip
def test_the_text_of_a_plugin_tells_what_its_models_are_written_in(source, framework):
    assert framework_of(source.encode(), "net") == framework


MATRIX = """
[matrix]
dataset = "digits"
model = {models}
strategy = "scratch"
{line}
[plugins]
models = ["{file}"]
[model.mine]
architecture = "plugin:{name}"
"""


def plan_of(
    line="", backends=("tensorflow", "torch", "jax"), *, file=FILE, name="good", models='["mine", "simple_cnn"]'
):
    text = MATRIX.format(line=line, file=file, name=name, models=models)
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(0, 2, backends=backends))


def test_a_module_runs_in_pytorch_where_no_backend_is_named():
    assert {one.model: one.backend for one in plan_of().cells} == {"mine": "torch", "simple_cnn": "tensorflow"}
    assert {one.model: one.architecture.framework for one in plan_of().cells} == {"mine": TORCH, "simple_cnn": KERAS}


def test_another_backend_is_left_out_with_the_reason():
    plan = plan_of('backend = ["tensorflow", "torch"]')
    assert sorted((one.model, one.backend) for one in plan.cells) == [
        ("mine", "torch"), ("simple_cnn", "tensorflow"), ("simple_cnn", "torch"),
    ]  # fmt: skip
    (out,) = plan.left_out
    assert 'plugin:good is written in PyTorch, which backend = "tensorflow" cannot train' in out.reason


def test_without_pytorch_a_module_is_left_out_with_the_command_that_installs_it():
    (out,) = plan_of(backends=("tensorflow",)).left_out
    assert "PyTorch is not installed here; pip install 'benchmark-matrix[torch]'" in out.reason


def test_saving_a_module_as_a_model_of_keras_is_left_out():
    (out,) = plan_of('save = "model"').left_out
    assert 'save = "model" is for models of Keras' in out.reason
    assert "state_dict" in out.reason


PAGE = (FILE.parent.parent / "docs" / "torch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def followed(folder):
    """The matrices of the page, with the files of the page beside them."""
    for code in (code for language, code in BLOCKS if language == "python"):
        (folder / code.splitlines()[0].removeprefix("# ")).write_text(code)
    return [code for language, code in BLOCKS if language == "toml" and "[matrix]" in code]


def test_the_matrices_of_the_page_are_valid(tmp_path):
    matrices = followed(tmp_path)
    assert matrices
    for code in matrices:
        plan = load_matrix(tmp_path / "matrix.toml", code, machine_kind=MachineKind(0, 2))
        assert not plan.left_out
        assert {one.architecture.framework for one in plan.cells} & {TORCH, LIGHTNING}


@needs_torch
@pytest.mark.tf
@pytest.mark.exhaustive
def test_the_matrices_of_the_page_run(tmp_path):
    place = Workplace(tmp_path)
    for number, code in enumerate(followed(tmp_path)):
        place.write(code)
        arguments = ("run", "--allow-plugins", "--set", "epochs=1", "--db", f"{number}.sqlite")
        done = subprocess.run(
            place.command(*arguments),
            cwd=tmp_path, env=place.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@needs_torch
@pytest.mark.tf
@pytest.mark.exhaustive
def test_the_modules_of_the_page_learn(tmp_path):
    place = Workplace(tmp_path)
    place.write(next(code for code in followed(tmp_path) if "plugin:SmallNet" in code))
    done = place.run("run", "--allow-plugins", "--select", "model=small_net")
    assert done.returncode == 0, done.stderr
    (row,) = place.document("query", "select test_accuracy from results")
    assert row["test_accuracy"] > 0.85


@pytest.fixture(scope="module")
def answers():
    return answer_of("torch_modules.py", "torch")


@needs_torch
@pytest.mark.tf
@pytest.mark.parametrize(("name", "least"), [("half", 0.7), ("strange", 0.4)])
def test_models_of_keras_come_to_the_bits_of_keras_without_its_calls_of_layers(answers, name, least):
    same, plain = answers["graphs"][name]
    assert same == [True] * 3, "losses, weights, predictions"
    assert plain >= least


@needs_torch
@pytest.mark.tf
def test_a_model_without_calls_of_layers_stays_one_of_keras(answers):
    assert answers["grown"] == [True] * 3


@needs_torch
@pytest.mark.tf
def test_the_parts_of_a_module_are_its_own(answers):
    told = answers["parts"]
    assert told["parameters"] == told["counted"] == told["all"]
    assert told["names"]
    assert told["head"] == ["fc"]
    assert told["changed_by_head"] == ["fc.weight", "fc.bias"], "frozen normalisation keeps its averages"
    assert {"bn1.running_mean", "bn1.num_batches_tracked", "conv1.weight"} <= set(told["changed_by_all"])
    assert told["restored"]
    assert told["last"] == told["all"] - 4 * 9 - 2 * 4


@needs_torch
@pytest.mark.tf
def test_training_is_that_of_a_plain_loop(answers):
    assert max(answers["plain_loop"].values()) < 1e-5, answers["plain_loop"]


@needs_torch
@pytest.mark.tf
def test_buffers_that_a_module_replaces_are_weights_and_what_it_froze_stays_frozen(answers):
    told = answers["buffers"]
    assert told["names"] == ["classes.bias", "classes.weight", "hidden.1.bias", "hidden.1.weight", "mean", "scale"]
    assert told["head"] == ["hidden.1", "classes"]
    assert told["mean"] == pytest.approx(1, rel=1e-5)
    assert told["same"]
    assert told["scale_stays"]


@needs_torch
@pytest.mark.tf
def test_a_module_computes_in_half_precision_with_weights_in_single(answers):
    assert answers["half"] == {"dtype": "bfloat16", "weights": ["torch.float32"], "finite": True}


@needs_torch
@pytest.mark.tf
def test_weight_decay_leaves_vectors_alone(answers):
    assert answers["decayed"] == ["conv1.weight", "conv2.weight", "fc.weight"]


@needs_torch
@pytest.mark.tf
def test_grad_cam_shows_the_last_convolution(answers):
    told = answers["evidence"]
    assert (told["layer"], told["grid"], told["shape"]) == ("conv2", [5, 5], [5, 5])
    assert told["sum"] == pytest.approx(1, abs=1e-5)


@needs_torch
@pytest.mark.tf
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax", ("strange_modules.py:", "expected logits", "with the sum 1", "leave out the softmax")),
        ("sigmoid", ("strange_modules.py:", "expected logits", "leave out the sigmoid")),
        ("logarithms", ("nothing",)),
        ("Fourier", ("strange_modules.py:", "found filter of torch.complex64", "torch.view_as_complex")),
        ("Remembers", ("keep it with .detach()")),
        ("eleven", ("expected logits of shape (2, 10)", "found (2, 11)")),
        ("pair", ("expected `forward` to return logits", "found tuple")),
        ("nothing", ("expected a module with parameters, found none",)),
        ("large", ("shapes cannot be multiplied", "set image_size", "AdaptiveAvgPool2d")),
        ("cuda", ("strange_modules.py:", "no .cuda()")),
        ("no_module", ("expected a torch.nn.Module to be returned, found function",)),
        ("arguments", ("expected a function that can be called as arguments(input_shape=…, num_classes=…)",)),
        ("half", ("strange_modules.py:", "no .half()")),
        ("without_gradient", ("strange_modules.py:", "found a tensor without a gradient", "torch.no_grad()")),
        ("frozen", ("strange_modules.py:", "expected parameters to train", "requires_grad = False")),
        ("head", ("expected bench_head to name submodules", "0, 4", "['classifier']")),
    ],
)
def test_what_is_wrong_with_a_module_is_said_with_the_cure(answers, name, words):
    for each in words:
        assert each in answers["errors"][name]


@needs_torch
@pytest.mark.tf
def test_one_logit_for_two_classes_is_told_how_to_become_two(answers):
    assert "expected logits of shape (4, 2), one for each class, found (4,); of one logit z" in answers["single"]


@needs_torch
@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_module_comes_to_the_same_bits_again_killed_or_not(tmp_path):
    data = prepare("digits", 16, "grey", tmp_path / "cache")
    stages = (
        stage(train="last:1", epochs=2, batch_size=4, augment=(("rotation", 0.1),)),
        stage(train="all", epochs=2, batch_size=4, optimizer="adamw", weight_decay=1e-3),
    )
    wanted = cell(architecture=GOOD, stages=stages, backend="torch")
    clean = run(wanted, "torch", tmp_path / "a", data, allow_plugins=True)
    assert clean.exit_code == 0, clean.log
    weights = sha256_of(tmp_path / "a" / "weights.npz")
    dying = run(wanted, "torch", tmp_path / "b", data, allow_plugins=True, faults="kill-in-epoch:4")
    assert dying.exit_code == KILLED, dying.log
    resumed = run(wanted, "torch", tmp_path / "c", data, allow_plugins=True, earlier=(str(tmp_path / "b"),))
    assert resumed.one(events.Resumed).epoch == 3
    assert (history(resumed), sha256_of(tmp_path / "c" / "weights.npz")) == (history(clean), weights)


@needs_torch
@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_module_learns_as_the_same_network_in_keras_does(tmp_path):
    data = prepare("digits", 16, "grey", tmp_path / "cache")
    twin = replace(GOOD, name="plugin:twin", parameters=())
    images = replace(cell().data, train_examples=1000, test_examples=300)
    accuracies = {"torch": [], "tensorflow": []}
    for seed in range(3):
        for backend, known in (("torch", twin), ("tensorflow", cell().architecture)):
            stages = (stage(epochs=20, learning_rate=3e-3),)
            wanted = cell(architecture=known, stages=stages, backend=backend, data=images, seed=seed)
            done = run(wanted, backend, tmp_path / f"{backend}{seed}", data, allow_plugins=True)
            accuracies[backend].append(done.one(events.Evaluated).test_accuracy)
    means = {backend: mean(values) for backend, values in accuracies.items()}
    assert min(means.values()) > 0.85, accuracies
    # of one seed: what seeds change, and at least what 300 test images leave open
    noise = max(*map(stdev, accuracies.values()), math.sqrt(0.9 * 0.1 / 300))
    assert abs(means["torch"] - means["tensorflow"]) < 2 * noise * math.sqrt(2 / 3), accuracies


LIGHT = FILE.with_name("light_modules.py")
needs_lightning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="the extra [lightning] is not installed"
)


def light_plan(line="", models='["mine", "simple_cnn"]'):
    return plan_of(line, None, file=LIGHT, name="Light", models=models)


def test_what_a_lightning_module_decides_is_recorded_as_its_own():
    mine, ours = light_plan().cells
    assert (mine.architecture.framework, mine.backend, mine.stages[0].optimizer) == (LIGHTNING, "torch", "own")
    assert (ours.architecture.framework, ours.stages[0].optimizer) == (KERAS, "adam")


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("learning_rate = 0.1", "matrix.learning_rate"),
        ("[defaults]\noptimizer = 'sgd'", "defaults.optimizer"),
        ("[defaults]\nloss = 'focal'", "defaults.loss"),
        ("[defaults]\nschedule = 'cosine'", "defaults.schedule"),
        ("[defaults]\nclip_norm = 1.0", "defaults.clip_norm"),
        ("[defaults]\nweight_decay = 0.1", "defaults.weight_decay"),
    ],
)
def test_what_a_lightning_module_decides_is_refused_in_the_matrix(line, where):
    with pytest.raises(MatrixError) as refused:
        light_plan(line, '"mine"')
    assert where in str(refused.value)
    assert "a LightningModule, which decides it itself" in str(refused.value)


def test_defaults_are_for_the_other_models_of_a_matrix_and_the_plan_says_so():
    plan = light_plan("[defaults]\nlearning_rate = 0.1")
    assert {each.model: each.stages[0].learning_rate for each in plan.cells} == {"mine": 0.0, "simple_cnn": 0.1}
    assert any("learning_rate of [defaults] is not used" in note for note in plan.notes)


def test_other_models_keep_their_settings_beside_a_lightning_module():
    plan = light_plan(
        "[[matrix.override]]\nwhen = { model = 'simple_cnn' }\nset = { learning_rate = 0.1 }\n[defaults]\nclip_norm = false"
    )
    assert {one.model: one.stages[0].learning_rate for one in plan.cells} == {"mine": 0.0, "simple_cnn": 0.1}


@needs_torch
@needs_lightning
@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["Light", "ByStep", "Watching", "Planning", "EveryOther", "WatchingAccuracy"])
def test_a_lightning_module_trains_by_its_own_schedule_and_resumes_to_the_same_bits(tmp_path, name):
    data = prepare("digits", 16, "grey", tmp_path / "cache")
    known = Architecture(f"plugin:{name}", (), sha256_of(LIGHT), str(LIGHT), framework=LIGHTNING)
    stages = (stage(optimizer="own", learning_rate=0.0, epochs=4, batch_size=2),)
    wanted = cell(architecture=known, stages=stages, backend="torch")
    clean = run(wanted, "torch", tmp_path / "a", data, allow_plugins=True)
    assert clean.exit_code == 0, clean.log
    rates = [epoch.learning_rate for epoch in clean.epochs()]
    assert rates[0] == pytest.approx(0.01, rel=0.9)
    assert rates[-1] < rates[0]
    if name == "EveryOther":
        assert rates == [0.01, 0.01, 0.005, 0.005]
    assert clean.epochs()[-1].train_accuracy > 0.2
    weights = sha256_of(tmp_path / "a" / "weights.npz")
    dying = run(wanted, "torch", tmp_path / "b", data, allow_plugins=True, faults="kill-in-epoch:4")
    assert dying.exit_code == KILLED, dying.log
    resumed = run(wanted, "torch", tmp_path / "c", data, allow_plugins=True, earlier=(str(tmp_path / "b"),))
    assert resumed.one(events.Resumed).epoch == 3
    assert (history(resumed), sha256_of(tmp_path / "c" / "weights.npz")) == (history(clean), weights)


@needs_torch
@needs_lightning
@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Manual", "expected automatic optimization, found manual"),
        ("Several", "expected one optimizer, found 2"),
        ("Lossless", "expected the loss, a tensor"),
        ("WithTrainer", "self.trainer.datamodule: bench trains this module without a Trainer"),
        ("WatchingElse", "expected monitor to be val_loss, val_accuracy, train_loss or train_accuracy, found 'val_f1'"),
        ("OwnSetup", "found setup, on_save_checkpoint of its own, which a Trainer calls: leave them out"),
        ("Nothing", "expected an optimizer of PyTorch, found NoneType"),
        ("SecondOrder", "found LBFGS, which computes several"),
        ("OwnStep", "found optimizer_step of its own, which a Trainer calls: leave it out"),
    ],
)
def test_what_needs_a_trainer_is_said(tmp_path, name, words):
    data = prepare("digits", 16, "grey", tmp_path / "cache")
    known = Architecture(f"plugin:{name}", (), sha256_of(LIGHT), str(LIGHT), framework=LIGHTNING)
    done = run(cell(architecture=known, backend="torch"), "torch", tmp_path / "a", data, allow_plugins=True)
    failed = done.one(events.Failed)
    assert failed.error_type == "PluginError"
    assert words in failed.message
