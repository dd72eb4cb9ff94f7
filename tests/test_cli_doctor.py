"""`bench doctor` looks and changes nothing."""

from __future__ import annotations

import json
import re
import sys

import pytest
from cli_workplace import Workplace

from benchmark import machine
from benchmark.cli import doctor_checks


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def test_everything_is_looked_at(place, tmp_path_factory, monkeypatch):
    # a home that can be written, whosever tests these are
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("KERAS_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    findings = place.document("doctor")
    assert {finding["area"] for finding in findings} == {
        "machine",
        "versions",
        "shell",
        "files",
        "datasets",
        "weights",
        "plug-ins",
    }
    names = {finding["name"] for finding in findings}
    assert {"processor", "memory", "keras", "sqlite", "importlib_resources", "digits", "mnist"} <= names
    assert not list(place.directory.iterdir())


def test_what_must_be_cured_ends_with_2(place, monkeypatch):
    monkeypatch.setattr(machine, "package_versions", lambda _names: {"keras": "3.12.0"})
    done = place.call("doctor")
    assert done.exit_code == 2
    assert "pip install 'keras>=3.13.2'" in done.stdout
    assert "pip install importlib_resources (tensorflow-datasets imports it without declaring it)" in done.stdout


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        ("3.6.23", True), ("3.7.0", False), ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False),
        ("3.50.6", False), ("3.50.7", True), ("3.51.2", False), ("3.51.3", True), ("3.52.0", True), ("4.0", True),
    ],
)  # fmt: skip
def test_the_wal_reset_bug_is_known_by_version(version, sound):
    assert (doctor_checks.sqlite_finding(version).verdict == "good") is sound


def test_versions_are_compared_by_number():
    assert doctor_checks.numbers("3.15.1rc0") == (3, 15, 1)
    assert doctor_checks.numbers("3.9") < doctor_checks.numbers("3.13.2")


def test_datasets_and_weights_that_are_there_are_found(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "tfds/mnist/3.0.1").mkdir(parents=True)
    (tmp_path / "tfds/mnist/3.0.1/dataset_info.json").touch()
    (tmp_path / "keras/models").mkdir(parents=True)
    (tmp_path / "keras/models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(b"x" * 2048)
    verdicts = {finding.name: finding.verdict for finding in doctor_checks.examine("results.sqlite")}
    assert verdicts["mnist"] == "good"
    assert verdicts["cifar10"] == "missing"
    assert verdicts["vgg16"] == "good"
    assert verdicts["resnet50 (imagenet)"] == "missing"


def test_what_workers_do_not_see_of_the_shell_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setattr(machine, "environment_at_start", lambda: {"LD_LIBRARY_PATH": "/opt/cuda"})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text("{}")
    findings = {finding.name: finding for finding in doctor_checks.examine("results.sqlite") if finding.area == "shell"}
    assert "TF_ENABLE_ONEDNN_OPTS" in findings["ignored variables"].value
    assert findings["libraries"].value == "LD_LIBRARY_PATH=/opt/cuda"
    assert "not read" in findings["keras.json"].cure


def test_doctor_imports_no_tensorflow(place):
    done = place.run("doctor", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "| tensorflow" not in done.stderr
    assert "keras.src" not in done.stderr


def test_each_command_of_the_matrix_is_looked_for_and_says_whether_it_may_run(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    place.write("", "train.py")
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = ["known", "new", "absent"]\nstrategy = "scratch"\n'
        '[model.known]\ncommand = ["python", "train.py"]\n[model.new]\ncommand = ["python", "train.py", "{seed}"]\n'
        '[model.absent]\ncommand = ["no-such-program"]\n'
    )
    digest = re.findall(r'sha256 = "(\w+)"', place.call("run", "--select", "model=known").stderr)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "trusted.toml").write_text(f'[[plugin]]\nsha256 = "{digest[0]}"\n')
    done = place.call("doctor", "--format", "json")
    found = {finding["name"]: finding for finding in json.loads(done.stdout) if finding["area"] == "commands"}
    assert {name: finding["verdict"] for name, finding in found.items()} == {
        "known": "good",
        "new": "missing",
        "absent": "bad",
    }
    assert done.exit_code == 2
    assert found["known"]["value"] == f"{sys.executable}, trusted"
    assert "there is no program no-such-program on PATH" in found["absent"]["cure"]
