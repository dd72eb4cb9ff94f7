"""Pictures: the right curves and axes, nothing that overlaps, harmless names, the same bytes for the same input."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from figure_samples import NAMES, check_files, check_texts, curve, drawn_texts, images, predictions, write_prepared
from matplotlib.figure import Figure

from benchmark.catalog.cache import PreparedDirectories
from benchmark.matrix.cell import Data
from benchmark.matrix.planning.example_counts import class_counts, stratified_shares
from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.figures.drawing.figure_files import UndrawableError, encode
from benchmark.reporting.figures.drawing.prepared_images import open_images
from benchmark.reporting.figures.groups.accuracy_by_time import draw_accuracy_by_time
from benchmark.reporting.figures.groups.curves import draw_curves
from benchmark.reporting.figures.groups.transfer_curves import TransferSide, draw_transfer
from benchmark.reporting.figures.images.changed_images import draw_changed_images
from benchmark.reporting.figures.images.class_counts import draw_class_counts
from benchmark.reporting.figures.images.confusion import MOST_FIELDS, draw_confusion
from benchmark.reporting.figures.images.grad_cam_overlays import (
    EvidenceMap,
    ExplainedImage,
    StoredExplanation,
    draw_overlays,
    overlay,
    worth_explaining,
)
from benchmark.reporting.figures.images.mistakes import draw_mistakes, find_mistakes, percent
from benchmark.reporting.figures.images.training_images import draw_training_images
from benchmark.reporting.predictions.image_changes import ChangedImage, PredictionDiff, SuspectImage
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.statistics.churn import Consistency
from tests.reporting_samples import row

HOSTILE = (
    "<script>alert(1)</script>", "&lt;b&gt;", "$lr_{x$", "\\frac{", "a\nb\tc", "\x1b[31mred", "\u202egpj.exe",
    "日本語モデル", "👨‍👩‍👧‍👦", "e\u0301" * 30, "W" * 300, "", "]]>", "\ud800", "\x00", "\ufffe", "%s{0}", "'\"",
)  # fmt: skip


def explanation(count=3, names=NAMES[:10], side=8):
    found = []
    for number in range(count):
        shown = np.zeros((side, side), np.float32)
        shown[number, number] = 1
        probabilities = np.full(len(names), 0.01, np.float32)
        probabilities[1] = 0.9
        label = 1 if number % 2 else 0
        truth = None if label == 1 else EvidenceMap(0, np.zeros((side, side), np.float32))
        image = np.full((side, side, 1), 100, np.uint8)
        found.append(ExplainedImage(f"test:{number}", image, probabilities, label, EvidenceMap(1, shown), truth))
    return StoredExplanation("conv2", (5, 5), tuple(names), tuple(found))


def changes(names=NAMES[:10], of=12):
    """As many images of each kind, two of them broken."""
    classes = len(names)
    changed = [ChangedImage(n, n % classes, 1, 4, 5, 5, (n + 1) % classes, n % classes) for n in range(of)]
    suspects = tuple(SuspectImage(n, n % classes, (n + 1) % classes, 10, 0.012 * n) for n in range(of))
    return PredictionDiff(
        (), "test", tuple(names), 60, (5, 5), tuple(changed), tuple(changed[:2]), 0.031, 0.042, 1.4,
        Consistency(0.008, 0.008), suspects, suspects, (),
    )  # fmt: skip


def group(rows=None):
    return group_cells(rows or [row("scratch", seed, 0.9 + seed / 100) for seed in range(3)])[0]


def many_groups(models=4, strategies=5):
    rows = [
        row(
            f"strategy_{s}",
            seed,
            0.8 + s / 50 + m / 100,
            model=f"model_{m}_with_a_long_name",
            fit_seconds=3.0 * 2**m + s,
        )
        for m in range(models)
        for s in range(strategies)
        for seed in range(3)
    ]
    return group_cells(rows)


PICTURES = {
    "samples": lambda: draw_training_images("digits", images()),
    "samples of two": lambda: draw_training_images("digits", images(2, channels=3)),
    "samples of twenty": lambda: draw_training_images("digits", images(20, side=24, channels=3)),
    "samples of many": lambda: draw_training_images("digits", images(37, names=[f"class {n}" for n in range(37)])),
    "labels of two": lambda: draw_class_counts("digits", images(2)),
    "labels of ten": lambda: draw_class_counts("digits", images(10)),
    "labels of twenty": lambda: draw_class_counts("digits", images(20)),
    "labels of many": lambda: draw_class_counts("digits", images(120, names=[f"class {n}" for n in range(120)])),
    "curves of one seed": lambda: draw_curves("digits, net, scratch", [curve()]),
    "curves of stages": lambda: draw_curves(
        "digits, net, two", [curve(seed, (3, 9, 1)) for seed in range(3)], ["head", "last:30", "all"], ["seed 3 failed"]
    ),
    "curves of one epoch": lambda: draw_curves("digits, net, scratch", [curve(seed, (1,), 1) for seed in range(2)]),
    "confusion of two": lambda: draw_confusion("digits, net, scratch", [predictions(2)]),
    "confusion of ten": lambda: draw_confusion("digits, net, scratch", [predictions(10, seed) for seed in range(3)]),
    "confusion of twenty": lambda: draw_confusion("digits, net, scratch", [predictions(20)]),
    "confusion of many": lambda: draw_confusion("x", [predictions(120, names=[f"class {n}" for n in range(120)])]),
    "mistakes": lambda: draw_mistakes("digits, net, scratch", [predictions(20, s) for s in range(3)], images(20)),
    "no mistakes": lambda: draw_mistakes("digits, net, scratch", [predictions(wrong=0)], images()),
    "changed images": lambda: draw_changed_images("digits, net, v1 (A) against v2 (B)", changes(), images().test),
    "no changed images": lambda: draw_changed_images("digits", changes(of=0), images().test),
    "time": lambda: draw_accuracy_by_time("digits", many_groups()),
    "time of one": lambda: draw_accuracy_by_time("digits", [group()]),
    "time without timings": lambda: draw_accuracy_by_time("digits", [group([row(timing_valid=False)])]),
    "transfer": lambda: draw_transfer(
        "digits, net",
        TransferSide("from_low_digits", [curve(s) for s in range(3)], [0.9, 0.91, 0.92]),
        TransferSide("scratch", [curve(s, (6,)) for s in range(3)], []),
    ),
    "explanation": lambda: draw_overlays("digits, net, scratch, seed 0", explanation(6)),
    "explanation of one": lambda: draw_overlays("digits, net, scratch, seed 0", explanation(1)),
}  # fmt: skip


@functools.cache
def drawn(name: str) -> Figure:
    """One of the pictures, drawn once for all tests that look at it."""
    return PICTURES[name]()


BETWEEN = {"samples of twenty", "labels of ten", "labels of twenty", "confusion of twenty"}
"""Sizes between others that are always tried."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name in BETWEEN)) for name in PICTURES]
)
def test_no_label_lies_on_another_one_or_beyond_the_sheet(name):
    check_texts(drawn(name))


