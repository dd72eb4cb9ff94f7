"""Plug-ins in whole runs: their faults end their own cells, and nothing of them reaches the scheduler or the template."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_workplace import Workplace
from PIL import Image
from waiting import wait_until

pytestmark = pytest.mark.tf

GOOD = """\
import os
with open(os.path.join(os.path.dirname(__file__), "imported"), "a") as file:
    file.write(f"{os.getpid()}\\n")
import keras
from keras import layers
def good(input_shape, num_classes, dropout=0.0):
    return keras.Sequential([keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                             layers.Dense(num_classes, activation="softmax")])
def leaves(**_):
    os._exit(0)
def hangs(**_):
    import time
    time.sleep(600)
class Broken(keras.layers.Layer):
    def call(self, x, training=None):
        if training:
            raise RuntimeError("only when it trains")
        return x
def late(input_shape, num_classes, **_):
    model = good(input_shape, num_classes)
    return keras.Sequential([keras.Input(input_shape), Broken(), *model.layers])
def seeing(input_shape, num_classes, **_):
    return keras.Sequential([keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(),
                             layers.Dense(num_classes, activation="softmax")])
"""
MATRIX = """\
[matrix]
dataset = ["digits", "digits_low"]
model = ["{models}", "simple_cnn"]
strategy = ["scratch", "regularized"]
[defaults]
epochs = 1
train_examples = 200
test_examples = 100
[plugins]
models = ["good.py", "broken.py"]
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("import sys\n\nimport no_such_thing\ndef absent(): ...\n")
    return Workplace(tmp_path)


def run(place: Workplace, *models: str, **options: str) -> subprocess.CompletedProcess[str]:
    text = MATRIX.replace("{models}", '", "'.join(models))
    text += "".join(f'[model.{name}]\narchitecture = "plugin:{name}"\n' for name in models)
    place.write(text)
    more = [word for key, value in options.items() for word in (f"--{key}", value)]
    return subprocess.run(
        place.command("run", "--allow-plugins", *more),
        cwd=place.directory,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


def ended(place: Workplace) -> dict[str, set[tuple[str, str | None]]]:
    rows = json.loads(place.call("list", "cells", "--format", "json").stdout)
    found: dict[str, set[tuple[str, str | None]]] = {}
    for row in rows:
        found.setdefault(row["model"], set()).add((row["status"], row["cause"]))
    return found


@pytest.mark.exhaustive
def test_faults_of_plugins_end_their_own_cells_and_are_said_once(place):
    done = run(place, "good", "leaves", "late", "absent")
    assert done.returncode == 3, done.stderr
    assert ended(place) == {
        "good": {("completed", None)},
        "simple_cnn": {("completed", None)},
        "leaves": {("failed", "failed")},
        "late": {("failed", "failed")},
        "absent": {("failed", "failed")},
    }
    summary = done.stderr[done.stderr.index("8 completed, 12 failed") :]
    assert summary.count(f"{place.directory}/broken.py:3: ModuleNotFoundError: No module named 'no_such_thing'") == 1
    assert summary.count("exited 0 without a result") == 1
    assert (
        summary.count(
            f"{place.directory}/good.py:17: RuntimeError: Exception encountered when calling Broken.call(). only when it trains"
        )
        == 1
    )
    # each attempt imports for itself, in a process of its own, which is gone; nobody else does
    pids = (place.directory / "imported").read_text().split()
    assert len(pids) == len(set(pids)) == 12
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all attempts have ended")


@pytest.mark.exhaustive
def test_a_plugin_that_is_slow_without_end_is_ended_by_the_time_limit(place):
    done = run(place, "hangs", timeout="5s", select="dataset=digits,strategy=scratch")
    assert done.returncode == 3
    assert ended(place) == {"hangs": {("failed", "timeout")}, "simple_cnn": {("completed", None)}}


@pytest.mark.exhaustive
def test_when_everything_there_is_fails_alike_the_run_stops(place):
    done = run(place, "absent", select="model=absent", jobs="1")
    assert done.returncode == 3
    assert "3 cells failed alike within the first minute" in done.stderr
    assert "1 pending" in done.stderr


@pytest.mark.exhaustive  # test_cli_predict.py, and with a process that builds such a network test_training_prediction.py
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_consent_given_on_the_command_line_reaches_what_looks_at_pictures(place, verb):
    assert run(place, "seeing", select="model=seeing,dataset=digits,strategy=scratch,seed=0").returncode == 0
    Image.new("L", (12, 12), 200).save(place.directory / "square.png")
    words = (verb, "model=seeing,strategy=scratch", "square.png")
    refused = place.call(*words)
    assert refused.exit_code == 2
    assert f"bench {verb} model=seeing,strategy=scratch square.png --allow-plugins" in refused.stderr
    done = place.call(*words, "--allow-plugins", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["images"][0]["image"].endswith("square.png")


@pytest.mark.exhaustive
def test_a_package_serves_its_models_to_every_matrix(place):
    site = place.directory / "site"
    about = site / "flower_models-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flower-models\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[benchmark.models]\nflower_net = flower_models:good\n")
    (site / "flower_models.py").write_text(GOOD)
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "mine"\nstrategy = "scratch"\nepochs = 1\n'
        '[model.mine]\narchitecture = "plugin:flower_net"\n'
    )
    environment = {**place.environment, "PYTHONPATH": os.pathsep.join([place.environment["PYTHONPATH"], str(site)])}

    def bench(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmark", *words],
            cwd=place.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = bench("run")
    assert done.returncode == 0, done.stderr
    assert ended(place) == {"mine": {("completed", None)}}
    rows = json.loads(bench("list", "models", "--format", "json").stdout)
    assert rows[-1]["name"] == "plugin:flower_net"
    assert rows[-1]["defined_in"] == "flower-models 1.2"
    assert "of the installed package flower-models 1.2" in bench("doctor").stdout
