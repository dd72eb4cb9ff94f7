"""What is a user's own comes to the same bits after a kill: losses, several labels, sources of rows, modules, recipes."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_workplace import Workplace
from test_backends import each
from test_plugin_losses import CODE
from test_torch_modules import FILE, LIGHT, needs_lightning, needs_torch
from test_training_rows import png, shard, table
from waiting import wait_until

pytestmark = [pytest.mark.tf, pytest.mark.exhaustive, pytest.mark.timeout(300)]

MATRIX = f"""
[matrix]
dataset = "%(dataset)s"
model = %(model)s
strategy = "scratch"
backend = "%(backend)s"
[defaults]
epochs = 4
batch_size = 4
train_examples = 60
test_examples = 15
%(settings)s
[plugins]
losses = ["my.py"]
models = ["{FILE}", "{LIGHT}"]
[model.module]
architecture = "plugin:good"
width = 4
[model.lightning]
architecture = "plugin:Light"
[model.by_step]
architecture = "plugin:ByStep"
[model.watching]
architecture = "plugin:Watching"
[model.timm]
architecture = "timm:test_resnet"
[model.torchvision]
architecture = "torchvision:mobilenet_v3_small"
dropout = 0.2
[dataset.many]
source = "npz:many.npz"
image_size = 16
color = "grey"
[dataset.rows]
source = "parquet:rows.parquet"
num_classes = 3
image_size = 16
color = "grey"
[dataset.saved]
extends = "rows"
source = "hf:saved"
[dataset.shards]
extends = "rows"
source = "webdataset:shards"
"""

EVERYTHING = """
ema = 0.9
mixup = 0.2
cutmix = 1.0
schedule = { kind = "cosine", warmup_epochs = 0.5 }
clip_norm = 1.0
gradient_accumulation = 2
augment = { flip = "horizontal", random_crop = 2, erase = 0.25, randaugment = 0.3 }
"""


def put_rows(folder: Path) -> None:
    """The same 90 pictures as Parquet, as shards of WebDataset, and, where their library is here, of Hugging Face."""
    pq.write_table(table(0, 90), folder / "rows.parquet")
    for name, numbers in (("train", range(70)), ("test", range(70, 90))):
        samples = [
            (f"{n}.{kind}", of(n)) for n in numbers for kind, of in (("png", png), ("cls", lambda n: b"%d" % (n % 3)))
        ]
        shard(folder / "shards" / f"{name}-0.tar", samples)
    if importlib.util.find_spec("datasets") is not None:
        import datasets

        kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y", "z"])})
        rows = {"image": [{"bytes": png(n), "path": None} for n in range(90)], "label": [n % 3 for n in range(90)]}
        datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(folder / "saved")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    labels = (random.random((90, 4)) < 0.4).astype(np.uint8)
    np.savez(folder / "many.npz", x=random.integers(0, 256, (90, 16, 16)).astype(np.uint8), y=labels)
    put_rows(folder)
    (folder / "my.py").write_text(CODE)
    return Workplace(folder)


def skip_without(package: str) -> None:
    """Looks for a package without importing it: PyTorch and TensorFlow do not bear each other in one process."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def write(place: Workplace, settings: str = "", **axes: str) -> None:
    usual = {"dataset": "digits", "model": '"simple_cnn"', "backend": "torch"}
    place.write(MATRIX % {**usual, **axes, "settings": settings})


def prove(place: Workplace, settings: str, *, environment: dict[str, str] | None = None, **axes: str) -> None:
    """Kills the only cell of a matrix in the middle of an epoch, and lets it go on."""
    write(place, settings, **axes)
    done = place.run("run", "--prove-resume", "seed=0", "--allow-plugins", "--format", "json", **(environment or {}))
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads(done.stdout)
    assert proof["verdict"] == "identical", proof
    assert proof["resumed_from_epoch"], proof


@each
@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ('loss = { kind = "plugin:nll", scale = 2 }\nclass_weights = "balanced"', {}),
        (EVERYTHING, {}),
        (EVERYTHING, {"BENCH_PREPARED_GIB": "0.0000001"}),
    ],
    ids=["loss", "recipe", "compressed"],
)
def test_recipes_go_on_to_the_same_bits(place, backend, settings, environment, tmp_path):
    prove(place, settings, environment={**environment, "BENCH_CACHE": str(tmp_path)}, backend=backend)


@each
@pytest.mark.parametrize("dataset", ["many", "rows", "saved", "shards"])
def test_images_of_every_source_go_on_to_the_same_bits(place, backend, dataset):
    skip_without("datasets" if dataset == "saved" else backend)
    prove(place, "ema = 0.9", dataset=dataset, backend=backend)


@needs_torch
@pytest.mark.parametrize(("model", "package"), [("module", "torch"), ("timm", "timm"), ("torchvision", "torchvision")])
def test_modules_go_on_to_the_same_bits_with_every_recipe(place, model, package):
    skip_without(package)
    prove(place, EVERYTHING + "image_size = 32", model=f'"{model}"')


@needs_torch
@needs_lightning
@pytest.mark.parametrize("model", ["lightning", "by_step", "watching"])
def test_lightning_modules_go_on_to_the_same_bits_with_their_own_schedule(place, model):
    prove(place, "ema = 0.9", model=f'"{model}"')


@needs_torch
@needs_lightning
def test_a_run_of_modules_that_is_killed_whole_goes_on_to_the_same_digests(place, tmp_path):
    write(place, "augment = { rotation = 0.1 }", model='["module", "lightning"]')
    words = ("run", "--allow-plugins", "--jobs", "1", "--set", "train_examples=1000", "--set", "batch_size=8", "--db")

    def rows(name: str, statement: str) -> list[dict[str, object]]:
        return place.document("query", statement, "--db", name) if (place.directory / name).exists() else []

    assert place.run(*words, "whole.sqlite").returncode == 0
    for epochs in (2, 6):  # in the middle of the first cell, and of the second one
        running = subprocess.Popen(
            place.command(*words, "killed.sqlite"),
            cwd=place.directory,
            env=place.environment,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda epochs=epochs: len(rows("killed.sqlite", "select epoch from history")) >= epochs)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert place.run(*words, "killed.sqlite").returncode == 0
    digests = "select cell_id, digest from results order by cell_id"
    assert rows("killed.sqlite", digests) == rows("whole.sqlite", digests)
    resumed = rows("killed.sqlite", "select resumed_from_epoch as epoch from attempt where state = 'completed'")
    assert all(attempt["epoch"] for attempt in resumed), resumed