@pytest.mark.parametrize(
    "name",
    [
        *("curves of stages", "confusion of ten", "mistakes"),
        # sheets of images, as mistakes are, and lines as curves are
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("samples", "changed images", "explanation", "time")
        ),
    ],
)
def test_files_are_valid_and_equal_for_equal_input(name):
    first, second = drawn(name), PICTURES[name]()
    check_files(first)
    assert [encode(first, name) for name in ("png", "svg")] == [encode(second, name) for name in ("png", "svg")]


def test_pictures_need_neither_pyplot_nor_a_display_and_leave_settings_alone():
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy(); sys.path.insert(0, 'tests')\n"
        "import test_reporting_figures as t; t.PICTURES['curves of stages']()\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert not {'matplotlib.pyplot', 'tensorflow', 'keras', 'tkinter'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_report_without_pictures_does_not_load_matplotlib():
    code = (
        "import sys, benchmark.reporting.report, benchmark.reporting.writers.formats, benchmark.cli.commands.report\n"
    )
    code += "assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_training_images("x", images(len(HOSTILE), names=HOSTILE)),
        lambda: draw_class_counts("x", images(len(HOSTILE), names=HOSTILE)),
        lambda: draw_confusion("x", [predictions(len(HOSTILE), names=HOSTILE)]),
        lambda: draw_mistakes("x", [predictions(len(HOSTILE), names=HOSTILE)], images(len(HOSTILE), names=HOSTILE)),
        lambda: draw_changed_images("x", changes(HOSTILE), images(len(HOSTILE)).test),
        lambda: draw_overlays("x", explanation(3, HOSTILE)),
        lambda: draw_accuracy_by_time(
            "x", group_cells([row(strategy=name, model=name, salt=name) for name in HOSTILE])
        ),
    ],
)
def test_hostile_names_of_classes_models_and_strategies_are_text(draw):
    figure = draw()
    check_texts(figure)
    check_files(figure)


