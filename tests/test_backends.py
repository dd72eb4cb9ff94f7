"""Keras's backends: refused where they are missing, and where they are there, as good as Keras's own trainer."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from scheduling_plans import fake_cell
from training_cells import DIGITS, KILLED, architecture, cell, history, job, run_worker, stage

from benchmark import events
from benchmark.catalog import backends
from benchmark.errors import UserError
from benchmark.files import sha256_of
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.scheduling.processes.environment import require_backends
from benchmark.scheduling.processes.launcher import Launcher, kept_templates
from benchmark.scheduling.programs.inference import Trained, predict
from benchmark.training.programs.prepare import prepare

HERE = Path(__file__).parent

MATRIX = """\
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = "scratch"
backend = ["tensorflow", "jax", "torch"]
"""


def of_each_installed(*names):
    """A parameter for each backend; what is not installed is skipped and says so."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(name) is None, reason=f"the extra [{name}] is not installed"
            ),
        )
        for name in names
    ]


each = pytest.mark.parametrize("backend", of_each_installed("tensorflow", "jax", "torch"))


def test_a_backend_that_is_not_installed_is_left_out_with_the_command_that_installs_it():
    plan = load_matrix("matrix.toml", MATRIX, machine_kind=MachineKind(0, 2, backends=("tensorflow",)))
    assert [one.backend for one in plan.cells] == ["tensorflow"]
    jax, torch = (one.reason for one in plan.left_out)
    assert "JAX is not installed here; pip install 'benchmark-matrix[jax]'" in jax
    assert "PyTorch is not installed here; pip install 'benchmark-matrix[torch]'" in torch


def test_the_extras_that_are_named_exist():
    import tomllib

    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    assert project["name"] == "benchmark-matrix"
    assert {"jax", "torch"} <= project["optional-dependencies"].keys()


def test_a_backend_is_an_axis_of_cells_with_ids_of_their_own():
    plan = load_matrix("matrix.toml", MATRIX, machine_kind=MachineKind(0, 2))
    assert plan.axes == ("backend",)
    assert len({one.cell_id for one in plan.cells}) == 3


def test_cells_from_elsewhere_are_refused_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "installed_backends", lambda: ("tensorflow", "fake"))
    require_backends([fake_cell(), replace(fake_cell(), backend="tensorflow")])
    foreign = cell(backend="torch")
    for door in (lambda: require_backends([foreign]), lambda: predict([Trained(foreign, tmp_path, "")], [])):
        with pytest.raises(UserError, match=r"PyTorch is not installed here; pip install 'benchmark-matrix\[torch\]'"):
            door()


def test_an_unfit_template_is_given_up_for_its_own_backend_alone():
    notes = []
    with selectors.DefaultSelector() as selector:
        launcher = Launcher("fork", selector, notes.append)
        unfit = SimpleNamespace(backend="jax", state="unfit", problem="a thread 'x' runs", hear=lambda: None)
        launcher._hear(unfit)
    (note,) = notes
    assert "workers for jax are started one by one, because the template process is unfit: a thread 'x' runs" in note
    isolation = {name: launcher.isolation_of(cell(backend=name)) for name in backends.training_backends()}
    assert isolation == {"tensorflow": "fork", "jax": "spawn", "torch": "fork"}


def test_templates_that_are_kept_serve_several_runs_and_end_with_the_command():
    pids, notes = set(), []
    with kept_templates() as kept:
        for _ in range(2):
            with selectors.DefaultSelector() as selector:
                launcher = Launcher("fork", selector, notes.append, kept)
                while not launcher.is_ready(fake_cell()):
                    for key, _ in selector.select(10):
                        key.data()
                pids.update(launcher.pids)
                launcher.close()
        (pid,) = pids
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert notes == []


@pytest.mark.tf
def test_code_is_taken_only_from_a_folder_that_nobody_else_can_write_into(tmp_path):
    from benchmark.training.process.runtime import _is_ours_alone

    folder = tmp_path / "compiled"
    folder.mkdir(mode=0o700)
    assert _is_ours_alone(folder)
    folder.chmod(0o770)
    assert not _is_ours_alone(folder)


# everything that has a memory of its own: dropout, batch normalisation, augmentation, two stages with other optimizers, averages
INTRICATE = cell(
    architecture=architecture("advanced_cnn", filters=(4, 8), stage_dropout=(0.2, 0.3), dense_units=8),
    stages=(
        stage(
            train="last:8",
            epochs=2,
            augment=(
                ("contrast", 0.2),
                ("flip", "horizontal"),
                ("randaugment", (("layers", 1), ("magnitude", 0.3))),
                ("random_crop", 2),
                ("rotation", 0.1),
            ),
            mixup=0.2,
        ),
        stage(
            train="all",
            epochs=2,
            optimizer="sgd",
            momentum=0.9,
            learning_rate=0.05,
            weight_decay=1e-3,
            schedule=(("kind", "linear"), ("warmup_epochs", 0.5)),
            loss="focal",
            class_weights=(("3", 2.0),),
            sampling="balanced",
            ema=0.9,
            mixup=0.2,
            cutmix=1.0,
        ),
    ),
    save=("model", "h5", "architecture"),
    tta=2,
)
FROZEN = cell(
    data=replace(DIGITS, image_size=32, color="rgb", train_examples=120, test_examples=50),
    architecture=architecture("vgg16"),
    stages=(stage(train="head", epochs=3),),
)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    return {size: prepare("digits", size, color, root) for size, color in ((16, "grey"), (32, "rgb"))}


