"""From which size on images stay compressed, and what is said of that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cli_workplace import Workplace
from test_compressed_images import two_classes

from benchmark.catalog import prepared_size_limit
from benchmark.catalog.prepared_size_limit import why_too_large
from benchmark.errors import UserError
from benchmark.training.programs.prepare import prepare


def test_a_quarter_of_the_free_disk_is_the_limit_as_well(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_PREPARED_GIB", raising=False)
    monkeypatch.setattr(prepared_size_limit.shutil, "disk_usage", lambda _: SimpleNamespace(free=4000))
    assert why_too_large(1000, tmp_path) is None
    assert "more than a quarter of the 3.9 KiB that are free there" in why_too_large(1001, tmp_path / "not" / "there")
    assert why_too_large(1001, tmp_path, held_bytes=4) is None
    assert "more than the 32 GiB of BENCH_PREPARED_GIB" in why_too_large(2**35 + 1, tmp_path)


@pytest.mark.parametrize("text", ["much", "", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setenv("BENCH_PREPARED_GIB", text)
    with pytest.raises(UserError, match="BENCH_PREPARED_GIB: expected how many GiB of decoded images"):
        why_too_large(1, tmp_path)


MATRIX = """
[matrix]
dataset = ["digits", "own"]
model = "simple_cnn"
strategy = "scratch"
[dataset.own]
source = "folder:own"
image_size = 12
color = "rgb"
"""


def test_the_plan_says_what_will_be_decoded_while_training_and_why(tmp_path, monkeypatch):
    two_classes(tmp_path / "own")
    place = Workplace(tmp_path)
    place.write(MATRIX)
    said = "its images stay compressed and are decoded while training, because decoded they would take"
    assert said not in place.call("plan").output
    monkeypatch.setenv("BENCH_PREPARED_GIB", "0.000008")
    assert f"folder:own: {said}" not in place.call("plan").output
    assert f"digits: {said} 449 KiB, more than the 8e-06 GiB of BENCH_PREPARED_GIB" in place.call("plan").output
    monkeypatch.setenv("BENCH_PREPARED_GIB", "0.000001")
    assert f"folder:own: {said}" in place.call("plan").output
    prepare("digits", 16, "grey", tmp_path / "cache")
    assert f"digits: {said} 449 KiB" in place.call("plan").output


@pytest.mark.parametrize("verb", ["plan", "run", "prepare"])
def test_commands_refuse_a_limit_that_is_no_number_before_anything_is_done(tmp_path, monkeypatch, verb):
    two_classes(tmp_path / "own")
    place = Workplace(tmp_path)
    place.write(MATRIX)
    monkeypatch.setenv("BENCH_PREPARED_GIB", "much")
    done = place.call(verb)
    assert (done.exit_code, "BENCH_PREPARED_GIB: expected" in done.stderr) == (2, True)
    assert not (tmp_path / "results.sqlite").exists()
