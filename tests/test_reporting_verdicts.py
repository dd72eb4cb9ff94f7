"""What verdicts hold: rates of error and power by simulation with known truth, against SciPy where it has the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.reporting.statistics.equivalence import detectable, equivalence_p, lower_bound, ruled_out
from benchmark.reporting.statistics.families import judge, simultaneous_half_width
from benchmark.reporting.statistics.intervals import FRACTION, measure
from benchmark.reporting.statistics.mean_difference import compare
from benchmark.reporting.statistics.proportions import fisher_p, mcnemar, wilson
from benchmark.reporting.statistics.seeds_and_images import ADVICE, over_seeds_and_images


def by_seed(values, first=0):
    return {first + index: float(value) for index, value in enumerate(values)}


def verdicts(firsts, seconds, *, margin=None, offset=0):
    """The verdict of each row of two arrays [draws, seeds], each a family of its own."""
    differences = [compare(by_seed(a), by_seed(b, offset)) for a, b in zip(firsts, seconds, strict=True)]
    return [judge([each], higher_is_better=True, margin=margin)[0].verdict for each in differences]


def share(words, *wanted):
    return sum(word in wanted for word in words) / len(words)


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("offset", [0, 100], ids=["paired", "unpaired"])
def test_without_an_effect_at_most_one_verdict_in_twenty_is_false(n, offset):
    draws = np.random.default_rng(n).normal(size=(2, 1500, n))
    assert share(verdicts(*draws, offset=offset), "better", "worse") <= 0.06


LAWS = {
    "exponential": lambda generator, size: 1 - generator.exponential(size=size),
    "lognormal": lambda generator, size: math.exp(0.5) - np.exp(generator.normal(size=size)),
    "collapsing": lambda generator, size: generator.normal(size=size) - 5.5 * (generator.random(size) < 0.1) + 0.55,
}


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("law", LAWS)
def test_a_long_lower_tail_on_one_side_gives_few_false_verdicts_from_six_pairs(law, n):
    generator = np.random.default_rng(3)
    steady = generator.normal(0, 0.05, (1000, n))
    # 9 %, and one standard error of the simulation
    assert share(verdicts(steady, LAWS[law](generator, (1000, n))), "better", "worse") <= 0.099


@pytest.mark.parametrize("values", [[0.4, 0.5, 0.45, 0.4, 0.5, 0.3], [-0.4, -0.5, -0.45, -0.4, -0.5, -0.3]])
def test_the_interval_of_skewed_differences_is_longer_on_the_side_of_the_tail_and_decides_with_p(values):
    found = compare(by_seed([0.0] * 6), by_seed(values))
    plain = stats.ttest_1samp(values, 0).confidence_interval()
    has_lower_tail = values[0] > 0
    assert found.low < plain.low
    assert found.high > plain.high
    assert (found.mean - found.low > found.high - found.mean) == has_lower_tail
    assert found.half_width == pytest.approx(abs(found.mean) - min(abs(found.low), abs(found.high)))
    assert found.p < 0.05
    assert found.low > 0 or found.high < 0


@pytest.mark.parametrize("n", [6, 12])
def test_both_sides_are_those_of_halls_transformation(n):
    values = 1 - np.random.default_rng(n).exponential(size=n)
    found = compare(by_seed([0.0] * n), by_seed(values))
    gamma = (n + 1) / (n - 1) * stats.skew(values, bias=False) / math.sqrt(n)
    assert gamma < -0.1
    for reach, part in ((found.mean - found.low, 1), (found.high - found.mean, 0.6)):
        t, tail = reach / stats.sem(values), part * gamma
        hall = t + tail * t**2 / 3 + tail**2 * t**3 / 27 + tail / 6
        assert hall == pytest.approx(stats.t.ppf(0.975, n - 1))


def test_skewed_differences_widen_the_interval_and_symmetric_ones_do_not():
    steady = by_seed([0.0] * 6)
    assert compare(steady, by_seed([0.1, 0.11, 0.09, 0.1, 0.1, -0.9])).is_skewed
    even = compare(steady, by_seed([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert not even.is_skewed
    assert even.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0).pvalue)


def test_two_shared_seeds_do_not_override_five_and_five():
    generator = np.random.default_rng(5)
    a, b = generator.normal(size=(2, 400, 5))
    words = verdicts(a, b + 2, offset=3)
    assert share(words, "better") >= 0.7


@pytest.mark.parametrize(
    ("first", "second", "method"),
    [
        (range(5), range(5), "paired"), (range(5), range(2, 7), "paired"), (range(5), range(3, 8), "unpaired"),
        (range(3), range(1, 10), "paired"), (range(4), range(2, 6), "unpaired"), ([0], [0, 1], "paired"),
    ],
)  # fmt: skip
def test_what_is_paired_follows_from_the_counts_alone(first, second, method):
    assert compare(dict.fromkeys(first, 0.5), dict.fromkeys(second, 0.6)).method == method


def test_seeds_that_pair_in_part_give_what_a_hand_computes_from_the_pairs_alone():
    a = {0: 0.90, 1: 0.91, 2: 0.92, 3: 0.93, 4: 0.90}
    b = {1: 0.92, 2: 0.94, 3: 0.94, 4: 0.93, 5: 0.99}
    found = compare(a, b)
    # differences 0.01 0.02 0.01 0.03: sd √(2.75e-4 / 3) = 0.009574, t(0.975, 3) = 3.1824
    assert (found.method, found.n) == ("paired", 4)
    assert found.mean == pytest.approx(0.0175)
    assert found.half_width == pytest.approx(3.182446 * 0.0095743 / 2, rel=1e-4)
    assert found.p == pytest.approx(0.035, abs=5e-4)


def test_where_no_more_than_half_of_the_seeds_pair_all_seeds_count_and_none_is_paired():
    a, b = dict(enumerate([0.90, 0.91, 0.92, 0.93])), dict(enumerate([0.95, 0.96, 0.97, 0.98], start=2))
    found = compare(a, b)
    # both variances are 5e-4 / 3: error √(2 · 1.6667e-4 / 4) = 0.0091287, t(0.975, 6) = 2.4469
    assert (found.method, found.n) == ("unpaired", 4)
    assert found.mean == pytest.approx(0.05)
    assert found.half_width == pytest.approx(2.446912 * 0.0091287, rel=1e-4)


def test_an_effect_at_the_margin_is_rarely_called_equivalent():
    generator = np.random.default_rng(7)
    a, b = generator.normal(size=(2, 1500, 5))
    assert share(verdicts(a, b + 1, margin=1.0), "equivalent") <= 0.06
    differences = [compare(by_seed(x), by_seed(y - 1)) for x, y in zip(a, b, strict=True)]
    assert sum(lower_bound(each) > -1 for each in differences) / len(differences) <= 0.06


def test_equals_are_called_equivalent_as_often_as_two_one_sided_tests_promise():
    n, generator = 10, np.random.default_rng(8)
    a, b = generator.normal(size=(2, 1500, n))
    margin = 3 * math.sqrt(2 / n)
    words = verdicts(a, b, margin=margin)
    # |mean| < margin - t(0.95) · se, from the exact law of mean and se
    means, errors = generator.normal(size=100_000), np.sqrt(generator.chisquare(n - 1, 100_000) / (n - 1))
    predicted = (np.abs(means) < 3 - stats.t.ppf(0.95, n - 1) * errors).mean()
    assert share(words, "equivalent") == pytest.approx(predicted, abs=0.05)


def test_a_difference_that_is_resolved_and_small_is_equivalent():
    found = judge(
        [compare(by_seed([0.9, 0.9, 0.9]), by_seed([0.901, 0.9011, 0.9012]))], higher_is_better=True, margin=0.01
    )
    assert (found[0].verdict, found[0].adjusted_p < 0.05) == ("equivalent", True)


def test_two_one_sided_tests_are_those_of_scipy():
    first, second = [0.90, 0.91, 0.93, 0.92], [0.905, 0.912, 0.929, 0.93]
    each = np.subtract(second, first)
    sides = [
        stats.ttest_1samp(each, bound, alternative=way).pvalue for bound, way in ((-0.01, "greater"), (0.01, "less"))
    ]
    assert equivalence_p(compare(by_seed(first), by_seed(second)), 0.01) == pytest.approx(max(sides))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_what_n_could_have_shown_is_that_of_the_noncentral_t(n):
    found = compare(by_seed([0.0] * n), by_seed(np.linspace(-1, 1, n)))
    noncentrality = detectable(found) / found.error
    assert stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, noncentrality) == pytest.approx(0.8, abs=1e-6)
    assert ruled_out(found) == pytest.approx(max(abs(found.low), found.high))


def test_a_mean_on_few_images_is_never_certain_and_stays_a_fraction():
    found = measure([0.9972, 0.9972], step=1 / 360, bounds=FRACTION)
    assert found.half_width > 0
    assert found.sd == 0
    assert 0 <= found.low < found.high == 1
    assert found.is_cut


@pytest.mark.parametrize("n", [2, 3])
def test_the_interval_of_a_counted_mean_covers_the_mean(n):
    generator = np.random.default_rng(9)
    truths = generator.uniform(0.9, 0.95, 1500)
    counts = np.round(360 * truths[:, None] + 0.3 * generator.normal(size=(1500, n)))
    means = [measure(row / 360, step=1 / 360, bounds=FRACTION) for row in counts]
    assert np.mean([each.low <= truth <= each.high for each, truth in zip(means, truths, strict=True)]) >= 0.93


def test_the_interval_of_a_winner_covers_it_although_it_was_chosen():
    generator = np.random.default_rng(10)
    covered = []
    for draw in generator.normal(1, 1, (1000, 4, 5)):
        steps = [compare(by_seed([0.0] * 5), by_seed(step)) for step in draw]
        best = max(steps, key=lambda step: step.mean)
        covered.append(abs(best.mean - 1) <= simultaneous_half_width(best, len(steps)))
    assert np.mean(covered) >= 0.94


@pytest.mark.parametrize("counts", [(0, 5), (3, 5), (5, 5)])
def test_shares_and_their_tests_are_those_of_scipy(counts):
    interval = wilson(*counts)
    assert 0 <= interval.low <= counts[0] / counts[1] <= interval.high <= 1
    assert fisher_p((counts[0], counts[1] - counts[0]), (5, 0)) == pytest.approx(
        stats.fisher_exact([[counts[0], counts[1] - counts[0]], [5, 0]]).pvalue
    )
    assert mcnemar(*counts).p == pytest.approx(stats.binomtest(counts[0], sum(counts)).pvalue)


def test_networks_that_err_alike_have_nothing_to_test():
    assert mcnemar(0, 0).p == 1


def right_or_wrong(generator, seeds, images, *, of_seeds, of_images):
    """Both sides' outcomes [seeds, images], equally good over the population of seeds and images."""
    difficulty, lean = generator.normal(2, 1.5, images), generator.normal(0, of_images, images)
    sides = []
    for way in (-0.5, 0.5):
        ability = generator.normal(0, of_seeds, (seeds, 1)) + generator.normal(size=(seeds, images))
        sides.append((difficulty + way * lean + ability > 0).astype(float))
    return sides


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("of_seeds", "of_images"), [(0.05, 0.3), (0.2, 0.3), (0.0, 1.0)])
def test_the_interval_over_seeds_and_images_covers_the_difference_in_the_population(paired, of_seeds, of_images):
    generator = np.random.default_rng(11)
    covered = []
    for _ in range(500):
        a, b = right_or_wrong(generator, 10, 300, of_seeds=of_seeds, of_images=of_images)
        found = over_seeds_and_images(b - a) if paired else over_seeds_and_images(a, b)
        covered.append(found.interval.low <= 0 <= found.interval.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_the_parts_add_up_and_say_what_would_help():
    generator = np.random.default_rng(12)
    a, b = right_or_wrong(generator, 10, 100, of_seeds=0.0, of_images=2.0)
    found = over_seeds_and_images(b - a)
    assert math.hypot(found.seeds, found.images) == pytest.approx(found.half_width)
    assert ADVICE[found.narrowed_by] == "more seeds will not help, more test images would"
    a, b = right_or_wrong(generator, 5, 2000, of_seeds=2.0, of_images=0.0)
    assert ADVICE[over_seeds_and_images(a, b).narrowed_by] == "more test images will not help, more seeds would"


def test_one_seed_or_one_image_has_no_such_interval():
    assert over_seeds_and_images(np.ones((1, 50))) is None
    assert over_seeds_and_images(np.eye(3), np.ones((1, 3))) is None
    assert over_seeds_and_images(np.ones((3, 1))) is None
    assert over_seeds_and_images(np.ones((3, 20))) is None


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_other_images_never_make_an_interval_narrower_than_the_seeds_alone(seeds):
    generator = np.random.default_rng(13)
    for _ in range(50):
        a, b = right_or_wrong(generator, seeds, 100, of_seeds=0.3, of_images=0.1)
        found, alone = over_seeds_and_images(b - a), measure((b - a).mean(axis=1))
        assert found.half_width >= alone.half_width - 1e-12
