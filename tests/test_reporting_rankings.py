"""Rankings over datasets, against Demšar's own example and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from figure_samples import drawn_texts
from reporting_samples import row
from scipy import stats

from benchmark.reporting.figures.groups.critical_difference import draw_critical_difference
from benchmark.reporting.report import build_report
from benchmark.reporting.statistics.ranks import alike, rank, signed_rank_p
from benchmark.reporting.tables.shown import ReportOptions

# J. Demšar, JMLR 7 (2006), table 6: area under the curve of C4.5, +m, +cf, +m+cf on 14 datasets
METHODS = ("c45", "c45_m", "c45_cf", "c45_m_cf")
TABLE_6 = [
    (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.975, 0.974), (0.957, 0.978, 0.946, 0.970),
]  # fmt: skip


def results(scores, methods=METHODS, seeds=1):
    return [
        row(method, seed, score, dataset=f"d{number}", salt=method)
        for number, line in enumerate(scores)
        for method, score in zip(methods, line, strict=True)
        for seed in range(seeds)
    ]


def rankings(rows, **options):
    return build_report(rows, (), None, ReportOptions(tables=("rankings",), **options))


def test_table_6_of_demsar_comes_out_to_the_digit():
    ranks, _ = rankings(results(TABLE_6)).tables
    means = {each.cells["strategy"]: round(each.cells["mean_rank"], 3) for each in ranks.rows}
    assert means == {"c45": 3.143, "c45_m": 2.000, "c45_cf": 2.893, "c45_m_cf": 1.964}
    first = ranks.rows[0].cells
    assert round(first["friedman_chi2"], 2) == 9.28
    assert round(first["iman_davenport_f"], 2) == 3.69
    assert round(first["critical_difference"], 2) == 1.25
    assert first["p"] == pytest.approx(stats.f.sf(first["iman_davenport_f"], 3, 39))


def test_without_ties_the_chi_squared_is_that_of_scipy():
    scores = np.random.default_rng(0).normal(size=(9, 5))
    assert rank(scores).chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)
    assert rank(-scores, higher_is_better=False).mean_ranks == rank(scores).mean_ranks


def test_datasets_that_all_agree_leave_no_doubt():
    ranking = rank([[3, 2, 1]] * 4)
    assert (ranking.mean_ranks, ranking.f, ranking.p) == ((1, 2, 3), math.inf, 0.0)


def test_without_a_difference_one_ranking_in_twenty_is_resolved():
    draws = np.random.default_rng(1).normal(size=(2000, 10, 4))
    assert np.mean([rank(scores).p < 0.05 for scores in draws]) == pytest.approx(0.05, abs=0.015)


def test_pairs_have_wilcoxons_p_after_holm():
    _, pairs = rankings(results(TABLE_6)).tables
    assert len(pairs.rows) == 6
    known = {(each.cells["first"], each.cells["second"]): each.cells for each in pairs.rows}
    differences = [round(b - a, 12) for a, b, _, _ in TABLE_6]
    expected = stats.wilcoxon(differences, zero_method="zsplit").pvalue
    assert known["c45", "c45_m"]["wilcoxon_p"] == pytest.approx(expected)
    assert [known["c45", "c45_m"][key] for key in ("wins", "draws", "losses")] == [10, 2, 2]
    assert all(each["adjusted_p"] >= each["wilcoxon_p"] for each in known.values())


def test_a_baseline_is_compared_with_each_of_the_others():
    _, pairs = rankings(results(TABLE_6), baseline="c45").tables
    named = {(each.cells["first"], each.cells["second"]) for each in pairs.rows}
    assert named == {("c45", method) for method in METHODS[1:]}
    assert "Holm over 3" in pairs.notes[0]


def test_a_margin_makes_draws():
    _, pairs = rankings(results(TABLE_6), baseline="c45", margin=0.5).tables
    assert [each.cells["draws"] for each in pairs.rows] == [14, 14, 14]


def test_few_datasets_are_named_and_get_no_verdict():
    ranks, pairs = rankings(results(TABLE_6[:5])).tables
    assert "holds for these 5 datasets" in " ".join(ranks.notes)
    assert {each.cells["verdict"] for each in pairs.rows} == {None}
    assert signed_rank_p([0.1] * 5) is None
    assert signed_rank_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2**-5)
    assert signed_rank_p([0.0] * 6) == 1.0


def test_a_dataset_on_which_a_method_has_no_result_is_left_out_and_named():
    ranks, _ = rankings(results(TABLE_6)[:-1]).tables
    assert ranks.rows[0].cells["datasets"] == 13
    assert any("Left out" in note and "d13" in note for note in ranks.notes)


def test_models_are_ranked_where_there_is_one_strategy():
    rows = [row("scratch", 0, 0.9 + m / 50, dataset=f"d{d}", model=f"m{m}") for d in range(7) for m in range(2)]
    ranks, pairs = rankings(rows).tables
    assert [each.cells["strategy"] for each in ranks.rows] == ["m1", "m0"]
    assert pairs.rows[0].cells["verdict"] == "better"


def test_one_dataset_is_no_ranking():
    report = rankings(results(TABLE_6[:1]))
    assert report.tables == ()
    assert any("fewer than two datasets" in note for note in report.notes)


def test_methods_within_the_critical_difference_are_bound_together():
    assert alike([3.143, 2.0, 2.893, 1.964], 1.16) == [(3, 1, 2), (1, 2, 0)]
    assert alike([1.0, 3.0], 0.5) == []


def test_the_critical_difference_diagram_names_all_methods_and_the_difference():
    figure = draw_critical_difference("c45", METHODS, rank(TABLE_6), 14)
    texts = " ".join(text.get_text() for text in drawn_texts(figure))
    assert all(method in texts for method in METHODS)
    assert "critical difference 1.25" in texts
    assert "ranks over 14 datasets" in texts
