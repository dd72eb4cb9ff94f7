"""Verdicts by looking again, and of whole campaigns, keep their promises in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.sequential import (
    FIRST_LOOK,
    Spent,
    boundaries,
    campaign_level,
    expected_maximum,
    fixed_pairs,
    look_again,
    needed_pairs,
    verdict,
)

REPLAYS = 4000


def replay(effect: float, most: int, looks: range, *, draw: str = "normal") -> tuple[np.ndarray, np.ndarray]:
    """Of many sequences the look at which each is decided (0 for none), and whether all intervals cover the effect."""
    generator = np.random.default_rng(5)
    values = (
        generator.standard_normal((REPLAYS, most)) if draw == "normal" else generator.standard_t(4, (REPLAYS, most))
    )
    values = values + effect
    schedule, earlier = [], []
    for n in looks:
        look = look_again(0.0, 1.0, n, earlier, most)
        earlier.append(Spent(n, look.alpha, most))
        schedule.append((n, math.inf if look.high is None else look.high))
    decided, covers = np.zeros(REPLAYS, int), np.ones(REPLAYS, bool)
    for n, factor in schedule:
        mean, error = values[:, :n].mean(1), values[:, :n].std(1, ddof=1) / math.sqrt(n)
        covers &= np.abs(mean - effect) <= factor * error
        decided[(decided == 0) & (np.abs(mean) > factor * error)] = n
    return decided, covers


@pytest.mark.parametrize("looks", [range(3, 21), range(5, 21, 4), range(20, 21)])
def test_without_effect_a_verdict_is_false_in_at_most_5_percent_however_often_one_looks(looks: range) -> None:
    decided, _ = replay(0.0, 20, looks)
    assert (decided > 0).mean() <= 0.05


def test_heavy_tails_do_not_raise_the_error() -> None:
    decided, _ = replay(0.0, 20, range(3, 21), draw="t4")
    assert (decided > 0).mean() <= 0.05


def test_a_look_at_skewed_differences_reaches_farther_on_the_side_of_the_tail() -> None:
    plain, skewed = (look_again(0.0, 1.0, 6, [], 20, skew) for skew in (0.0, -0.5))
    assert plain.low is not None
    assert skewed.low is not None
    assert skewed.low < plain.low == -(plain.high or 0.0)
    assert skewed.high == plain.high


def test_the_intervals_of_all_looks_cover_together() -> None:
    _, covers = replay(0.7, 20, range(3, 21))
    assert 0.945 <= covers.mean() <= 0.97


def test_at_one_deviation_looking_saves_a_third_of_the_pairs_that_equal_power_needs() -> None:
    decided, _ = replay(1.0, 20, range(3, 21))
    power = (decided > 0).mean()
    pairs = np.where(decided > 0, decided, 20).mean()
    fixed = fixed_pairs(1.0, power=float(power))
    assert power > 0.9
    assert fixed is not None
    assert pairs <= 0.7 * fixed


def test_a_plan_for_more_seeds_spends_nine_tenths_of_what_is_left_and_all_plans_together_stay_below_5_percent() -> None:
    spent: list[Spent] = []
    for most in (10, 20, 40):
        before = math.fsum(look.alpha for look in spent)
        while not spent or spent[-1].n < most:
            n = spent[-1].n + 1 if spent else FIRST_LOOK
            spent.append(Spent(n, look_again(0.0, 1.0, n, spent, most).alpha, most))
        assert math.fsum(look.alpha for look in spent) - before == pytest.approx(0.9 * (ALPHA - before))
    values = np.random.default_rng(6).standard_normal((REPLAYS, 40))
    crossed = np.zeros(REPLAYS, bool)
    for look, factor in zip(spent, boundaries([look[:2] for look in spent]), strict=True):
        mean, error = values[:, : look.n].mean(1), values[:, : look.n].std(1, ddof=1) / math.sqrt(look.n)
        crossed |= np.abs(mean) > factor * error
    assert crossed.mean() <= 0.055


def test_a_look_that_may_spend_nothing_says_nothing() -> None:
    look = look_again(0.5, 0.01, 3, [], 10_000)
    assert look.low is None
    assert verdict(look.low, look.high, higher_is_better=True, margin=1.0) == "not resolved"


def test_the_same_looks_give_the_same_interval() -> None:
    earlier = [Spent(3, 0.002, 20)]
    assert look_again(0.1, 0.02, 5, earlier, 20) == look_again(0.1, 0.02, 5, earlier, 20)


@pytest.mark.parametrize(
    ("low", "high", "margin", "higher", "expected"),
    [
        (0.01, 0.03, None, True, "better"),
        (0.01, 0.03, None, False, "worse"),
        (-0.03, -0.01, 0.005, True, "worse"),
        (-0.01, 0.02, None, True, "not resolved"),
        (-0.003, 0.004, 0.005, True, "equivalent"),
        (0.001, 0.004, 0.005, True, "equivalent"),
        (-0.003, 0.006, 0.005, True, "not resolved"),
    ],
)
def test_the_verdict_follows_from_the_interval_alone(
    low: float, high: float, margin: float | None, higher: bool, expected: str
) -> None:
    assert verdict(low, high, higher_is_better=higher, margin=margin) == expected


@pytest.mark.parametrize(("effect", "pairs", "decided"), [(1.0, 11.5, 0.96), (2.0, 6.6, 1.0), (0.0, 19.7, 0.045)])
def test_the_forecast_of_pairs_agrees_with_a_replay(effect: float, pairs: float, decided: float) -> None:
    need = needed_pairs(effect, 20)
    ends, _ = replay(effect, 20, range(3, 21))
    assert need.pairs == pytest.approx(np.where(ends > 0, ends, 20).mean(), rel=0.05)
    assert need.pairs == pytest.approx(pairs, rel=0.1)
    assert need.decided == pytest.approx(decided, abs=0.02)


def test_a_margin_is_ruled_out_with_few_pairs_where_it_is_wide() -> None:
    assert needed_pairs(0.0, 20, margin=3.0).decided > 0.99
    assert needed_pairs(0.0, 20, margin=3.0).pairs < 10


def test_the_pairs_of_a_single_test_are_those_of_the_noncentral_t_distribution() -> None:
    from scipy.stats import nct, t

    n = fixed_pairs(1.0)
    assert n == 10
    power = [nct.sf(t.ppf(0.975, k - 1), k - 1, math.sqrt(k)) for k in (n - 1, n)]
    assert power[0] < 0.8 <= power[1]


def test_of_campaigns_of_ideas_without_effect_at_most_5_percent_have_a_false_verdict() -> None:
    p = np.random.default_rng(7).uniform(size=(2000, 20))
    p[:, 5] = p[:, 4]
    failed = 0
    for campaign in p:
        rejected: list[bool] = []
        for value in campaign:
            rejected.append(bool(value < campaign_level(rejected)))
        failed += any(rejected)
    assert failed <= 0.05 * len(p)


def test_the_error_of_a_campaign_sums_to_5_percent_and_that_of_a_found_idea_passes_on() -> None:
    levels = [campaign_level([False] * k) for k in range(2000)]
    assert 0.048 < sum(levels) < ALPHA
    assert campaign_level([True]) == pytest.approx(levels[0] + levels[1])
    assert campaign_level([True, False]) == levels[2]


def test_a_found_idea_does_not_raise_the_error_of_the_others() -> None:
    p = np.random.default_rng(8).uniform(size=(4000, 20))
    p[:, ::4] = 0.0
    null = [k for k in range(20) if k % 4]
    failed = 0
    for campaign in p:
        rejected: list[bool] = []
        for value in campaign:
            rejected.append(bool(value < campaign_level(rejected)))
        failed += any(rejected[k] for k in null)
    assert failed <= 0.055 * len(p)


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, 0.5642), (10, 1.5388), (34, 2.0947), (100, 2.5076)])
def test_the_expected_maximum_is_tippetts(count: int, expected: float) -> None:
    assert expected_maximum(count) == pytest.approx(expected, abs=2e-4)
