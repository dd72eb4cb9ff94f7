"""The statistics, with SciPy's own tests as the oracle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmark.reporting.statistics.families import holm, judge
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.statistics.mean_difference import compare, sign_flip_p
from benchmark.reporting.statistics.robust import robust

FINITE = st.floats(-1e3, 1e3)
SAMPLES = st.lists(FINITE, min_size=2, max_size=12)
FEW = st.lists(FINITE, min_size=2, max_size=5)
"""Too few for the bootstrap, which widens the interval of skewed differences."""


def spread(values):
    return max(values) - min(values) > 1e-6


def by_seed(values):
    return dict(enumerate(values))


@given(SAMPLES)
def test_the_interval_of_a_mean_is_that_of_scipy(values):
    assume(spread(values))
    found = measure(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx((low + high) / 2, abs=1e-9)
    assert found.half_width == pytest.approx((high - low) / 2)
    assert found.sd == pytest.approx(stats.tstd(values))
    assert found.n == len(values)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=5))
def test_a_paired_difference_is_that_of_scipy(pairs):
    first, second = zip(*pairs, strict=True)
    assume(spread([two - one for one, two in pairs]))
    found = compare(by_seed(first), by_seed(second))
    expected = stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert found.method == "paired"
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert found.half_width == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


@given(FEW, FEW)
def test_an_unpaired_difference_is_that_of_welch(first, second):
    assume(spread(first) and spread(second))
    found = compare(by_seed(first), {seed + 100: value for seed, value in enumerate(second)})
    expected = stats.ttest_ind(second, first, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.method == "unpaired"
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert found.half_width == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


# eighths: their sums have no rounding, of which SciPy would make two sums where there is one
@given(st.lists(st.integers(-800, 800).filter(bool).map(lambda value: value / 8), min_size=2, max_size=9))
def test_sign_flips_are_those_of_scipys_permutation_test(differences):
    expected = stats.permutation_test(
        (differences,), lambda values, axis: abs(values.sum(axis=axis)), permutation_type="samples",
        alternative="greater", n_resamples=math.inf, vectorized=True,
    )  # fmt: skip
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue)
    assert sign_flip_p(differences) >= 2.0 ** (1 - len(differences)) - 1e-12


def test_sums_that_differ_by_rounding_alone_are_one():
    # SciPy makes 0.99 of this: the signs as they are give the smallest sum there is, but for its last bits
    assert sign_flip_p([1.6, 34.25, -1.0, -1.0, -1.25, -1.75, -95.25, 64.5]) == 1.0


def test_sign_flips_of_many_differences_are_not_enumerated():
    assert sign_flip_p([1.0] * 17) is None
    assert sign_flip_p([1.0] * 16) == 2.0**-15


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_closed_test_procedure_rejects(probabilities):
    """Holm is the closure of Bonferroni: reject i when every set of hypotheses that holds i is rejected."""
    adjusted = holm(probabilities)
    for index, found in enumerate(adjusted):
        sets = (
            chosen
            for size in range(1, len(probabilities) + 1)
            for chosen in itertools.combinations(range(len(probabilities)), size)
            if index in chosen
        )
        closed = max(min(1.0, len(each) * min(probabilities[i] for i in each)) for each in sets)
        assert found == pytest.approx(closed)


def test_holm_does_not_count_what_could_not_be_tested():
    assert holm([0.02, None, 0.03]) == [0.04, None, 0.04]


def test_one_value_has_no_interval():
    found = measure([0.5])
    assert (found.mean, found.sd, found.half_width, found.n) == (0.5, None, None, 1)


def test_nothing_measured_is_none():
    assert measure([]) is None
    assert compare({}, {0: 1.0}) is None


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_shows_in_the_mean_and_has_no_interval(odd):
    found = measure([1.0, odd, 2.0])
    assert not math.isfinite(found.mean)
    assert found.half_width is None


def test_a_value_that_is_not_finite_takes_no_part_in_a_comparison():
    found = compare({0: 1.0, 1: math.nan, 2: 2.0}, {0: 1.5, 1: 2.0, 2: 2.6})
    assert found.n == 2
    assert found.mean == pytest.approx(0.55)


def test_seeds_pair_even_when_they_stand_in_another_order():
    found = compare({0: 1.0, 1: 2.0, 2: 3.0}, {2: 3.1, 0: 1.1, 1: 2.1})
    assert found.mean == pytest.approx(0.1)
    assert found.half_width == pytest.approx(0, abs=1e-9)


def test_one_common_seed_with_enough_others_is_compared_without_pairs():
    assert compare({0: 1.0, 1: 2.0}, {1: 1.0, 2: 3.0}).method == "unpaired"


def test_one_pair_has_a_difference_and_no_verdict():
    found = judge([compare({0: 0.1}, {0: 0.9})], higher_is_better=True)[0]
    assert found.mean == pytest.approx(0.8)
    assert found.half_width is None
    assert found.verdict == "not resolved"


@pytest.mark.parametrize(
    ("higher_is_better", "shift", "verdict"),
    [(True, 1, "better"), (True, -1, "worse"), (False, 1, "worse"), (False, -1, "better"), (None, 1, None)],
)
def test_a_verdict_knows_which_way_is_better(higher_is_better, shift, verdict):
    first = {0: 1.0, 1: 1.1, 2: 0.9}
    second = {seed: value + shift + 0.01 * seed for seed, value in first.items()}
    assert judge([compare(first, second)], higher_is_better=higher_is_better)[0].verdict == verdict


@given(st.lists(FINITE, min_size=3, max_size=6), st.lists(FINITE, min_size=3, max_size=6))
def test_a_lone_verdict_is_resolved_exactly_when_its_interval_leaves_zero_out(first, second):
    found = judge([compare(by_seed(first), by_seed(second))], higher_is_better=True)[0]
    assume(abs(abs(found.mean) - found.half_width) > 1e-9)
    assert (found.verdict != "not resolved") == (abs(found.mean) > found.half_width)


def test_several_comparisons_must_be_clearer_than_one():
    first, second = {0: 0.0, 1: 0.0, 2: 0.0}, {0: 0.09, 1: 0.1, 2: 0.13}
    single = compare(first, second)
    assert judge([single], higher_is_better=True)[0].verdict == "better"
    many = judge([single] * 6, higher_is_better=True)
    assert {each.verdict for each in many} == {"not resolved"}
    assert many[0].comparisons == 6


def test_seeds_that_agree_by_chance_are_not_certainty():
    """Two of 72 test images more, in both seeds: without the step of one image the spread would be zero."""
    first, second = {0: 60 / 72, 1: 61 / 72}, {0: 62 / 72, 1: 63 / 72}
    assert judge([compare(first, second)], higher_is_better=True)[0].verdict == "better"
    assert judge([compare(first, second, step=1 / 72)], higher_is_better=True)[0].verdict == "not resolved"


def test_differences_that_agree_up_to_rounding_are_equal():
    found = compare({0: 0.8, 1: 0.7, 2: 0.3}, {0: 0.9, 1: 0.8, 2: 0.4})
    assert found.half_width == 0
    assert measure([0.99, 0.99, 0.99]).mean == 0.99


def test_chance_alone_rarely_gives_a_verdict():
    """Of many comparisons of equals about one in twenty is resolved: what a 95 % interval promises."""
    import numpy as np

    draws = np.random.default_rng(7).normal(size=(2000, 2, 3))
    judged = [judge([compare(by_seed(a), by_seed(b))], higher_is_better=True)[0].verdict for a, b in draws]
    resolved = sum(verdict != "not resolved" for verdict in judged)
    assert 60 <= resolved <= 140


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=6), st.booleans())
def test_no_numbers_break_a_comparison(pairs, shifted):
    first = {seed: one for seed, (one, _) in enumerate(pairs)}
    second = {seed + 10 * shifted: two for seed, (_, two) in enumerate(pairs)}
    found = judge([compare(first, second)], higher_is_better=True)[0]
    assert found is None or found.verdict in {"better", "worse", "not resolved"}


def test_ten_seeds_give_interquartile_means_and_the_share_of_pairs_as_scipy_does():
    random = np.random.default_rng(3)
    a, b = random.normal(size=11), random.normal(0.7, size=14)
    both = robust(a.tolist(), b.tolist())
    assert both.first == pytest.approx(stats.trim_mean(a, 0.25))
    assert both.second == pytest.approx(stats.trim_mean(b, 0.25))
    assert both.above == pytest.approx(stats.mannwhitneyu(b, a).statistic / (11 * 14))
    assert robust(a.tolist(), b.tolist()[:9]) is None


@pytest.mark.parametrize(("shift", "seeds"), [(0.0, 10), (1.0, 10), (1.0, 30), (3.0, 10)])
def test_the_interval_of_the_share_of_pairs_covers_the_true_one(shift, seeds):
    random, true = np.random.default_rng(7), stats.norm.cdf(shift / np.sqrt(2))
    drawn = [(random.normal(size=seeds).tolist(), random.normal(shift, size=seeds).tolist()) for _ in range(600)]
    intervals = [robust(a, b).interval for a, b in drawn]
    assert np.mean([each.low <= true <= each.high for each in intervals]) >= 0.92


def test_sides_that_do_not_overlap_leave_the_share_of_pairs_uncertain():
    apart = robust([*range(10)], [*range(10, 20)])
    assert apart.above == apart.interval.high == 1
    assert 0.5 < apart.interval.low < 0.9
