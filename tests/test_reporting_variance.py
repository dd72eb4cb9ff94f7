"""Planted parts of a spread are recovered, with intervals that cover them, whatever the design."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from test_reporting_repetitions import cell

from benchmark.reporting.report import build_report
from benchmark.reporting.statistics import variance_components
from benchmark.reporting.statistics.variance_components import decompose
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import render
from tests.reporting_samples import planned

SOURCES = ("split_seed", "weights_seed", "order_seed", "augment_seed")


def crossed(*sizes: int):
    """Levels [sources, values] of a design with all combinations."""
    return np.array(list(itertools.product(*map(range, sizes)))).T


def one_at_a_time(sources: int, levels: int, joint: int = 0):
    rows = [[0] * sources]
    rows += [
        [level * (place == other) for other in range(sources)]
        for place in range(sources)
        for level in range(1, levels + 1)
    ]
    rows += [[levels + 1 + number] * sources for number in range(joint)]
    return np.array(rows).T


def planted(levels, parts, random) -> np.ndarray:
    """Values [n] around 0.9 whose variance is made of `parts`, the last of them the rest."""
    effects = [
        np.sqrt(part) * random.normal(size=each.max() + 1)[each] for part, each in zip(parts, levels, strict=False)
    ]
    return 0.9 + 0.01 * (sum(effects) + np.sqrt(parts[-1]) * random.normal(size=levels.shape[1]))


def named(levels) -> dict[str, list[int]]:
    return dict(zip(SOURCES, levels.tolist(), strict=False))


HOLES = crossed(10, 10)[:, np.random.default_rng(5).permutation(100)[:70]]
DRAWN = np.random.default_rng(6).integers(0, 6, (4, 60))
DESIGNS = {
    "two crossed": (crossed(5, 5), (0.4, 0.3, 0.3), 0.06),
    "all crossed": (crossed(3, 3, 3, 3), (0.3, 0.3, 0.2, 0.1, 0.1), 0.06),
    "one without any part": (crossed(4, 4, 4), (0.4, 0.0, 0.3, 0.3), 0.07),
    "holes": (HOLES, (0.4, 0.3, 0.3), 0.06),
    "levels at random": (DRAWN, (0.4, 0.2, 0.1, 0.1, 0.2), 0.06),
    "one at a time": (one_at_a_time(4, 10), (0.5, 0.3, 0.1, 0.1, 0.0), 0.06),
    "one at a time, and all": (one_at_a_time(3, 12, 12), (0.5, 0.2, 0.1, 0.2), 0.09),
}


def rates(name: str, runs: int, monkeypatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each part how often its interval covers it, its mean estimate, and the truth."""
    monkeypatch.setattr(variance_components, "_DRAWS", 2_000)
    levels, parts, _ = DESIGNS[name]
    random = np.random.default_rng(1)
    found = [decompose(planted(levels, parts, random).tolist(), named(levels)).shares for _ in range(runs)]
    truth = np.array(parts[: len(found[0])])
    covers = [[each.low <= part <= each.high for each, part in zip(shares, truth, strict=True)] for shares in found]
    return np.mean(covers, axis=0), np.mean([[each.share for each in shares] for shares in found], axis=0), truth


@pytest.mark.parametrize("name", ["two crossed", "all crossed", "one at a time"])
def test_planted_shares_are_recovered_and_covered(name, monkeypatch):
    covered, estimated, truth = rates(name, 200, monkeypatch)
    assert np.abs(estimated - truth).max() < DESIGNS[name][2]
    assert covered.min() > 0.90


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", DESIGNS)
def test_intervals_cover_in_95_of_100_cases(name, monkeypatch):
    covered, estimated, truth = rates(name, 1500, monkeypatch)
    assert np.abs(estimated - truth).max() < DESIGNS[name][2]
    assert covered.min() > 0.92
    # at the ends of what a share can be the interval must reach the end itself
    assert covered[(truth > 0) & (truth < 1)].max() < 0.985


