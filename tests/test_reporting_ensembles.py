from __future__ import annotations

import numpy as np
import pytest
from reporting_samples import row
from results_samples import predictions

from benchmark.matrix.report_spec import EnsembleSpec, ReportSpec
from benchmark.reporting.predictions.stored_predictions import decode
from benchmark.reporting.report import build_report
from benchmark.reporting.tables.shown import ReportOptions

LABELS = (0, 0, 1, 1)
RIGHT, BAD, WORSE = (0, 0, 1, 1), (1, 0, 1, 1), (1, 1, 1, 0)


def summary(cells, specs=(), **options):
    """Cells as (model, seed, predictions); returns the summary and the report's notes."""
    rows = [{**row(model=model, seed=seed), "execution_id": number} for number, (model, seed, _) in enumerate(cells)]
    stored = {number: each for number, (_, _, each) in enumerate(cells) if each is not None}
    load = lambda ids: {key: decode(stored[key]) for key in ids if key in stored}  # noqa: E731
    spec = ReportSpec(ensemble=tuple(specs))
    report = build_report(rows, [], spec, ReportOptions(tables=("summary",), **options), predictions=load)
    return report.tables[0], report.notes


def both(*expressions):
    return EnsembleSpec(expressions or ("dataset=digits",), "Both")


def test_models_are_averaged_seed_by_seed():
    cells = [
        ("simple_cnn", 0, predictions(LABELS, BAD)),
        ("simple_cnn", 1, predictions(LABELS, RIGHT)),
        ("resnet18", 0, predictions(LABELS, RIGHT)),
        ("resnet18", 1, predictions(LABELS, RIGHT)),
    ]
    table, _ = summary(cells, [both()])
    ensemble = table.rows[-1].cells
    assert (ensemble["dataset"], ensemble["model"], ensemble["strategy"]) == ("digits", "resnet18 + simple_cnn", "Both")
    # the first image of seed 0 is a tie of 0.5 and 0.5, which the first class wins
    assert ensemble["test_accuracy"].values == (1.0, 1.0)
    assert ensemble["test_loss"].values[0] == pytest.approx(-(np.log(0.5) + 3 * np.log(0.8)) / 4, rel=1e-3)
    assert ensemble["parameters"].values == (225_034 + 11_181_642,) * 2
    assert ensemble["fit_seconds"] is None
    assert "2 cells for each of 2 seeds" in table.notes[-1]


def test_the_seeds_of_one_group_make_one_number():
    cells = [("simple_cnn", seed, predictions(LABELS, each)) for seed, each in enumerate((RIGHT, RIGHT, WORSE))]
    table, _ = summary(cells, [both("model=simple_cnn")])
    assert table.rows[-1].cells["test_accuracy"].values == (1.0,)
    assert table.rows[-1].cells["n"].completed == 1


def test_ensembles_of_all_seeds_are_rows_when_asked_for():
    cells = [("simple_cnn", seed, predictions(LABELS, RIGHT)) for seed in range(2)]
    cells.append(("resnet18", 0, predictions(LABELS, RIGHT)))
    table, _ = summary(cells, ensembles=True)
    assert [each.cells["strategy"] for each in table.rows] == ["scratch", "scratch", "scratch, seeds averaged"]


def test_views_are_averaged_where_every_member_has_them():
    with_views = predictions(LABELS, BAD, tta=RIGHT)
    table, _ = summary([("simple_cnn", 0, with_views), ("resnet18", 0, with_views)], [both()])
    # no cell of these rows has tta_accuracy: the summary has no such column, and the row says nothing of it
    assert "tta_accuracy" not in table.rows[-1].cells
    rows = [
        {**row(model=name, tta_accuracy=1.0, tta_loss=0.2), "execution_id": 0} for name in ("simple_cnn", "resnet18")
    ]
    rows[1]["execution_id"] = 1
    load = lambda ids: dict.fromkeys(ids, decode(with_views))  # noqa: E731
    report = build_report(
        rows, [], ReportSpec(ensemble=(both(),)), ReportOptions(tables=("summary",)), predictions=load
    )
    assert report.tables[0].rows[-1].cells["tta_accuracy"].values == (1.0,)
    keys = [column.key for column in report.tables[0].columns]
    assert keys.index("tta_accuracy") == keys.index("test_loss") + 1


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([("simple_cnn", 0, predictions())], "expected several finished cells, found 1"),
        ([("simple_cnn", 0, predictions()), ("resnet18", 0, None)], "1 of its 2 cells have no test predictions"),
        (
            [("simple_cnn", 0, predictions()), ("resnet18", 0, predictions((0, 1), (0, 1)))],
            "not tested on the same images",
        ),
        (
            [("simple_cnn", 0, predictions()), ("resnet18", 0, predictions(names=("cat", "cow")))],
            "not tested on the same images and classes",
        ),
        ([("simple_cnn", 0, predictions()), ("resnet18", 1, predictions())], "no seed in common"),
    ],
)
def test_what_cannot_be_averaged_is_said_and_not_shown(cells, words):
    table, notes = summary(cells, [both()])
    assert len(table.rows) == len(cells)
    assert any(note.startswith("Ensemble Both: ") and words in note for note in notes)
