"""`bench report --figures`, `bench explain`, and `bench show`, which lists what they drew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_workplace import MATRIX, Workplace, copied_place, finished_place
from figure_samples import images, write_prepared

from benchmark.catalog.cache import PreparedDirectories
from benchmark.scheduling.programs import grad_cam

CELL = "model=simple_cnn,strategy=scratch,dataset=digits,seed=0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    return finished_place(tmp_path_factory.mktemp("finished"), MATRIX)


@pytest.fixture
def place(finished, tmp_path) -> Workplace:
    return copied_place(finished, tmp_path)


def test_report_draws_figures_and_says_where_and_what_is_missing(place):
    done = place.call("report", "--figures", "pictures", "--select", CELL, "--format", "json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    files = [Path(figure["path"]) for figure in document["figures"]]
    there = sorted(path.name for path in (place.directory / "pictures").glob("[!.]*"))
    assert sorted([*(path.name for path in files), "index.html"]) == there
    kinds = {figure["kind"] for figure in document["figures"]}
    assert "curves" in kinds
    # of a single cell there is nothing to compare
    assert not {"time", "heat", "phases", "comparison", "effects"} & kinds
    for path in files:
        assert f"wrote {path}" in done.stderr
    missing = {figure["kind"]: figure["reason"] for figure in document["missing_figures"]}
    assert "bench prepare" in missing["samples"]
    assert "samples of digits" in done.stderr
    assert "bench prepare" in done.stderr


def test_show_lists_the_figures_that_exist(place):
    assert place.document("show", CELL)["figures"] == []
    assert place.call("report", "--figures", "pictures", "--select", "dataset=digits,model=simple_cnn").exit_code == 0
    listed = place.document("show", CELL)["figures"]
    assert {"curves", "comparison", "heat", "time", "phases"} <= {figure["kind"] for figure in listed}
    assert all(Path(figure["path"]).is_file() for figure in listed)
    assert listed[0]["path"] in "".join(place.call("show", CELL).stdout.split())
    Path(listed[0]["path"]).unlink()
    assert listed[0]["path"] not in {figure["path"] for figure in place.document("show", CELL)["figures"]}


def test_a_report_without_figures_says_nothing_of_them(place):
    assert not {"figures", "missing_figures"} & place.document("report").keys()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--figures", "matrix.toml"], "expected a folder"), (["--figures", "x", "--check", "y"], "one of them")],
)
def test_mistakes_with_figures_are_usage_errors(place, arguments, expected):
    done = place.call("report", *arguments)
    assert done.exit_code == 2
    assert expected in done.stderr


def test_figures_can_be_drawn_where_the_register_cannot_be_written(place):
    (place.directory / "results.artifacts" / "figures.json").mkdir()
    done = place.call("report", "--figures", "pictures", "--select", CELL)
    assert done.exit_code == 0
    assert "will not list these pictures" in done.stderr


# ---- explain


@pytest.fixture
def answered(place, monkeypatch) -> list:
    """Cells that say that they are real, and are answered for without a process; gives the questions."""
    import sqlite3

    with sqlite3.connect(place.directory / "results.sqlite") as connection:
        connection.execute("""update cell set spec = replace(spec, '"fake"', '"tensorflow"')""")
    connection.close()
    questions = []

    def explain(question, result):
        questions.append(question)
        image = np.full((8, 8, 1), 9, np.uint8)
        header = {"layer": "conv2", "grid": [2, 2], "class_names": ["a", "b"], "names": ["test:3"]}
        np.savez(
            result,
            allow_pickle=False,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            labels=[1],
            classes=[0],
            probabilities=np.array([[0.9, 0.1]], np.float32),
            image_0=image,
            map_0=np.eye(8, dtype=np.float32),
            truth_map_0=np.zeros((8, 8), np.float32),
        )
        row = {"image": "test:3", "label": "b", "prediction": "a", "confidence": 0.9, "class": "a"}
        return [{**row, "class_confidence": 0.9, "peak": [0, 0]}]

    monkeypatch.setattr(grad_cam, "explain", explain)
    return questions


def test_explain_writes_pictures_beside_the_artifacts_which_show_and_report_find(place, answered):
    document = place.document("explain", CELL, "test:3")
    files = [Path(path) for path in document["figures"]]
    assert [path.suffix for path in files] == [".png", ".svg"]
    assert all(path.is_file() and path.parent.name == "figures" for path in files)
    assert files[0].parent.parent.parent.name == document["cell_id"]
    assert document["images"][0]["prediction"] == "a"
    assert list(answered[0].images) == ["test:3"]
    assert {str(path) for path in files} == {figure["path"] for figure in place.document("show", CELL)["figures"]}
    report = place.document("report", "--figures", "pictures", "--select", CELL)
    assert "explanation" in {figure["kind"] for figure in report["figures"]}


def test_explain_writes_into_the_folder_that_is_named(place, answered):
    done = place.call("explain", CELL, "--output", "here", "--class", "class 7")
    assert done.exit_code == 0, done.stderr
    assert answered[0].class_name == "class 7"
    assert len(list((place.directory / "here").glob("[!.]*"))) == 2
    assert "test:3" in done.stdout
    assert not list(place.directory.glob("results.artifacts/*/*/figures"))


def test_explain_takes_the_prepared_dataset_of_the_cell_where_there_is_one(place, answered):
    place.call("explain", CELL)
    assert answered[0].data_directory is None
    found = images(side=16)
    cell = answered[0].trained.cell
    data = replace(found.data, **{key: getattr(cell.data, key) for key in ("source", "image_size", "color")})
    write_prepared(PreparedDirectories(place.directory / "cache").of(data), found)
    place.call("explain", CELL)
    assert answered[1].data_directory is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ffff"], "no cell of"),
        (["model=simple_cnn"], "expected one cell"),
        ([CELL, "nowhere.png"], "nothing at 'nowhere.png'"),
        ([CELL, *(f"test:{number}" for number in range(40))], "at most 24"),
        ([CELL, "--output", "matrix.toml"], "expected a folder"),
    ],
)
def test_mistakes_with_explain_name_their_cure(place, answered, arguments, expected):
    done = place.call("explain", *arguments)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert not answered


def test_a_rehearsal_cannot_be_explained(place):
    done = place.call("explain", CELL)
    assert done.exit_code == 2
    assert "its backend (fake) trains no network" in done.stderr


REAL = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"

[defaults]
epochs = 2
train_examples = 300
test_examples = 60
"""


@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_trained_cell_is_explained_and_drawn(tmp_path):
    place = Workplace(tmp_path)
    place.write(REAL)
    assert place.call("run").exit_code == 0
    explained = place.run("explain", "seed=0", "--format", "json")
    assert explained.returncode == 0, explained.stderr
    document = json.loads(explained.stdout)
    assert len(document["images"]) == 6
    right = [image["label"] == image["prediction"] for image in document["images"]]
    assert 3 <= sum(right) < 6
    drawn = json.loads(place.run("report", "--figures", "pictures", "--format", "json").stdout)
    assert not drawn["missing_figures"]
    kinds = {figure["kind"] for figure in drawn["figures"]}
    assert kinds == {"samples", "labels", "curves", "confusion", "mistakes", "explanation"}
    shown = json.loads(place.run("show", "seed=0", "--format", "json").stdout)
    assert {figure["kind"] for figure in shown["figures"]} == kinds
