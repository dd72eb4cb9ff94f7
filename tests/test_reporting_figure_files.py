"""The figures of a report: which are drawn, what is said of the others, and the files that they become."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from figure_samples import curve, images, predictions, write_prepared

from benchmark import layout
from benchmark.catalog.cache import PreparedDirectories
from benchmark.errors import StorageError, UserError
from benchmark.matrix.report_spec import TransferSpec
from benchmark.reporting.figures.drawing.figure_files import file_stem, make_folder, save, slug
from benchmark.reporting.figures.figure_index import add_figures, figures_of
from benchmark.reporting.figures.figure_sources import FigureSources
from benchmark.reporting.figures.folder_page import write_page
from benchmark.reporting.figures.groups.curves import draw_curves
from benchmark.reporting.figures.groups.forecast_accuracy import Forecast, draw_forecasts
from benchmark.reporting.figures.report_figures import draw_figures, plan_figures
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.table import FigureFile
from benchmark.reporting.tables.transfer import transfer_pairs
from tests.reporting_samples import row, tour


def sources(tmp_path, **changes):
    rows = [each for each in tour()[0] if each["dataset"] == "digits_high"]
    groups = group_cells(rows)
    found = images(side=16)
    write_prepared(PreparedDirectories(tmp_path / "cache").of(found.data), found)
    usual = {
        "groups": groups,
        "transfers": transfer_pairs(groups, [TransferSpec("from_low_digits", "scratch", "digits_high", None)]),
        "epochs": lambda ids: {number: curve().epochs for number in ids},
        "predictions": lambda ids: {number: predictions() for number in ids},
        "cache_root": tmp_path / "cache",
        "artifacts_root": tmp_path / "results.artifacts",
    }
    return FigureSources(**{**usual, **changes})


def test_equal_figures_are_equal_bytes_wherever_they_lie_in_memory():
    """The layout's solver adds in the order of addresses: unrounded, about one in ten of these had other last digits."""
    answers, scattered = set(), []
    for number in range(25):
        scattered.append([bytearray(1 + (number * 37) % 400) for _ in range((number * 997) % 2000)])
        figure = draw_forecasts("m", [Forecast(1 + 0.37 * each, 1.1 + 0.41 * each, "usual") for each in range(36)])
        answers.add(tuple(axes.bbox.bounds for axes in figure.axes))
    assert len(answers) == 1


def test_a_report_draws_every_kind_of_figure_and_names_each_file(tmp_path):
    told = []
    (tmp_path / "out").mkdir()
    written, left_out = draw_figures(plan_figures(sources(tmp_path)), tmp_path / "out", told.append)
    kinds = {entry.kind for entry in written}
    assert kinds == {
        "samples",
        "labels",
        "curves",
        "confusion",
        "mistakes",
        "time",
        "transfer",
        "comparison",
        "heat",
        "phases",
    }
    assert not left_out
    assert told == [entry.path for entry in written] == [path for path in told if path.is_file()]
    assert len({path.name.lower() for path in told}) == len(told) == len(list((tmp_path / "out").iterdir()))
    assert {path.suffix for path in told} == {".png", ".svg"}


def test_what_cannot_be_drawn_is_named_with_its_cure(tmp_path):
    bare = sources(tmp_path, cache_root=tmp_path / "elsewhere", predictions=lambda _: {}, epochs=lambda _: {})
    (tmp_path / "out").mkdir()
    written, left_out = draw_figures(plan_figures(bare), tmp_path / "out", lambda _: None)
    assert {entry.kind for entry in written} == {"time", "heat"}
    reasons = {each.kind: each.reason for each in left_out}
    assert "bench prepare" in reasons["samples"]
    assert "bench prepare" in reasons["labels"]
    assert "bench run --rerun" in reasons["confusion"]
    assert "bench run --rerun" in reasons["mistakes"]
    assert "no epoch" in reasons["curves"]


def test_how_a_cell_diverged_is_drawn_though_it_has_no_result(tmp_path):
    rows = [
        row("scratch", seed, None, status="diverged", cause="diverged", epochs=epochs)
        for seed, epochs in ((0, 3), (1, 0))
    ]
    asked = []
    made = sources(tmp_path, epochs=lambda ids: asked.extend(ids) or {number: curve().epochs for number in ids})
    (picture,) = plan_figures(replace(made, groups=group_cells(rows), transfers=()))
    assert (picture.kind, picture.cells) == ("curves", (rows[0]["cell_id"],))
    written, left_out = draw_figures([picture], tmp_path, lambda _: None)
    assert (len(written), left_out, len(asked)) == (2, [], 1)


