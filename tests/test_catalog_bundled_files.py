from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmark.catalog.bundled_files import (
    FAMILIES,
    definitions_text,
    preset_names,
    preset_plugin,
    preset_summary,
    preset_text,
)
from benchmark.errors import NotFoundError
from benchmark.matrix.listing import list_definitions
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind

ROOT = Path(__file__).resolve().parent.parent
MACHINE = MachineKind(gpus=0, cores=2)


def test_the_matrix_of_the_repository_is_the_default_preset():
    assert (ROOT / "matrix.toml").read_text(encoding="utf-8") == preset_text("default")


def plan_of(name: str):
    with tempfile.TemporaryDirectory() as folder:
        if plugin := preset_plugin(name):
            (Path(folder) / plugin[0]).write_text(plugin[1])
        return load_matrix(f"{folder}/{name}.toml", preset_text(name), machine_kind=MACHINE)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_planned_without_a_complaint(name):
    plan = plan_of(name)
    assert plan.cells
    assert not plan.left_out
    assert not [note for note in plan.notes if "matches no" in note or "merged" in note]
    assert preset_summary(name)
    assert "bench prepare" in preset_text(name) or {cell.data.source for cell in plan.cells} == {"digits"}


def test_presets_are_listed_with_the_default_first_and_all_second():
    assert preset_names() == (
        "default",
        "all",
        "cifar10-four-models",
        "cpu-cnns",
        "resnet18-transfer",
        "resnet18-transfer-lightning",
        "resnet50-v1-v4",
        "vgg-resnet",
    )


def test_the_preset_of_all_has_every_cell_and_comparison_of_the_others():
    together = plan_of("all")
    # a plug-in stands in no matrix beside others: it needs consent
    others = [plan_of(name) for name in preset_names() if name not in ("default", "all") and not preset_plugin(name)]
    assert {cell.cell_id for cell in together.cells} == {cell.cell_id for plan in others for cell in plan.cells}
    assert set(together.report.transfer) == {item for plan in others for item in plan.report.transfer}
    assert set(together.report.progression) == {item for plan in others for item in plan.report.progression}


def test_the_cnn_of_the_cpu_preset_has_the_published_shape():
    cell = next(cell for cell in plan_of("cpu-cnns").cells if cell.dataset == "mnist")
    assert (cell.data.image_size, cell.data.channels, cell.threads, cell.labels) == (28, 1, 4, "one_hot")
    assert cell.architecture.name == "simple_cnn"
    (stage,) = cell.stages
    assert (stage.epochs, stage.batch_size) == (5, 64)


def test_the_default_tour_shows_what_the_tool_is_for():
    plan = load_matrix("matrix.toml", preset_text("default"), machine_kind=MACHINE)
    assert {cell.model for cell in plan.cells} >= {"simple_cnn", "resnet18"}
    assert {cell.seed for cell in plan.cells} == {0, 1, 2}
    assert {cell.data.source for cell in plan.cells} == {"digits"}
    assert {cell.threads for cell in plan.cells} == {1}
    assert any(cell.parent_cell_id for cell in plan.cells)
    assert plan.report.progression == (("v1", "v2", "v3", "v4"),)


def test_the_preset_in_lightning_compares_what_its_sibling_does():
    ours, theirs = plan_of("resnet18-transfer-lightning"), plan_of("resnet18-transfer")
    assert len(ours.cells) == len(theirs.cells)
    assert {cell.architecture.framework for cell in ours.cells} == {"lightning"}
    figures = [[row.figures for row in table.rows] for table in ours.report.published]
    assert figures == [[row.figures for row in table.rows] for table in theirs.report.published]


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(NotFoundError, match="did you mean 'default'"):
        preset_text("defualt")
    for name in ("../datasets", "/etc/passwd", "", "x" * 1000):
        with pytest.raises(NotFoundError, match="bench list presets"):
            preset_text(name)


@pytest.mark.parametrize("family", FAMILIES)
def test_definitions_of_every_family_come_with_bench(family):
    assert f"[{family}." in definitions_text(family)


def test_every_definition_can_be_used():
    for key in FAMILIES:
        rows = list_definitions(key)
        names = {"dataset": "digits", "model": "simple_cnn", "strategy": "scratch", key: [row["name"] for row in rows]}
        text = "[matrix]\n" + "\n".join(f"{name} = {value!r}" for name, value in names.items())
        plan = load_matrix("m", text, machine_kind=MACHINE)
        assert len(
            {*(getattr(cell, key) for cell in plan.cells), *(getattr(out, key) for out in plan.left_out)}
        ) == len(rows)