@pytest.mark.parametrize(
    ("title", "stage", "note"), list(zip(HOSTILE[::3], HOSTILE[1::3], HOSTILE[2::3], strict=True)), ids=ascii
)
def test_hostile_names_in_titles_stages_and_notes_are_text(title, stage, note):
    figure = draw_curves(title, [curve(stages=(2, 2))], [stage, note], [note])
    check_texts(figure)
    check_files(figure)


def test_a_dollar_sign_is_no_formula():
    assert any("$a_b$: training" in words for words in check_texts(draw_curves("$a_b$", [curve()])))
    assert "$a_b$: training" in check_files(draw_curves("$a_b$", [curve()]))


def test_names_without_a_font_can_still_be_told_apart():
    assert text_fitting.legible("\U0001f468") != text_fitting.legible("\U0001f469")
    cut = text_fitting.cut_distinct(["the same beginning " * 4 + end for end in "ab"], 8, 1.0)
    assert len(set(cut)) == 2
    assert all(text_fitting.width(text, 8) <= 1.0 for text in cut)


# ---- curves


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def test_curves_show_every_seed_the_mean_the_stages_and_the_kept_epoch():
    figure = draw_curves("x", [curve(seed, (3, 5), best=4 + seed) for seed in range(3)], ["head", "all"])
    assert len(figure.axes) == 2
    for axes, key in zip(figure.axes, ("accuracy", "loss"), strict=True):
        thin = [line for line in axes.lines if line.get_gid() is None or line.get_gid().startswith("_")]
        assert len(thin) == 6  # training and validation of three seeds
        means = lines(axes, "mean")
        assert len(means) == 2
        expected = np.mean([curve(seed, (3, 5)).values(f"val_{key}") for seed in range(3)], axis=0)
        assert means[1].get_ydata() == pytest.approx(expected)
        assert [line.get_xdata()[0] for line in lines(axes, "stage")] == [3.5]
        assert sorted(float(line.get_xdata()[0]) for line in lines(axes, "kept")) == [4, 5, 6]
        seed_0 = curve(0, (3, 5)).values(f"val_{key}")[3]
        assert float(lines(axes, "kept")[0].get_ydata()[0]) == pytest.approx(seed_0)
    assert {"stage 1: head", "stage 2: all"} <= {text.get_text() for text in drawn_texts(figure)}


def test_the_mean_goes_only_as_far_as_all_seeds():
    figure = draw_curves("x", [curve(0, (8,)), curve(1, (5,))])
    assert {len(line.get_xdata()) for line in lines(figure.axes[0], "mean")} == {5}


def test_values_that_are_not_finite_leave_a_gap():
    broken = curve(0, (6,))
    broken.epochs[3]["val_loss"] = float("nan")
    broken.epochs[4]["train_loss"] = float("inf")
    figure = draw_curves("x", [broken])
    check_texts(figure)
    check_files(figure)


def test_a_network_without_validation_has_its_kept_epoch_on_the_training_curve():
    figure = draw_curves("x", [curve(validated=False)])
    assert len(lines(figure.axes[0], "kept")) == 1
    assert "validation" not in {text.get_text() for text in drawn_texts(figure)}


def test_a_loss_over_orders_of_magnitude_is_logarithmic_with_plain_numbers():
    steep = curve(0, (40,))
    figure = draw_curves("x", [steep])
    assert figure.axes[1].get_yscale() == "log"
    assert figure.axes[0].get_yscale() == "linear"
    assert not [words for words in check_texts(figure) if "$" in words or "mathdefault" in words]


# ---- predictions


def test_confusion_counts_are_written_and_rows_are_shaded_by_their_share():
    member = predictions(3, names=("a", "b", "c"))
    counts = np.zeros((3, 3), int)
    for true, said in zip(member.labels, member.predicted, strict=True):
        counts[true, said] += 1
    counts *= 2
    figure = draw_confusion("x", [member, member])
    axes = figure.axes[0]
    assert len(figure.axes) == 2  # and the colour bar
    assert axes.images[0].get_array().sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    written = {
        (round(text.get_position()[1]), round(text.get_position()[0])): int(text.get_text()) for text in axes.texts
    }
    assert written == {(i, j): int(counts[i, j]) for i, j in np.argwhere(counts)}
    assert f"accuracy {counts.trace() / counts.sum():.4f}" in " ".join(check_texts(figure))