def test_images_of_another_dataset_are_never_shown_as_mistakes(tmp_path):
    made = sources(tmp_path)
    rows = [{**row("scratch", 0, 0.9), "data_fingerprint": "another"}]
    _, left_out = draw_figures(plan_figures(replace(made, groups=group_cells(rows))), tmp_path, lambda _: None)
    assert [each.kind for each in left_out] == ["mistakes"]
    assert "not the one" in left_out[0].reason


# ---- files


def test_file_names_are_safe_and_differ_where_names_do():
    assert file_stem("curves", "digits", "simple_cnn", "scratch", distinction="aac72af9") == (
        "curves-digits-simple_cnn-scratch-aac72af9"
    )
    names = ["../../etc/passwd", "a/b", "a\\b", "A b", "a b", "CON", "con", "é", "x" * 500, "", "\ud800", ".", "a."]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(slugs)
    for one in slugs:
        assert set(one) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
        assert len(one) <= 50


def test_saving_replaces_whole_files_and_leaves_nothing_aside(tmp_path):
    for title in ("one", "two"):
        assert [path.name for path in save(draw_curves(title, [curve()]), tmp_path, "x", title)] == ["x.png", "x.svg"]
    assert b"two: training" in (tmp_path / "x.svg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x.svg"]
    with pytest.raises(StorageError, match="another folder"):
        save(draw_curves("x", [curve()]), tmp_path / "missing", "x", "x")


def test_an_svg_that_stands_alone_has_a_title_and_says_what_it_shows(tmp_path):
    save(draw_curves("a <b>", [curve()]), tmp_path, "x", 'curves of a <b> & "c"')
    root = ET.fromstring((tmp_path / "x.svg").read_bytes())
    title, description = list(root)[:2]
    assert [title.text, description.text[:16]] == ['curves of a <b> & "c"', "a <b>: training."]
    assert (
        root.attrib["aria-labelledby"].split()
        == [title.attrib["id"], description.attrib["id"]]
        == ["x--title", "x--desc"]
    )


def test_characters_without_a_font_stay_in_an_svg_and_the_index_says_what_stands_in_a_png(tmp_path):
    # no font has a letter of the private use area
    name = "net \U000f1234"
    files = save(draw_curves(name, [curve()]), tmp_path, "x", name)
    drawing = files[1].read_text(encoding="utf-8")
    assert f"{name}: training" in drawing
    assert "'Noto Sans CJK JP'" in drawing
    assert "\u2063" not in drawing
    save(draw_curves("net", [curve()]), tmp_path, "y", "net")
    assert "Noto" not in (tmp_path / "y.svg").read_text(encoding="utf-8")
    told = {
        title: write_page(tmp_path, [FigureFile("curves", title, ("a",), files[1], title)], []).read_text(
            encoding="utf-8"
        )
        for title in (name, "net")
    }
    assert ["no font here has" in text for text in told.values()] == [True, False]


def test_a_file_is_no_folder_for_figures(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="expected a folder"):
        make_folder(tmp_path / "taken", "--figures")


def test_the_register_knows_the_figures_of_a_cell_that_are_still_there(tmp_path):
    root = tmp_path / "results.artifacts"
    near, far = tmp_path / "pictures" / "a.png", tmp_path / "pictures" / "b.png"
    near.parent.mkdir()
    for path in (near, far):
        path.write_bytes(b"")
    add_figures(root, [FigureFile("curves", "curves of x", ("one", "two"), near)])
    add_figures(root, [FigureFile("time", "time", ("two",), far)])
    assert [entry.path for entry in figures_of(root, "two")] == [near, far]
    assert [entry.kind for entry in figures_of(root, "one")] == ["curves"]
    far.unlink()
    assert [entry.path for entry in figures_of(root, "two")] == [near]
    moved = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert [entry.path for entry in figures_of(moved / "results.artifacts", "one")] == [moved / "pictures" / "a.png"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"figures": 3}', '{"figures": [{"kind": 1}]}', "\x00"])
def test_a_broken_register_is_an_empty_one(tmp_path, content):
    (tmp_path / layout.FIGURES).write_text(content)
    assert figures_of(tmp_path, "x") == []
    add_figures(tmp_path, [])
    assert json.loads((tmp_path / layout.FIGURES).read_text())["figures"] == []
