"""An environment with PyTorch and without TensorFlow, as `requirements/torch.txt` makes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from test_torch_modules import followed, needs_torch

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("tensorflow", "tensorflow_datasets", "tensorflow_metadata", "tf_keras", "importlib_resources")


def test_the_requirements_are_those_of_the_package_but_for_tensorflow():
    lines = (ROOT / "requirements" / "torch.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {one for one in project["dependencies"] if not one.startswith(("tensorflow", "importlib_resources"))}
    assert listed == ours | set(project["optional-dependencies"]["torch"])


@pytest.fixture
def python(tmp_path):
    """An interpreter that has everything that this one has, but for TensorFlow."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(ABSENT):
            (site / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "benchmark", tmp_path / "benchmark")
    return home / "bin" / "python"


@needs_torch
@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(300)
def test_cells_of_pytorch_run_without_tensorflow(python, tmp_path):
    def bench(*arguments):
        return subprocess.run(
            [python, "-m", "benchmark", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BENCH_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip

    missing = subprocess.run([python, "-c", "import tensorflow"], capture_output=True, check=False)
    assert missing.returncode, "TensorFlow is there"
    (tmp_path / "matrix.toml").write_text(followed(tmp_path)[0])
    done = bench("run", "--allow-plugins", "--set", "epochs=2")
    assert done.returncode == 0, done.stderr
    assert "left out" in bench("plan").stdout + bench("plan").stderr
    (row,) = json.loads(bench("query", "select cell_id, framework, status from results", "--format", "json").stdout)
    assert (row["framework"], row["status"]) == ("torch", "completed")
    for words in (("predict", row["cell_id"], "one.png"), ("explain", row["cell_id"])):
        (tmp_path / "make.py").write_text("from PIL import Image\nImage.new('L', (20, 20), 90).save('one.png')")
        subprocess.run([python, "make.py"], cwd=tmp_path, check=True)
        told = bench(*words, "--allow-plugins")
        assert told.returncode == 0, (words, told.stderr)
    assert bench("doctor").returncode == 0
