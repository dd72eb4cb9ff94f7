"""`bench prepare` makes datasets ready as a step of its own."""

from __future__ import annotations

import pytest
from cli_workplace import Workplace

MATRIX = """
[matrix]
dataset = ["{dataset}"]
model = "simple_cnn"
strategy = "scratch"
"""


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def test_datasets_are_prepared_once(place):
    place.write(MATRIX.format(dataset="digits"))
    done = place.run("prepare")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "preparing digits, 16 pixels, grey\nready: digits, 16 pixels, grey\n1 dataset ready\n"
    assert len(list(place.directory.glob("cache/prepared/digits-16-grey-*/meta.json"))) == 1
    assert place.call("prepare").stderr == "1 dataset ready\n"


def test_a_backend_that_reads_nothing_needs_nothing(place):
    place.write(MATRIX.format(dataset="mnist"))
    done = place.call("prepare", "--set", "backend=fake")
    assert (done.exit_code, done.stderr) == (0, "0 datasets ready\n")


def test_what_cannot_be_had_is_named_with_its_cure(place):
    place.write(MATRIX.format(dataset="mnist"))
    done = place.call("prepare", "--offline", TFDS_DATA_DIR=str(place.directory / "tfds"))
    assert done.exit_code == 2
    assert "bench prepare" in done.stderr
    assert "--manual-dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert '{"error"' not in done.stderr


def test_a_folder_that_is_not_there_is_refused(place):
    place.write(MATRIX.format(dataset="mnist"))
    assert place.call("prepare", "--manual-dir", "nowhere").exit_code == 2
