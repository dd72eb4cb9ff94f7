"""The presets, end to end: TFDS's real builders, ImageNet weights in the published format, processes as users start them.

The pictures are made up in the true formats (see system_data.py), and everything is small; nothing else is changed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from system_data import environment

pytestmark = [pytest.mark.tf, pytest.mark.exhaustive]

ROOT = Path(__file__).resolve().parent.parent
REDUCED = ["epochs=1", "train_examples=40", "test_examples=20", "threads=1", "batch_size=20", "image_size=32", "tta=0"]


@dataclass(frozen=True)
class Desk:
    """A folder with a matrix, on a machine that has the data."""

    folder: Path
    data: Path

    def bench(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        return subprocess.run(
            [sys.executable, "-m", "benchmark", *arguments],
            cwd=self.folder,
            env={
                **kept,
                **environment(self.data),
                "BENCH_CACHE": str(self.data / "cache"),
                "BENCH_MACHINE": "tester",
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=580,
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.bench("run", *(f"--set={setting}" for setting in REDUCED), *arguments, **variables)

    def rows(self, columns: str) -> list[dict[str, object]]:
        return json.loads(self.bench("query", "--format", "json", f"select {columns} from results").stdout)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    subprocess.run(
        [sys.executable, Path(__file__).parent / "system_data.py", folder],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    return folder


@pytest.fixture
def desk(tmp_path, data):
    def of(preset: str) -> Desk:
        desk = Desk(tmp_path, data)
        assert desk.bench("init", "--preset", preset).returncode == 0
        return desk

    return of


def test_cpu_cnns_from_data_to_table(desk):
    here = desk("cpu-cnns")
    prepared = here.bench("prepare", "--offline")
    assert prepared.returncode == 0, prepared.stderr
    assert prepared.stderr.splitlines()[-1] == "2 datasets and 1 weights file ready"
    done = here.run("--set", "save=false")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["dataset"]: row for row in here.rows("dataset, status, epochs, parameters, trainable_parameters")}
    assert {row["status"] for row in found.values()} == {"completed"}
    # two stages of one epoch; the last 30 layers and the head
    assert found["cifar10_160"]["epochs"] == 2
    assert found["cifar10_160"]["parameters"] == 23_851_274
    report = here.bench("report", "--format", "markdown").stdout
    lines = [line for line in report.splitlines() if line.startswith(("| MNIST ", "| CIFAR-10 "))]
    assert [line.split("|")[3].strip() for line in lines] == ["published", "measured"] * 3
    assert [line.split("|")[2].strip() for line in lines[::2]] == ["Simple CNN", "Advanced CNN", "ResNet50 transfer"]
    assert [cell.strip() for cell in lines[0].split("|")[5:8]] == ["5", "99.26", "55.6"]
    assert "Measured on fewer examples than were published (train_examples = 40" in report


def test_imagenette_and_imagenet_weights(desk):
    here = desk("vgg-resnet")
    done = here.run("--select", "model=vgg16_head,dataset=mnist_48", "--select", "model=small_cnn")
    assert done.returncode == 0, done.stdout + done.stderr
    found = here.rows("dataset, strategy, status, parameters")
    assert {(row["dataset"], row["strategy"], row["status"]) for row in found} == {
        ("mnist_48", "tuned_from_imagenet", "completed"),
        ("mnist_48", "stopped_from_scratch", "completed"),
        ("imagenette_64", "cnn_stopped", "completed"),
    }
    assert "## Transfer: mnist_48, vgg16_head" in here.bench("report", "--format", "markdown").stdout


def test_absent_weights_end_only_the_cells_that_need_them(desk, tmp_path):
    here = desk("cifar10-four-models")
    nothing = {"KERAS_HOME": str(tmp_path / "keras")}
    done = here.run("--set", "save=false", **nothing)
    assert done.returncode == 3, done.stdout + done.stderr
    found = {row["strategy"]: (row["status"], row["cause"]) for row in here.rows("strategy, status, cause")}
    assert found.pop("cnn_from_scratch") == ("completed", None)
    assert set(found.values()) == {("failed", "data_error")}
    assert "`bench prepare` with a network" in done.stderr
    assert str(tmp_path / "keras" / "models" / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5") in done.stderr
    refused = here.bench("prepare", "--offline", **nothing)
    assert refused.returncode == 2
    assert "https://storage.googleapis.com/tensorflow/keras-applications/resnet/" in refused.stderr


def test_damaged_weights_are_never_used_nor_deleted(desk, tmp_path):
    here = desk("cifar10-four-models")
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    place = tmp_path / "keras" / "models"
    place.mkdir(parents=True)
    (place / name).write_bytes((here.data / "keras" / "models" / name).read_bytes()[:-1])
    refused = here.bench("prepare", "--offline", KERAS_HOME=str(tmp_path / "keras"))
    assert refused.returncode == 2
    assert "is not the published file: expected md5" in refused.stderr
    assert (place / name).exists()


def test_weights_that_lie_in_a_folder_are_taken_from_there(desk, tmp_path):
    here = desk("cifar10-four-models")
    elsewhere = {"KERAS_HOME": str(tmp_path / "keras")}
    done = here.bench("prepare", "--offline", "--manual-dir", str(here.data / "keras" / "models"), **elsewhere)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "keras" / "models").iterdir())) == 1


@pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None or importlib.util.find_spec("torchvision") is None,
    reason="the extras [lightning] and [torchvision] are not installed",
)
@pytest.mark.timeout(600)
def test_networks_of_lightning_from_data_to_pictures(desk):
    here = desk("resnet18-transfer-lightning")
    assert here.run().returncode == 2  # without consent
    done = here.run("--allow-plugins")
    assert done.returncode == 0, done.stdout + done.stderr
    found = here.rows("cell_id, dataset, strategy, status, framework, optimizer, epochs, parent_cell_id, parameters")
    assert len(found) == 6
    assert {(row["status"], row["framework"], row["optimizer"], row["epochs"]) for row in found} == {
        ("completed", "lightning", "own", 1)
    }
    cells = {(row["dataset"], row["strategy"]): row for row in found if row["parameters"] > 1_000_000}
    child, parent = cells["cifar10", "from_imagenette"], cells["imagenette_rgb", "stopped"]
    assert child["parent_cell_id"] == parent["cell_id"]
    assert (
        child["parameters"] == parent["parameters"] == cells["imagenette_grey", "stopped"]["parameters"] + 64 * 49 * 2
    )

    proof = here.run("--allow-plugins", "--set", "epochs=3", "--prove-resume", "strategy=augmented", "--format", "json")
    assert json.loads(proof.stdout)["verdict"] == "identical", proof.stderr
    assert json.loads(proof.stdout)["resumed_from_epoch"]

    Image.linear_gradient("L").convert("RGB").save(here.folder / "picture.png")
    for words in (["predict", child["cell_id"], "picture.png"], ["explain", child["cell_id"], "--allow-plugins"]):
        told = here.bench(*words, "--allow-plugins", "--format", "json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)

    report = here.bench("report", "--format", "markdown").stdout
    assert "## Transfer: cifar10, lightning_resnet18" in report
    lines = [line.split("|") for line in report.splitlines() if line.startswith(("| Imagenette, grey ", "| CIFAR-10 "))]
    assert [line[3].strip() for line in lines] == ["published", "measured"] * 3
    assert [line[-2].strip() for line in lines[::2]] == ["0.6308", "0.5640", "0.8206"]
