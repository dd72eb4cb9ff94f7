from __future__ import annotations

import json

import pytest

from benchmark.catalog.bundled_files import FAMILIES
from benchmark.matrix.listing import list_definitions, list_presets


@pytest.mark.parametrize("family", [*FAMILIES, "preset"])
def test_everything_with_a_name_has_a_summary_and_the_same_facts(family):
    rows = list_presets() if family == "preset" else list_definitions(family)
    assert len({row["name"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert row["summary"]
        assert row.keys() == rows[0].keys()
        assert list(row)[:2] == ["name", "summary"]
        assert None not in [value for key, value in row.items() if key != "extends"]
    assert json.loads(json.dumps(rows)) == rows


def test_known_facts_are_listed():
    datasets = {row["name"]: row for row in list_definitions("dataset")}
    assert (datasets["digits"]["train_examples"], datasets["digits"]["test_examples"]) == (1437, 360)
    assert datasets["digits_high"]["class_names"] == "5, 6, 7, 8, 9"
    models = {row["name"]: row for row in list_definitions("model")}
    assert models["simple_cnn"]["minimum_image_size"] == 10
    assert models["resnet50"]["imagenet_weights"] is True
    strategies = {row["name"]: row for row in list_definitions("strategy")}
    assert strategies["two_phase"]["train"] == ["head", "last:30"]
    assert strategies["from_low_digits"]["weights"] == "parent: dataset = digits_low, strategy = scratch"


def test_definitions_of_a_matrix_are_listed_too_mistakes_and_all(tmp_path):
    path = tmp_path / "matrix.toml"
    path.write_text(
        '[dataset.few]\nextends = "digits"\nclasses = [0, 1, 77]\n[dataset.odd]\nsource = "what:x"\n'
        '[model.wide]\nextends = "simple_cnn"\nfilters = [4]\n[model.none]\nfilters = ["x"]\n[model.bare]\narchitecture = "vgg16"\n'
        '[strategy.mine]\nextends = "scratch"\nepochs = 3\n[strategy.lost]\nextends = "nobody"\nweights = 3\n'
    )
    for family in FAMILIES:
        rows = list_definitions(family, str(path))
        assert all(row.keys() == rows[0].keys() for row in rows)
        assert sum(row["defined_in"] == str(path) for row in rows) >= 2
    assert next(row for row in list_definitions("model", str(path)) if row["name"] == "wide")["parameters"].startswith(
        "filters = [4]"
    )
