"""Pictures that compare groups: what they show is what the tables say, and nothing is drawn that compares nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from figure_samples import check_files, check_texts, curve
from matplotlib.container import ErrorbarContainer

from benchmark.cli.reports.past_forecasts import _of_cells
from benchmark.reporting.comparing.differences import Judging, judge_pairs
from benchmark.reporting.figures.drawing.figure_files import DrawnFigure, PlannedFigure
from benchmark.reporting.figures.drawing.inline_svg import inline_svg
from benchmark.reporting.figures.drawing.style import alternative_of
from benchmark.reporting.figures.figure_sources import FigureSources
from benchmark.reporting.figures.folder_page import write_page
from benchmark.reporting.figures.groups.accuracy_by_time import draw_accuracy_by_time
from benchmark.reporting.figures.groups.compared_curves import draw_compared_curves
from benchmark.reporting.figures.groups.curves import draw_curves
from benchmark.reporting.figures.groups.effect_sizes import Effect, draw_effects
from benchmark.reporting.figures.groups.forecast_accuracy import RUN, Forecast, draw_forecasts
from benchmark.reporting.figures.groups.group_lines import MOST_TOLD_APART, look_of
from benchmark.reporting.figures.groups.heat_map import draw_heat_map
from benchmark.reporting.figures.groups.time_by_phase import draw_time_by_phase
from benchmark.reporting.figures.report_figures import drawn, plan_figures
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.rows.metrics import FIT_SECONDS, METRICS, TEST_ACCURACY, TEST_LOSS
from benchmark.reporting.rows.phases import PHASES
from benchmark.reporting.table import FigureFile, MissingFigure
from benchmark.reporting.tables.pareto import pareto_front
from tests.reporting_samples import row
from tests.test_reporting_figures import HOSTILE

AT_ZERO = {"cache_root": Path("nowhere"), "artifacts_root": Path("nowhere")}


def groups(strategies=("scratch", "regularized"), seeds=3, **columns):
    """Groups that get better and slower one after the other; columns may be functions of the place."""
    return group_cells([
        row(strategy, seed, min(0.7 + 0.05 * place + 0.01 * seed, 1.0), fit_seconds=2.0**place + 0.1 * seed, salt=str(place), **columns)
        for place, strategy in enumerate(strategies)
        for seed in range(seeds)
    ])  # fmt: skip


def planned(shown, **more):
    sources = FigureSources(
        groups=shown, transfers=(), epochs=lambda ids: {number: curve().epochs for number in ids},
        predictions=lambda _: {}, **AT_ZERO, **more,
    )  # fmt: skip
    return list(plan_figures(sources))


def phases(scale=1.0):
    return {name: scale * (place + 1) for place, name in enumerate(PHASES)}


def effects(labels, margin=None):
    """A judged difference for each label, of growing size."""
    shown = groups(["base", *(f"other {place}" for place in range(len(labels)))])
    base, *others = sorted(shown, key=lambda each: each.strategy)
    pairs = [(base, other) for other in others]
    judged = judge_pairs(pairs, Judging((TEST_ACCURACY,), margin)).judged
    return [Effect(label, judged[pair, TEST_ACCURACY.key]) for label, pair in zip(labels, pairs, strict=True)]


LONG = [f"learning_rate {0.001 * 2**n:g}, weight_decay {n}e-4, optimizer adamw, batch_size 64" for n in range(20)]
FAILED = [row("scratch", 0, 0.9), row("v1", 0, None, status="failed", cause="oom"), row("v1", 0, 0.8, model="resnet18")]
PICTURES = {
    "curves that end early": lambda: draw_compared_curves(
        "digits, net", {"one": [curve(0, (4,)), curve(1, (7,))], "other": [curve(0, (9,))]}
    ),
    "curves of twenty": lambda: draw_compared_curves("x", {label: [curve(0), curve(1)] for label in LONG}),
    "heat map with failures": lambda: draw_heat_map("digits", TEST_ACCURACY, group_cells(FAILED)),
    "heat map of many": lambda: draw_heat_map("x", TEST_LOSS, groups([f"strategy_{n}" for n in range(30)])),
    "effects": lambda: draw_effects("digits", TEST_ACCURACY, effects(["v1 - base", "v2 - base"], 0.02)),
    "effects of many": lambda: draw_effects("digits", TEST_ACCURACY, effects(LONG)),
    "phases": lambda: draw_time_by_phase("digits", {"scratch": phases(), "regularized": phases(30)}),
    "phases of many": lambda: draw_time_by_phase("digits", {label: phases(n) for n, label in enumerate(LONG, 1)}),
    "forecasts": lambda: draw_forecasts("digits", [Forecast(3, 4, "same shape"), Forecast(30, 20, RUN)]),
    "time of twenty": lambda: draw_accuracy_by_time("digits", groups(LONG)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (" of " in name)) for name in PICTURES]
)
def test_no_label_lies_on_another_one_or_beyond_the_sheet(name):
    figure = PICTURES[name]()
    check_texts(figure)
    assert alternative_of(figure).count(".") > 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_effects(HOSTILE[0], TEST_ACCURACY, effects(list(HOSTILE))),
        *(
            pytest.param(draw, marks=pytest.mark.exhaustive)  # they write names as the first does
            for draw in (
                lambda: draw_compared_curves(HOSTILE[0], {name: [curve()] for name in HOSTILE}),
                lambda: draw_heat_map("x", TEST_ACCURACY, groups(HOSTILE, model=HOSTILE[7])),
                lambda: draw_time_by_phase("x", {name: phases() for name in HOSTILE}),
                lambda: draw_accuracy_by_time("x", groups(HOSTILE)),
            )
        ),
    ],
)
def test_hostile_names_are_text(draw):
    figure = draw()
    check_texts(figure)
    check_files(figure)


# ---- curves


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def test_a_band_goes_from_the_lowest_to_the_highest_seed_and_ends_where_the_mean_does():
    seeds = [curve(seed, (9 if seed else 5,)) for seed in range(3)]
    figure = draw_compared_curves("x", {"a": seeds, "b": [curve()]})
    for axes, key in zip(figure.axes, ("val_accuracy", "val_loss"), strict=True):
        (band,) = [each for each in axes.collections if each.get_gid() == "band"]
        corners = band.get_paths()[0].vertices
        values = np.array([each.values(key)[:5] for each in seeds])
        for epoch in range(1, 6):
            there = corners[corners[:, 0] == epoch, 1]
            assert (there.min(), there.max()) == pytest.approx((values[:, epoch - 1].min(), values[:, epoch - 1].max()))
        mean = lines(axes, "mean")[0]
        assert mean.get_ydata() == pytest.approx(values.mean(axis=0))
        (end,) = lines(axes, "mean-end")
        assert end.get_xdata()[0] == mean.get_xdata()[-1] == 5
    words = " ".join(check_texts(figure))
    assert "ends a mean" in words
    assert "A line with n = 1 is one seed, and has no band" in words


@pytest.mark.parametrize(("lengths", "ends"), [((5, 5), False), ((5, 8), True)])
def test_only_a_mean_that_ends_before_some_seed_says_so(lengths, ends):
    figure = draw_curves("x", [curve(seed, (length,)) for seed, length in enumerate(lengths)])
    assert bool(lines(figure.axes[0], "mean-end")) is ends
    assert ("ends a mean" in alternative_of(figure)) is ends


def test_twenty_lines_can_be_told_apart_without_colours():
    looks = [look_of(number) for number in range(MOST_TOLD_APART)]
    assert len({(look.color, str(look.dashes)) for look in looks}) == len(looks)
    assert max([look.color for look in looks].count(look.color) for look in looks) <= 3


# ---- time


def test_intervals_of_a_fraction_stay_within_it_and_the_front_is_that_of_the_table():
    shown = group_cells(
        [row("best", seed, value, fit_seconds=9.0 + seed) for seed, value in enumerate((0.9, 0.99, 1.0))]
        + [row("fast", seed, 0.8 + seed / 100, fit_seconds=2.0) for seed in range(3)]
        + [row("slow", seed, 0.7, fit_seconds=20.0 + seed) for seed in range(3)]
    )
    axes = draw_accuracy_by_time("x", shown).axes[0]
    bars = [bar for each in axes.containers if isinstance(each, ErrorbarContainer) for bar in each.lines[2]]
    ends = np.concatenate([segment[:, 1] for bar in bars for segment in bar.get_segments()])
    assert 0 <= ends.min() < ends.max() == 1
    (front,) = lines(axes, "front")
    table = pareto_front(shown, TEST_ACCURACY, FIT_SECONDS)
    assert [group.strategy for group in table] == ["fast", "best"]
    means = [group.measured(TEST_ACCURACY)[0].mean for group in table]
    assert front.get_ydata() == pytest.approx([*means, means[-1]])


def test_the_metric_that_is_judged_is_the_one_that_is_drawn():
    shown = groups(test_macro_f1=0.5)
    judging = Judging((METRICS["test_macro_f1"],))
    pairs = judge_pairs([(shown[0], shown[1])], judging)
    plans = {plan.kind: plan for plan in planned(shown, comparisons=pairs)}
    assert plans["heat"].name == "heat-test_macro_f1"
    assert plans["time"].name == "time-digits-test_macro_f1"
    assert "test macro f1" in alternative_of(plans["heat"].draw())
    assert plans["time"].draw().axes[0].get_ylabel() == "test macro f1 (fraction)"


# ---- what is drawn


def test_a_group_alone_is_compared_with_nothing():
    assert {plan.kind for plan in planned(groups(["scratch"]))} == {
        "samples",
        "labels",
        "curves",
        "confusion",
        "mistakes",
    }
    kinds = {plan.kind for plan in planned(groups())}
    assert kinds >= {"heat", "comparison", "time", "phases"}
    # nothing is judged, and nothing was expected
    assert not kinds & {"effects", "forecast", "ranks"}


def test_a_single_epoch_is_no_curve():
    shown = groups(["scratch"], seeds=1, epochs=1)
    sources = FigureSources(
        shown, (), lambda ids: {number: curve(stages=(1,)).epochs for number in ids}, lambda _: {}, **AT_ZERO
    )
    missing = [each for each in drawn(plan_figures(sources)) if isinstance(each, MissingFigure)]
    assert "single point" in next(each.reason for each in missing if each.kind == "curves")


def test_of_images_with_several_labels_it_is_said_why_a_picture_of_one_is_not_drawn():
    made = row("scratch", 0, 0.9)
    spec = json.loads(made["spec"])
    several = {**made, "spec": json.dumps({**spec, "data": {**spec["data"], "multi_label": True}})}
    sources = FigureSources(group_cells([several]), (), lambda _: {}, lambda _: {}, **AT_ZERO)
    reasons = {each.kind: each.reason for each in drawn(plan_figures(sources)) if isinstance(each, MissingFigure)}
    assert "several labels" in reasons["confusion"]
    assert "several labels" in reasons["mistakes"]


def test_file_names_tell_the_settings_that_vary():
    shown = group_cells([row("scratch", 0, 0.9, changes={"dropout": rate}) for rate in (0.1, 0.25)])
    names = {plan.name for plan in planned(shown) if plan.kind == "curves"}
    assert {re.sub(r"-[0-9a-f]{8}$", "", name) for name in names} == {
        "curves-digits-simple_cnn-scratch-dropout-0.1", "curves-digits-simple_cnn-scratch-dropout-0.25",
    }  # fmt: skip


def test_a_figure_is_one_of_all_its_cells_those_without_a_result_too():
    plans = {plan.kind: plan for plan in planned(group_cells(FAILED))}
    assert set(plans["heat"].cells) == {each["cell_id"] for each in FAILED}
    words = check_texts(plans["heat"].draw())
    assert "failed (oom)" in words


def test_effects_are_the_differences_of_the_tables():
    shown = effects(["v1 - base", "v2 - base"])
    axes = draw_effects("x", TEST_ACCURACY, shown).axes[0]
    drawn_intervals = [tuple(line.get_xdata()) for line in lines(axes, "interval")]
    assert drawn_intervals == [(each.difference.low, each.difference.high) for each in shown]
    words = " ".join(check_texts(axes.get_figure(root=True)))
    assert "right is better" in words
    assert " better" in words


def test_bars_of_phases_add_up_to_what_the_cells_took():
    figure = draw_time_by_phase("x", {"a": phases(), "b": phases(2)})
    bars = figure.axes[0].patches
    total = sum(phases().values())
    assert sum(bar.get_width() for bar in bars) == pytest.approx(3 * total)
    assert sum(bar.get_width() for bar in figure.axes[1].patches) == pytest.approx(2)


def test_a_cell_is_forecast_from_what_had_ended_before_it_began():
    def cell(seed, began, ended, seconds):
        times = {"started_utc": f"2026-01-01T00:00:{began:02}Z", "finished_utc": f"2026-01-01T00:00:{ended:02}Z"}
        return {**row("scratch", seed), **times, "execution_id": seed, "total_seconds": seconds}

    rows = [cell(0, 0, 10, 5.0), cell(1, 5, 20, 50.0), cell(2, 30, 40, 6.0)]
    forecasts = _of_cells(rows, {0, 1, 2})
    assert [each.basis for each in forecasts] == ["usual", "usual", "same shape"]
    assert forecasts[2].expected == pytest.approx(27.5)
    assert [each.actual for each in forecasts] == [5.0, 50.0, 6.0]


# ---- pages


def shown_in_a_page(title="a $b$ <i>"):
    figure = draw_time_by_phase(title, {"a": phases(), "b": phases(2)})
    plan = PlannedFigure("phases", "phases-x", title, ("cell",), lambda: figure)
    return DrawnFigure(plan, figure, alternative_of(figure))


def test_a_figure_within_a_page_keeps_its_colours_and_shares_no_id_with_others():
    first = shown_in_a_page()
    text = inline_svg(first)
    root = ET.fromstring(text)
    assert not {"style", "script"} & {each.tag for each in root.iter()}
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("phases-x--") for name in ids)
    references = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert references
    assert references <= set(ids)
    assert re.search(r"#e69f00", text, re.IGNORECASE)
    assert root.find("title").text == first.plan.title
    assert root.find("desc").text == first.alternative
    assert root.get("role") == "img"


def test_the_page_of_a_folder_shows_every_figure_with_its_words(tmp_path):
    files = [
        FigureFile("curves", title, ("cell",), tmp_path / f"curves-{place}{ending}", f"words of {title}")
        for place, title in enumerate(HOSTILE)
        for ending in (".png", ".svg")
    ]
    page = write_page(tmp_path, files, [MissingFigure("samples", "<b>samples</b>", "not in the cache")])
    text = page.read_text(encoding="utf-8")
    assert page.name == "index.html"
    assert text.count("<img ") == len(HOSTILE)
    assert text.count(' alt="words of') == len(HOSTILE)
    tags = set()
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, _: tags.add(tag)
    reader.feed(text)
    assert not tags & {"script", "b", "i"}
    assert "not in the cache" in text
    assert "script-src" not in text
    assert "default-src 'none'" in text
    write_page(tmp_path, [replace(files[0], kind="of a plug-in")], [])
    assert page.read_text(encoding="utf-8").count("<img ") == 1
