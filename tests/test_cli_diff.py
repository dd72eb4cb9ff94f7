"""`bench diff`: what one selection fixed and broke, as text, JSON, CSV and a picture."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace
from figure_samples import images, write_prepared
from results_samples import DATA, MACHINE, begin, cell, epoch, predictions

from benchmark.catalog.cache import PreparedDirectories
from benchmark.events import Completed, Evaluated, Launched, ModelBuilt, Started
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database

NAMES = ("cat", "dog", "bird with a long name, as people give them")
LABELS = [number % 3 for number in range(12)]


def answers(wrong: Sequence[int]) -> list[int]:
    return [(label + 1) % 3 if image in wrong else label for image, label in enumerate(LABELS)]


def fill(place: Workplace, wrong: Mapping[str, Sequence[Sequence[int]]], *, splits=("test", "validation"), print_="f"):
    """Adds a completed cell for each seed of each strategy, which is wrong about the images named."""
    path = place.directory / "results.sqlite"
    with lock_database(path), open_database(path, mode="write") as opened:
        cells = [
            cell(seed, cell_id=hashlib.sha256(f"{name} {seed}".encode()).hexdigest()[:20], strategy=name)
            for name, seeds in wrong.items()
            for seed in range(len(seeds))
        ]
        recorder, run_id = begin(opened, cells)
        for one in cells:
            number = recorder.start_attempt(run_id, one.cell_id, MACHINE).attempt_id
            recorder.record(number, Launched(101, 102, 7777))
            recorder.record(number, Started("2.21", "3.15", 1, "CPU"))
            recorder.record(number, ModelBuilt(9, 9, 1293, 144, 12, print_ * 64, None, "float32", 0.5))
            recorder.record(number, epoch(1))
            recorder.record(number, Evaluated(0.9, 0.3, 1, 0.2))
            recorder.record(number, Completed(1, 1.0, 2.0))
            said = answers(wrong[one.strategy][one.seed])
            stored = [predictions(LABELS, said, NAMES, split=split) for split in splits]
            recorder.finish_attempt(number, state="completed", predictions=stored)
        recorder.finish_run(run_id, "completed", 0)


@pytest.fixture
def place(tmp_path) -> Workplace:
    place = Workplace(tmp_path)
    fill(place, {"scratch": [[1, 2, 5]] * 3, "better": [[2, 7], [2, 7], [2]], "other": [[]] * 3})
    return place


def diff(place: Workplace, *more: str, b: str = "better"):
    return place.call("diff", "strategy=scratch", f"strategy={b}", "--machine", MACHINE, *more)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_document_holds_what_was_fixed_broken_missed_and_doubted(place, split):
    document = place.document("diff", "strategy=scratch", "strategy=better", "--machine", MACHINE, "--split", split)
    shape = {name: [(each["image"], each["label"]) for each in document[name]] for name in ("fixed", "broken")}
    assert shape == {"fixed": [(1, 1), (5, 2)], "broken": [(7, 1)]}
    assert [document["broken"][0][name] for name in ("a_right", "b_right", "n")] == [3, 1, 3]
    assert [each["image"] for each in document["missed_by_all"]] == [2]
    assert [each["image"] for each in document["doubted_labels"]] == [2]
    assert document["churn"] == pytest.approx(2 * (1 / 12) / 6)
    assert (document["split"], document["images"]) == (split, 12)


def test_the_first_sentence_says_how_much_is_luck(place):
    done = diff(place)
    assert done.exit_code == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(
        "B fixed 2 of 12 test images and broke 1 by most of 3 seeds; seeds alone would change about"
    )
    assert "p = 0.1, never below 0.1" in first
    assert "doubted by all models" in done.stdout
    assert "bird with a long name" in done.stdout


@pytest.mark.parametrize("width", [40, 80])
def test_the_answer_fits_the_terminal(place, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    done = diff(place)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= width


def test_csv_has_a_row_for_each_image_and_names_its_list(place):
    rows = list(csv.DictReader(io.StringIO(diff(place, "--format", "csv").stdout)))
    assert [(row["list"], row["image"]) for row in rows] == [
        ("fixed", "1"), ("fixed", "5"), ("broken", "7"), ("missed_by_all", "2"), ("doubted_labels", "2"),
    ]  # fmt: skip
    assert rows[0]["label_name"] == "dog"


def test_where_nothing_changes_nothing_is_listed(place):
    document = place.document("diff", "strategy=scratch", "strategy=scratch", "--machine", MACHINE)
    assert document["fixed"] == document["broken"] == []
    assert document["p"] is None
    assert any("left out of the differences" in note for note in document["notes"])
    assert diff(place, b="scratch").stdout.count(": none") == 2


def test_what_cannot_be_compared_is_refused_in_one_message(place):
    fill(place, {"elsewhere": [[]] * 3}, print_="e")
    fill(place, {"unvalidated": [[]] * 3}, splits=["test"])
    for done, expected in (
        (diff(place, b="elsewhere"), "not comparable: other data_fingerprint ffffffffff against eeeeeeeeee"),
        (diff(place, "--split", "validation", b="unvalidated"), "bench run --rerun --select"),
        (diff(place, b="nobody"), "strategy is"),
    ):
        assert (done.exit_code, done.stdout) == (2, "")
        assert expected in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert diff(place, b="unvalidated").exit_code == 0


def test_a_database_from_before_validation_predictions_still_reads(tmp_path):
    place = Workplace(tmp_path)
    shutil.copy(ROOT / "tests" / "fixtures" / "schema" / "v1.sqlite", tmp_path / "results.sqlite")
    done = place.call("diff", "strategy=scratch", "strategy=scratch", "--machine", MACHINE)
    assert done.exit_code == 0, done.stderr
    assert "by a single seed: these seeds cannot tell whether that is more than chance" in done.stdout
    done = place.call("diff", "strategy=scratch", "strategy=scratch", "--machine", MACHINE, "--split", "validation")
    assert done.exit_code == 2
    assert "no validation predictions" in done.stderr


def test_the_images_are_drawn_where_they_are_prepared(place):
    done = diff(place, "--figures", "pictures", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert "note: not drawn" in done.stderr
    assert "bench prepare" in done.stderr
    prepared = replace(images(3, side=16), data=DATA, class_names=NAMES)
    write_prepared(PreparedDirectories(place.directory / "cache").of(DATA), prepared)
    document = place.document(
        "diff", "strategy=scratch", "strategy=better", "--machine", MACHINE, "--figures", "pictures"
    )
    files = [Path(name) for name in document["figures"]]
    assert {file.suffix for file in files} == {".png", ".svg"}
    drawing = (place.directory / files[1]).read_text()
    assert "B fixed" in drawing
    assert "B broke" in drawing
    assert "test:7" in drawing
