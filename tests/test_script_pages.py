"""The page docs/script-cells.md, followed as a reader would: each of its scripts runs as a cell."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace, typed

PAGE = (ROOT / "docs" / "script-cells.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SCRIPTS = {code.splitlines()[0].removeprefix("# "): code for language, code in BLOCKS if language == "python"}
MATRICES = {name: code for name in SCRIPTS for language, code in BLOCKS if language == "toml" and name in code}


def followed(folder: Path, script: str) -> list[dict[str, object]]:
    place = Workplace(folder)
    place.write(SCRIPTS[script], script)
    place.write(MATRICES[script])
    done = place.call("run", "--allow-plugins", "--select", "seed=0")
    assert done.exit_code == 0, done.stderr
    return place.document("query", "select * from results")


def test_every_script_of_the_page_is_tried_here():
    assert list(SCRIPTS) == list(MATRICES) == ["forest.py", "plain_torch.py", "lightning_net.py"]


def test_the_forest_of_the_page_learns(tmp_path):
    accuracy = {row["model"]: row["test_accuracy"] for row in followed(tmp_path, "forest.py")}
    assert 0.8 < accuracy["small_forest"] < accuracy["forest"]


@pytest.mark.exhaustive
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_the_loop_of_the_page_learns(tmp_path):
    rows = followed(tmp_path, "plain_torch.py")
    assert {row["learning_rate"] for row in rows} == {1e-3, 1e-2}
    assert max(row["test_accuracy"] for row in rows) > 0.7
    assert all(row["epochs"] == 5 and row["parameters"] for row in rows)


@pytest.mark.exhaustive
@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs Lightning")
def test_the_trainer_of_the_page_tells_its_epochs(tmp_path):
    (row,) = followed(tmp_path, "lightning_net.py")
    assert row["epochs"] == 3
    assert None not in {row["train_loss"], row["val_loss"], row["val_accuracy"], row["images_per_second"]}


OF_NETWORKS = {"tensorflow", "tensorflow-datasets", "keras", "h5py", "importlib_resources"}
ABSENT = """\
from importlib.machinery import PathFinder
found = PathFinder.find_spec
absent = {"tensorflow", "tensorflow_datasets", "keras", "h5py", "torch", "jax"}
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in absent else found(name, *rest)
"""


def test_the_requirements_of_scripts_are_those_of_the_package_without_networks():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "script.txt").read_text().splitlines()
    wanted = [each for each in project["dependencies"] if re.split("[><=~]", each)[0] not in OF_NETWORKS]
    assert [line for line in lines if not line.startswith("#")] == wanted


def test_an_environment_without_tensorflow_and_keras_runs_scripts_and_leaves_networks_out(tmp_path):
    place = Workplace(tmp_path)
    (tmp_path / "absent").mkdir()
    place.write(ABSENT, "absent/sitecustomize.py")
    place.write(SCRIPTS["forest.py"], "forest.py")
    place.write(MATRICES["forest.py"].replace('["forest", "small_forest"]', '["simple_cnn", "small_forest"]'))
    here = {"PYTHONPATH": f"{tmp_path / 'absent'}:{ROOT}", "BENCH_TESTING": "0"}
    done = place.run("run", "--allow-plugins", "--select", "seed=0", **here)
    assert done.returncode == 0, done.stderr
    assert "1 completed" in done.stderr
    asked = (["plan", "--select", "seed=0", "--format", "json"], ["report"], ["query", "select status from results"])
    plan, report, found = typed(tmp_path, {**place.environment, **here}, *asked)
    reason = json.loads(plan.stdout)["left_out"][0]["reason"]
    assert "TensorFlow is not installed here; pip install tensorflow" in reason
    assert "small_forest" in report.stdout
    assert "completed" in found.stdout


KERAS = """\
import keras, numpy as np
from benchmark import cell
m = keras.Sequential([keras.Input(cell.train[0].shape[1:]), keras.layers.Rescaling(1/255), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
m.fit(*cell.train, epochs=cell.settings["epochs"], validation_data=cell.validation, callbacks=[cell.keras_callback()], verbose=0)
cell.finish(probabilities=m.predict(cell.test[0], verbose=0), parameters=m.count_params())
"""
HUGGING_FACE = """\
import numpy as np, torch
from torch import nn
from transformers import Trainer, TrainingArguments
from benchmark import cell
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.body = nn.Linear(256, 10)
    def forward(self, x, labels=None):
        logits = self.body(x); out = {"logits": logits}
        if labels is not None: out = {"loss": nn.functional.cross_entropy(logits, labels), **out}
        return out
def data(part):
    images, labels = part
    return [{"x": torch.from_numpy(i).flatten().float() / 255, "labels": int(l)} for i, l in zip(images, labels)]
args = TrainingArguments(output_dir=cell.state, num_train_epochs=cell.settings["epochs"], per_device_train_batch_size=64, learning_rate=1e-2,
    eval_strategy="epoch", logging_strategy="epoch", report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no")
t = Trainer(Net(), args, train_dataset=data(cell.train), eval_dataset=data(cell.validation), callbacks=[cell.hugging_face_callback()],
    compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())})
t.train()
out = torch.from_numpy(t.predict(data(cell.test)).predictions).softmax(1)
cell.finish(probabilities=out, parameters=2570)
"""


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize(("library", "script"), [("keras", KERAS), ("transformers", HUGGING_FACE)])
def test_callbacks_tell_the_epochs_of_their_trainers(tmp_path, library, script):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    place = Workplace(tmp_path)
    place.write(script, "train.py")
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "m"\nstrategy = "scratch"\n[defaults]\nepochs = 3\n'
        '[model.m]\ncommand = ["python", "train.py"]\n'
    )
    done = place.call("run", "--allow-plugins")
    assert done.exit_code == 0, done.stderr
    rows = place.document("query", "select * from history")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(
        row[key] is not None for row in rows for key in ("train_loss", "val_loss", "val_accuracy", "learning_rate")
    )
    assert 0 < rows[0]["seconds"] < 60
