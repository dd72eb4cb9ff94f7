from __future__ import annotations

import random

import pytest

from benchmark.forecast.regression import Fit

USUAL = (1.0, 2.0, 0.5)


def rows(coefficients, count, noise=0.0, seed=0):
    source = random.Random(seed)
    for _ in range(count):
        quantities = tuple(source.choice([0.0, 1.0, 5.0, 30.0]) for _ in coefficients)
        exact = sum(one * other for one, other in zip(quantities, coefficients, strict=True))
        yield quantities, exact * source.uniform(1 - noise, 1 + noise)


def fitted(coefficients, count, noise=0.0):
    fit = Fit(USUAL)
    for quantities, measured in rows(coefficients, count, noise):
        fit.add(quantities, measured)
    return fit


def test_nothing_measured_leaves_what_is_usual():
    assert Fit(USUAL).coefficients == USUAL
    assert Fit(USUAL).value((1, 1, 2)) == 4.0


def test_one_row_scales_everything():
    fit = Fit(USUAL)
    fit.add((10.0, 0.0, 0.0), 30.0)
    assert fit.coefficients == pytest.approx((3.0, 6.0, 1.5), rel=0.15)


@pytest.mark.parametrize("coefficients", [(1.0, 2.0, 0.5), (3.0, 0.2, 1.5), (0.0, 4.0, 0.5)])
def test_many_rows_give_the_coefficients_that_made_them(coefficients):
    assert fitted(coefficients, 200).coefficients == pytest.approx(coefficients, rel=0.1, abs=0.1)


def test_noise_and_a_wild_row_do_no_great_harm():
    fit = fitted((3.0, 1.0, 1.0), 100, noise=0.5)
    fit.add((1.0, 1.0, 1.0), 1e6)
    fit.add((1e6, 1.0, 1.0), 1.0)
    assert fit.value((10.0, 10.0, 10.0)) == pytest.approx(50.0, rel=0.25)


def test_no_coefficient_is_negative_and_nothing_is_learnt_from_nothing():
    fit = Fit(USUAL)
    fit.add((0.0, 0.0, 0.0), 5.0)
    fit.add((1.0, 0.0, 0.0), 0.0)
    assert fit.rows == 0
    for quantities, measured in (((1.0, 1.0, 0.0), 0.5), ((1.0, 0.0, 0.0), 9.0)):
        fit.add(quantities, measured)
    assert min(fit.coefficients) >= 0