def run(wanted, backend, folder, data, **options):
    earlier, allowed = options.pop("earlier", ()), options.pop("allow_plugins", False)
    wanted = replace(wanted, backend=backend)
    # how often states are worth it depends on how fast the machine is
    placed = job(wanted, folder, data, earlier_directories=earlier, allow_plugins=allowed, every_state=True)
    # later ones of a test find what JAX has compiled for the first
    return run_worker(placed, fresh=True, backend=backend, BENCH_CACHE=str(folder.parent / "cache"), **options)


def answer_of(script, backend):
    """What a script beside this file prints on its last line, as JSON, in a process with this backend of Keras."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    command = [sys.executable, HERE / script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=900)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@each
def test_an_epoch_of_our_steps_is_an_epoch_of_kerass_own_trainer(backend):
    for case, worst in answer_of("backend_steps.py", backend).items():
        assert worst["correct"] == 0, case
        assert worst["loss"] < 1e-5, case  # Keras tells running means
        assert max(worst["weights"], worst["predicted"], worst["forward"]) < 1e-5, case


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@each
def test_every_optimizer_resumes_to_the_same_bits_and_gathered_batches_are_one_large_one(backend):
    told = answer_of("backend_recipes.py", backend)
    # what is left out there: Keras's adafactor comes to NaN on JAX
    expected = {name: (backend, name) != ("jax", "adafactor") for name in told["resumed"]}
    assert told["resumed"] == expected
    assert max(told["accumulated"].values()) < 1e-6
    assert told["clipped"]["norm"] == pytest.approx(0.1, rel=1e-4)
    assert told["clipped"]["direction"] == pytest.approx(1, abs=1e-5)
    assert told["clipped"]["value"] == pytest.approx(0.01, rel=1e-4)
    assert told["clipped"]["cut"] < 1e-6


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@each
def test_a_cell_comes_to_the_same_bits_again_killed_or_not(backend, digits, tmp_path):
    clean = run(INTRICATE, backend, tmp_path / "a", digits[16])
    assert clean.exit_code == 0, clean.log
    weights = sha256_of(tmp_path / "a" / "weights.npz")
    saved = {told.kind for told in clean.all(events.ArtifactWritten)}
    assert saved >= {"model", "h5", "architecture", "weights", "predictions"}
    tested = clean.one(events.Evaluated)
    assert tested.plain_test_loss not in {None, tested.test_loss}
    again = run(INTRICATE, backend, tmp_path / "b", digits[16])
    assert (history(again), sha256_of(tmp_path / "b" / "weights.npz")) == (history(clean), weights)
    dying = run(INTRICATE, backend, tmp_path / "c", digits[16], faults="kill-in-epoch:4")
    assert dying.exit_code == KILLED, dying.log
    resumed = run(INTRICATE, backend, tmp_path / "d", digits[16], earlier=(str(tmp_path / "c"),))
    assert resumed.one(events.Resumed).epoch == 3
    assert (history(resumed), sha256_of(tmp_path / "d" / "weights.npz")) == (history(clean), weights)


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@each
def test_features_of_frozen_layers_train_as_the_whole_network_does(backend, digits, tmp_path):
    reusing = run(FROZEN, backend, tmp_path / "a", digits[32])
    whole = run(replace(FROZEN, reuse_features=False), backend, tmp_path / "b", digits[32])
    assert reusing.one(events.StageStarted).features == "computed", reusing.log
    assert whole.one(events.StageStarted).features == "none"
    for one, other in zip(reusing.epochs(), whole.epochs(), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
        assert one.val_loss == pytest.approx(other.val_loss, abs=1e-4)


@pytest.mark.tf
@pytest.mark.exhaustive
@each
def test_a_cell_trains_in_bfloat16_and_its_weights_predict_pictures(backend, digits, tmp_path):
    from PIL import Image

    trained = cell(precision="mixed_bfloat16", backend=backend)
    done = run(trained, backend, tmp_path / "a", digits[16])
    assert done.exit_code == 0, done.log
    assert done.one(events.ModelBuilt).compute_dtype == "bfloat16"
    assert done.one(events.Started).device_name == "cpu"
    picture = tmp_path / "picture.png"
    Image.new("L", (20, 20), 128).save(picture)
    path = tmp_path / "a" / "weights.npz"
    (told,) = predict([Trained(trained, path, sha256_of(path))], [picture])
    assert sum(told.probabilities[0]) == pytest.approx(1, abs=1e-3)
