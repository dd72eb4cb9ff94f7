"""The page docs/script-cells.md, followed as a reader would: each of its scripts runs as a cell."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace

PAGE = (ROOT / "docs" / "script-cells.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SCRIPTS = {code.splitlines()[0].removeprefix("# "): code for language, code in BLOCKS if language == "python"}
MATRICES = {name: code for name in SCRIPTS for language, code in BLOCKS if language == "toml" and name in code}


def followed(folder: Path, script: str) -> list[dict[str, object]]:
    place = Workplace(folder)
    place.write(SCRIPTS[script], script)
    place.write(MATRICES[script])
    done = place.run("run", "--allow-plugins", "--select", "seed=0")
    assert done.returncode == 0, done.stderr
    return json.loads(place.run("query", "select * from results", "--format", "json").stdout)


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
    plan = json.loads(place.run("plan", "--select", "seed=0", "--format", "json", **here).stdout)
    assert "TensorFlow is not installed here; pip install tensorflow" in plan["left_out"][0]["reason"]
    assert "small_forest" in place.run("report", **here).stdout
    (row,) = json.loads(place.run("query", "select status from results", "--format", "json", **here).stdout)
    assert row == {"status": "completed"}