def test_balanced_estimates_are_those_of_the_analysis_of_variance():
    """Against the textbook's mean squares of a two-way table without replicates."""
    a, b = 4, 6
    table = np.random.default_rng(3).normal(size=(a, b)) + np.arange(a)[:, None]
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    ms_rows = b * ((rows - mean) ** 2).sum() / (a - 1)
    ms_columns = a * ((columns - mean) ** 2).sum() / (b - 1)
    ms_rest = ((table - rows[:, None] - columns + mean) ** 2).sum() / ((a - 1) * (b - 1))
    found = decompose(table.ravel().tolist(), named(crossed(a, b))).shares
    expected = [max(0.0, (ms_rows - ms_rest) / b), max(0.0, (ms_columns - ms_rest) / a), ms_rest]
    assert [share.variance for share in found] == pytest.approx(expected)
    assert sum(share.share for share in found) == pytest.approx(1)


def test_the_same_values_have_the_same_intervals_every_time():
    values = planted(crossed(4, 4), (0.4, 0.3, 0.3), np.random.default_rng(0)).tolist()
    assert decompose(values, named(crossed(4, 4))) == decompose(values, named(crossed(4, 4)))


def test_sources_that_cannot_be_told_apart_are_named():
    levels = crossed(4, 5)
    together = decompose(planted(levels, (1, 1, 1), np.random.default_rng(0)).tolist(), named(levels[[0, 1, 0]]))
    assert together.together == {"split_seed": ("order_seed",), "weights_seed": ()}
    alone = decompose([0.1, 0.2, 0.4], {"split_seed": [0, 1, 2], "weights_seed": [5, 5, 5]})
    assert (alone.shares, alone.within_rest, alone.together) == ((), ("split_seed",), None)


def test_equal_values_have_no_variance_to_divide():
    assert decompose([0.9] * 16, named(crossed(4, 4))).shares == ()


# ---- the table


def report(rows, output="json"):
    return render(build_report(rows, planned(rows), None, ReportOptions(tables=("variance",))), output)


def grid(strategy="scratch", seeds=(0,), splits=(None,), **options):
    random = np.random.default_rng(2)
    of_split, of_weights = random.normal(size=9), random.normal(size=9)
    return [
        cell(seed, 0.9 + 0.01 * (of_split[split or seed] + of_weights[weights] + random.normal() / 4),
             strategy=strategy, split_seed=split, weights_seed=10 + weights, **options)
        for seed in seeds for split in splits for weights in range(5)
    ]  # fmt: skip


def test_the_table_has_a_row_for_each_source_and_the_rest():
    (table,) = json.loads(report(grid(splits=(None, 1, 2, 3))))["tables"]
    assert (table["name"], table["about"]["strategy"]) == ("variance", "scratch")
    rows = {row["source"]: row for row in table["rows"]}
    assert list(rows) == [*SOURCES, "rest"]
    for source in ("split_seed", "weights_seed", "rest"):
        assert 0 <= rows[source]["low"] <= rows[source]["share"] <= rows[source]["high"] <= 1
    assert rows["order_seed"]["share"] is None
    assert rows["order_seed"]["remark"] == "the same in all"


def test_seeds_crossed_with_one_stream_say_what_goes_together():
    (table,) = json.loads(report(grid(seeds=range(4))))["tables"]
    rows = {row["source"]: row for row in table["rows"]}
    assert rows["split_seed"]["remark"] == "with order_seed and augment_seed"
    assert rows["order_seed"]["remark"] == "varies with split_seed: part of its share"


@pytest.mark.parametrize("output", ["table", "markdown", "html", "csv", "latex"])
def test_every_format_has_the_table(output):
    assert "weights" in report(grid(splits=(None, 1, 2, 3)), output)


def test_a_lost_cell_leaves_a_hole_and_no_more():
    rows = grid(splits=(None, 1, 2, 3))
    rows[7] = cell(0, None, split_seed=1, weights_seed=2, status="failed", cause="oom")
    (table,) = json.loads(report(rows))["tables"]
    assert any("over 19 combinations" in note for note in table["notes"])


def test_folds_are_averaged_first():
    rows = [row for fold in range(5) for row in grid(splits=(None, 1, 2, 3), fold=fold)]
    (table,) = json.loads(report(rows))["tables"]
    assert any("over 20 combinations of seeds, each the mean of its folds" in note for note in table["notes"])


def test_plain_seeds_cannot_be_divided_and_a_note_says_what_can():
    document = json.loads(report([cell(seed, 0.9 + seed / 100) for seed in range(4)]))
    assert document["tables"] == []
    assert any(note.startswith("Variance: no group has several results") for note in document["notes"])
