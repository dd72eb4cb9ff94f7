"""Classifiers of torchvision and timm: facts, plans, networks, and weights of files."""

from __future__ import annotations

import importlib.util

import pytest
from test_backends import answer_of

from benchmark.catalog.torch_models import TORCHVISION_MODELS, TORCHVISION_WEIGHTS
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.training.process.failures import DataError
from benchmark.training.weights.timm_hub import timm_file

needs_both = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("timm") is None,
    reason="the extras [torchvision] and [timm] are not installed",
)


def plan_of(architecture, line="", backends=None):
    text = f"""
[matrix]
dataset = "digits"
model = "mine"
strategy = "scratch"
{line}
[model.mine]
architecture = "{architecture}"
drop_path_rate = 0.1
"""
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(0, 2, backends=backends))


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18.a1_in1k"])
def test_a_classifier_by_name_is_planned_without_importing_it(name):
    (planned,) = plan_of(name).cells
    assert (planned.backend, planned.architecture.framework) == ("torch", "torch")
    assert planned.architecture.parameters == (("drop_path_rate", 0.1),)


def test_a_mistyped_name_has_a_nearest_one():
    with pytest.raises(MatrixError, match="did you mean 'torchvision:resnet18'"):
        plan_of("torchvision:resnt18")


def test_images_that_are_too_small_are_left_out():
    (out,) = plan_of("torchvision:inception_v3").left_out
    assert "needs images of at least 75 pixels" in out.reason


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (out,) = plan_of(f"{package}:resnet18", backends=("torch", "tensorflow")).left_out
    assert f"needs {package}, which is not installed here; pip install 'benchmark-matrix[{package}]'" in out.reason


def test_files_of_the_hub_tell_the_beginning_of_their_digest(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = TORCHVISION_WEIGHTS["torchvision:resnet18"]
    assert (published.algorithm, published.digest) == ("sha256", "f37072fd")
    assert published.path == tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert published.url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"


@needs_both
@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_mistyped_name_of_timm_has_a_nearest_one_where_its_weights_are_asked_for():
    with pytest.raises(DataError, match=r"timm:resnet19: expected a network that timm .* has; did you mean 'resnet18'"):
        timm_file("timm:resnet19")


@needs_both
@pytest.mark.tf
@pytest.mark.exhaustive
def test_the_facts_are_those_of_torchvision():
    from torchvision import models

    assert {name.partition(":")[2] for name in TORCHVISION_MODELS} == set(models.list_models(module=models))
    for name, model in TORCHVISION_MODELS.items():
        weights = models.get_model_weights(model.name).DEFAULT
        assert weights.url == TORCHVISION_WEIGHTS[name].url
        assert weights.meta["num_params"] == model.parameters
        assert weights.meta["_ops"] == pytest.approx(model.giga_multiply_adds, rel=0.01)


@needs_both
@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_networks_take_the_channels_classes_and_weights_that_they_are_given():
    told = answer_of("torch_hubs.py", "torch")
    assert told["grey"] == {"channels": 1, "parameters": 11_175_370, "head": ["fc"], "mean": pytest.approx(0.449)}
    assert told["dropout"] == {"resnet18": True, "mobilenet_v3_small": 0.1}
    for kind in ("pth", "wrapped", "safetensors"):
        assert told["loaded"][kind] == {"backbone": True, "head": False}, kind
    assert "no file of tensors" in told["loaded"]["pickle"]
    assert told["resampled"] == {"size": True, "same": True}, "position embeddings fit images of another size"
    assert told["timm"]["head"] == ["head"]
    assert "did you mean 'resnet18'" in told["unknown"]
    assert "unexpected keyword argument 'foo'" in told["argument"]
