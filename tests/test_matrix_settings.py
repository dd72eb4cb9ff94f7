from __future__ import annotations

import dataclasses
import json

import pytest

from benchmark.matrix.cell import Cell, Data, Stage, defaults_of
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.problems import INVALID, Problems
from benchmark.matrix.settings import DEFAULTS, SETTINGS, cell_settings, json_value, names_of

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "two"
[strategy.two]
[[strategy.two.stage]]
epochs = 3
augment = { flip = "both", zoom = 0.1 }
[[strategy.two.stage]]
epochs = 2
early_stopping = 4
"""


@pytest.fixture
def cell() -> Cell:
    return load_matrix("m", MATRIX, machine_kind=MachineKind(gpus=0, cores=2)).cells[0]


def test_every_field_of_a_cell_is_a_setting_or_comes_from_a_definition():
    fields = {field.name for kind in (Cell, Data, Stage) for field in dataclasses.fields(kind)}
    definitions = {
        "cell_id", "dataset", "model", "strategy", "strategy_label", "data", "architecture", "weights", "stages",
        "device_kind", "source", "classes", "num_classes", "location", "test_fraction", "class_names", "version",
        "background", "labels_file", "image_column", "label_column", "multi_label", "code", "file",
        "loss_code", "loss_file", "metric_codes", "metric_files", "callback_codes", "callback_files",
    }  # fmt: skip
    assert fields - definitions == set(SETTINGS) - {"dropout"}
    assert names_of("stage") == {field.name for field in dataclasses.fields(Stage)} - definitions


def test_the_default_of_a_setting_is_that_of_its_field():
    for kind in (Cell, Data, Stage):
        of_fields = {name: default for name, default in defaults_of(kind).items() if name in SETTINGS}
        assert {name: DEFAULTS[name] for name in of_fields} == of_fields


def test_defaults_are_values_of_their_kind():
    for name, default in DEFAULTS.items():
        written = {None: False, (): False}.get(default, default)
        if default is None and hasattr(SETTINGS[name].kind, "word"):
            written = SETTINGS[name].kind.word
        problems = Problems()
        assert SETTINGS[name].kind.read(written, (name,), problems) is not INVALID
        assert not problems


def test_the_flat_record_has_every_setting_and_is_json(cell):
    record = cell_settings(cell)
    assert set(SETTINGS) <= set(record)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_setting_on_which_stages_disagree_is_a_list_with_an_entry_for_each(cell):
    record = cell_settings(cell)
    assert record["epochs"] == [3, 2]
    assert record["batch_size"] == 64
    assert record["augment"] == [{"flip": "both", "zoom": 0.1}, None]
    assert record["early_stopping"] == [None, {"monitor": "val_loss", "patience": 4, "min_delta": 0.0}]
    assert record["reduce_learning_rate"] is None
    assert record["weights"] == "none"


def test_plain_values_are_json_safe():
    assert json_value(()) is None
    assert json_value((("zoom", 0.1),)) == {"zoom": 0.1}
    assert json_value("adam") == "adam"


def test_a_cell_survives_the_round_trip_through_json(cell):
    assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell
