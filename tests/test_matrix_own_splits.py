"""`validation = "source"`, `groups` and tables of labels in a matrix: planned, left out with the reason, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from own_data import classes, draw
from test_matrix_own import plan, problems

HEAD = """\
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"
{axes}
[defaults]
{defaults}
[dataset.own]
source = "{source}"
image_size = 16
color = "grey"
{own}
"""


def text(source="folder:own", axes="", defaults="", own="") -> str:
    return HEAD.format(source=source, axes=axes, defaults=defaults, own=own)


@pytest.fixture
def folder(tmp_path):
    for part in ("train", "val", "test"):
        classes(tmp_path / "own" / part, {"a": 3, "b": 3})
    return tmp_path


@pytest.fixture
def table(tmp_path):
    for number in range(8):
        draw(tmp_path / "own" / f"{number}.png", number)
    return tmp_path


def rows(table, labels, split=("train", "val", "test", "test")):
    lines = [f"{number}.png,{labels[number % len(labels)]},{split[number % 4]},p{number}" for number in range(8)]
    (table / "own" / "labels.csv").write_text("file,label,split,patient\n" + "\n".join(lines))


def test_the_sources_own_validation_split_is_another_cell_that_keeps_the_best_epoch(folder):
    (split,) = plan(folder, text()).cells
    (own,) = plan(folder, text(own='validation = "source"')).cells
    assert (split.data.validation, own.data.validation) == ("split", "source")
    assert own.cell_id != split.cell_id
    assert (own.keep, own.data.validation_fraction) == ("best", 0.0)
    (other,) = plan(folder, text(defaults="validation_fraction = 0.3", own='validation = "source"')).cells
    assert other.cell_id == own.cell_id


@pytest.mark.parametrize(
    ("changes", "validation"),
    [
        ({"defaults": 'validation = "source"', "own": "validation_fraction = 0.2"}, "split"),
        ({"defaults": "validation_fraction = 0.2", "own": 'validation = "source"'}, "source"),
        ({"defaults": 'validation = "source"', "axes": "validation_fraction = [0.2]"}, "split"),
        ({"own": "validation_fraction = 0.2", "axes": 'validation = ["source"]'}, "source"),
    ],
)
def test_the_stronger_place_says_where_the_validation_set_comes_from(folder, changes, validation):
    (cell,) = plan(folder, text(**changes)).cells
    assert cell.data.validation == validation


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"defaults": 'validation = "source"\nvalidation_fraction = 0.2'}, "defaults.validation_fraction"),
        ({"defaults": 'validation = "source"\nfolds = 3\nfold = 0'}, "defaults.folds"),
        ({"own": 'validation = "source"\ngroups = "patient"'}, "dataset.own.groups"),
        ({"axes": 'validation = ["split", "source"]\nvalidation_fraction = [0.1, 0.2]'}, "matrix.validation_fraction"),
    ],
)
def test_the_sources_validation_split_beside_another_in_one_place_is_refused(folder, changes, place):
    message = problems(folder, text(**changes))
    key = place.rpartition(".")[2]
    assert f'{place}: expected no `{key}` beside validation = "source" in one place' in message


@pytest.mark.parametrize("source", ["folder:own", "digits", "tfds:mnist", "npz:own.npz"])
def test_a_source_without_a_validation_split_of_its_own_is_left_out_with_the_reason(tmp_path, source):
    for part in ("train", "val"):  # which is the test set, where there is no other
        classes(tmp_path / "own" / part, {"a": 3, "b": 3})
    np.savez(tmp_path / "own.npz", x=np.zeros((8, 16, 16), np.uint8), y=np.arange(8) % 2)
    own = "num_classes = 2" if source.startswith("npz") else ""
    planned = plan(tmp_path, text(source, defaults='validation = "source"', own=own))
    assert not planned.cells
    (left_out,) = planned.left_out
    assert left_out.reason.startswith(f'validation = "source", but {source} has no validation split')


def test_archives_and_built_datasets_tell_whether_they_have_one(tmp_path, monkeypatch):
    arrays = {
        f"{kind}_{part}": np.zeros((4, 16, 16) if kind == "x" else 4, np.uint8)
        for kind in "xy"
        for part in ("train", "val", "test")
    }
    np.savez(tmp_path / "own.npz", **arrays)
    wish = {"defaults": 'validation = "source"', "own": "num_classes = 2"}
    assert plan(tmp_path, text("npz:own.npz", **wish)).cells
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    assert plan(tmp_path, text("tfds:mine", **wish)).cells  # nothing is known of it yet
    record = tmp_path / "tfds" / "mine" / "1.0.0" / "dataset_info.json"
    record.parent.mkdir(parents=True)
    for names, cells in ((["train", "test"], 0), (["train", "validation"], 0), (["train", "validation", "test"], 1)):
        record.write_text(json.dumps({"splits": [{"name": name, "shardLengths": ["4"]} for name in names]}))
        assert len(plan(tmp_path, text("tfds:mine", **wish)).cells) == cells


def test_a_table_of_labels_tells_classes_and_whether_images_have_several(table):
    rows(table, ["a", "b"])
    (cell,) = plan(table, text(own='labels_file = "labels.csv"')).cells
    assert (cell.data.num_classes, cell.data.multi_label) == (2, False)
    rows(table, ["a", "b;c", ""])
    (several,) = plan(table, text(own='labels_file = "labels.csv"')).cells
    assert (several.data.num_classes, several.data.multi_label) == (3, True)
    assert several.cell_id != cell.cell_id


def test_a_definition_that_extends_another_may_have_another_table(table):
    rows(table, ["a", "b"])
    (table / "own" / "more.csv").write_text(
        "file,label\n" + "".join(f"{number}.png,{'abc'[number % 3]}\n" for number in range(8))
    )
    more = '[dataset.more]\nextends = "own"\nlabels_file = "more.csv"\n'
    cells = plan(
        table, text(axes="", own='labels_file = "labels.csv"').replace('"own"', '["own", "more"]', 1) + more
    ).cells
    assert [cell.data.num_classes for cell in cells] == [2, 3]


@pytest.mark.parametrize(
    ("labels", "own", "expected"),
    [
        (["a", ""], "", "own/labels.csv, line 3: expected a label, found none"),
        (["a"], "", "dataset.own.source: expected at least two classes in the table of labels"),
        (["a", "b"], "num_classes = 3", "dataset.own.num_classes: expected 2, the classes in the table of labels"),
        (["a", "b"], 'class_names = ["a", "x"]', "line 3: expected labels of class_names (a, x), found 'b'"),
        (["a;b", "b"], "multi_label = false", "line 2: expected one label beside multi_label = false, found 2"),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_refused_by_the_plan(table, labels, own, expected):
    rows(table, labels)
    assert expected in problems(table, text(own=f'labels_file = "labels.csv"\n{own}'))


def test_an_absent_table_is_named_unless_all_is_stated(table):
    assert "expected a table of labels labels.csv of the images" in problems(
        table, text(own='labels_file = "labels.csv"')
    )
    (cell,) = plan(table, text(own='labels_file = "labels.csv"\nnum_classes = 2')).cells
    assert cell.data.labels_file == "labels.csv"


def test_groups_that_no_table_has_are_left_out_with_the_reason(table):
    rows(table, ["a", "b"])
    wish = 'labels_file = "labels.csv"'
    assert plan(table, text(defaults='groups = "Patient"', own=wish)).cells[0].data.groups == "Patient"
    (left_out,) = plan(table, text(defaults='groups = "pateint"', own=wish)).left_out
    assert (
        left_out.reason
        == "groups = \"pateint\" is no column of its table, which has file, label, split, patient; did you mean 'patient'?"
    )
    (left_out,) = plan(table, text("digits", defaults='groups = "patient"')).left_out
    assert "digits has no table with such a column" in left_out.reason
    assert plan(table, text("digits", defaults="groups = false")).cells


def test_a_table_of_labels_is_for_folders_alone(table):
    np.savez(table / "own.npz", x=np.zeros((8, 16, 16), np.uint8), y=np.arange(8) % 2)
    assert "expected no `labels_file`, which is for folder:PATH" in problems(
        table, text("npz:own.npz", own='num_classes = 2\nlabels_file = "labels.csv"')
    )