@pytest.mark.parametrize(("classes", "together"), [(MOST_FIELDS, 1), (MOST_FIELDS + 1, 2), (10_000, 20)])
def test_of_very_many_classes_several_share_a_field(classes, together):
    labels = np.arange(classes)
    member = Predictions(labels, labels, labels[::-1], np.zeros((0, 0), np.float32), tuple(map(str, range(classes))))
    figure = draw_confusion("x", [member])
    fields = figure.axes[0].images[0].get_array()
    assert fields.shape == (-(-classes // together),) * 2
    assert fields.sum(axis=1).tolist() == pytest.approx([1] * len(fields))
    told = " ".join(check_texts(figure))
    assert (f"{together} to a field" in told) == (together > 1)
    assert f"accuracy {classes % 2 / classes:.4f}" in told


def test_mistakes_come_surest_first_and_an_image_comes_once():
    members = [predictions(10, seed) for seed in range(3)]
    found = find_mistakes(members)
    wrong = [set(member.indices[member.wrong].tolist()) for member in members]
    assert {each.index for each in found} == set.union(*wrong)
    assert [each.confidence for each in found] == sorted((each.confidence for each in found), reverse=True)
    for each in found:
        assert each.seeds == sum(each.index in images_of for images_of in wrong)
        sure = [m.confidence[each.index] for m in members if m.predicted[each.index] != each.label]
        assert each.confidence == pytest.approx(max(sure))
        assert each.predicted != each.label == each.index // 6


def test_mistakes_show_the_image_that_the_index_means():
    shown = images()
    figure = draw_mistakes("x", [predictions()], shown)
    first = find_mistakes([predictions()])[0]
    assert (figure.axes[0].images[0].get_array() == shown.test[first.index][..., 0]).all()
    words = "\n".join(check_texts(figure))
    assert f"true: {NAMES[first.label]}\nsaid: {NAMES[first.predicted]}\n{percent(first.confidence)} sure" in words
    assert f"test:{first.index}" in words


def test_nothing_is_called_certain():
    assert [percent(share) for share in (0.5, 0.994, 0.996, 1.0)] == ["50 %", "99 %", "> 99 %", "> 99 %"]


def test_images_worth_explaining_are_wrong_and_right_ones():
    member = predictions()
    chosen = worth_explaining(member, 6)
    right = [index for index in chosen if member.predicted[index] == member.labels[index]]
    assert len(chosen) == len(set(chosen)) == 6
    assert len(right) == 3
    assert len({member.labels[index] for index in right}) == 3
    assert worth_explaining(predictions(2, wrong=0), 6) == worth_explaining(predictions(2, wrong=0), 2)


# ---- datasets


def test_samples_are_training_images_of_their_class():
    shown = images(3, side=4)
    figure = draw_training_images("x", shown)
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    originals = {shown.training[place].tobytes(): int(shown.training_labels[place]) for place in range(36)}
    for label in range(3):
        for column in range(10):
            tile = sheet[label * 5 : label * 5 + 4, column * 5 : column * 5 + 4, :1]
            assert originals[np.ascontiguousarray(tile).tobytes()] == label
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(NAMES[:3])


@pytest.mark.parametrize(
    "changes",
    [{}, {"train_examples": 50}, {"test_examples": 7}, {"lockbox": 0.3}, {"classes": (4, 1, 7), "num_classes": 3}, {"validation_fraction": 0.0},
     {"classes": (9, 0), "num_classes": 2, "train_examples": 13, "test_examples": 5, "validation_fraction": 0.37}],
    ids=str,
)  # fmt: skip
def test_class_counts_are_what_the_splits_draw(changes):
    from benchmark.training.data.splits import split_test, split_training

    random = np.random.default_rng(1)
    training, test = random.integers(0, 10, 300), random.integers(0, 10, 90)
    data = replace(Data("digits", None, 10, 8, "grey", None, None, 0.1), **changes)
    kept = list(range(10)) if data.classes is None else list(data.classes)
    counts = class_counts(data, [int((training == k).sum()) for k in kept], [int((test == k).sum()) for k in kept])
    tested, _ = split_test(test, data)
    parts = (*split_training(training, data, 5), tested)
    drawn = [np.bincount(part.labels, minlength=len(kept)).tolist() for part in parts]
    assert [list(counts.training), list(counts.validation), list(counts.test)] == drawn


def test_stratified_shares_add_up():
    assert stratified_shares([10, 10, 10], 10) == [4, 3, 3]
    assert stratified_shares([1, 99], 10) == [0, 10]
    assert stratified_shares([5, 5], 0) == [0, 0]


def test_labels_have_a_bar_for_each_class_and_part():
    figure = draw_class_counts("x", images(4))
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [9] * 4 + [3] * 4 + [6] * 4


def test_a_dataset_that_is_not_in_the_cache_names_its_cure(tmp_path):
    with pytest.raises(UndrawableError, match="bench prepare"):
        open_images(images().data, tmp_path)


def test_a_broken_dataset_names_its_cure(tmp_path):
    found = images()
    directory = PreparedDirectories(tmp_path).of(found.data)
    write_prepared(directory, found)
    (directory / "test_images.npy").write_bytes(b"nonsense")
    with pytest.raises(UndrawableError, match="bench prepare"):
        open_images(found.data, tmp_path)


def test_classes_of_a_cell_are_numbered_in_its_order(tmp_path):
    found = images()
    write_prepared(PreparedDirectories(tmp_path).of(found.data), found)
    chosen = open_images(replace(found.data, classes=(7, 2), num_classes=2), tmp_path)
    assert chosen.class_names == (NAMES[7], NAMES[2])
    assert [int(label) for label in chosen.test_labels[[0, 12, 42]]] == [-1, 1, 0]
    assert chosen.counts.test == (6, 6)


# ---- time and transfer


def test_points_are_of_valid_timings_and_hollow_where_there_are_none():
    groups = group_cells(
        [row("scratch", seed, 0.9, timing_valid=seed > 0) for seed in range(3)]
        + [row("v1", seed, 0.95, timing_valid=False) for seed in range(2)]
        + [row("v2", 0, 0.7, resumed=True)]
    )
    figure = draw_accuracy_by_time("digits", groups)
    points = figure.axes[0].containers
    assert [point.lines[0].get_markerfacecolor() == "none" for point in points] == [False, True, True]
    assert points[0].lines[0].get_xydata().tolist() == [[pytest.approx(6.295), pytest.approx(0.9)]]
    seeds = [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "."]
    assert seeds == [2, 2], "a dot for each timed seed of the groups with several"
    words = " ".join(" ".join(check_texts(figure)).split())
    assert "simple_cnn, scratch (n = 3, 2 timed)" in words
    assert "Hollow: no valid timing (disturbed by other load; resumed)." in words


def test_time_without_any_valid_timing_says_so():
    assert "no valid timing" in " ".join(check_texts(drawn("time without timings")))


def test_transfer_sets_validation_curves_side_by_side():
    figure = drawn("transfer")
    accuracy = figure.axes[0]
    assert len(lines(accuracy, "mean")) == 2
    assert len(lines(accuracy, "kept")) == 6
    words = " ".join(check_texts(figure))
    assert "fine-tuned: from_low_digits; test accuracy 0.910" in words
    assert "from scratch: scratch; no test accuracy" in words


def test_an_overlay_is_brightest_where_the_evidence_is():
    evidence = np.zeros((4, 4), np.float32)
    evidence[1, 2] = 1
    mixed = overlay(np.full((4, 4, 3), 60, np.uint8), evidence)
    assert mixed.shape == (4, 4, 3)
    assert np.unravel_index(mixed.sum(axis=-1).argmax(), (4, 4)) == (1, 2)


def test_names_that_leave_no_room_are_shortened_and_nothing_is_warned_of(recwarn):
    names = [letter * 190 for letter in "ab"]

    @style.styled
    def drawn():
        body = style.sheet(1.5, "two names", "n = 1")
        axes = body.add_subplot()
        axes.barh([0, 1], [1, 2])
        axes.set_yticks([0, 1], names)
        return axes, style.finish(body)

    axes, figure = drawn()
    assert [label.get_text()[-1] for label in axes.get_yticklabels()] == ["…", "…"]
    assert axes.get_window_extent().width > figure.bbox.width / 2
    assert all(name in style.alternative_of(figure) for name in names)
    assert not recwarn.list
