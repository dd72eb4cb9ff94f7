"""How numbers are written for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.reporting.notation import decimals_beside, number, written
from benchmark.reporting.statistics.intervals import Measurement, measure
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Tally
from benchmark.units import size


def around(mean, half_width, n=3):
    return Measurement((mean,) * n, mean, half_width, half_width)


@pytest.mark.parametrize(
    ("mean", "half_width", "kind", "text"),
    [
        (0.94321, 0.0123, "accuracy", "0.943 ± 0.012 (n=3)"),
        (0.94321, 0.25, "accuracy", "0.94 ± 0.25 (n=3)"),
        (0.94321, 0.00123, "accuracy", "0.9432 ± 0.0012 (n=3)"),
        (0.94321, 0.0000123, "accuracy", "0.9432 ± 0.0001 (n=3)"),
        (0.94321, 0.0, "accuracy", "0.943 ± 0.000 (n=3)"),
        (0.12345, 3.4, "loss", "0.1 ± 3.4 (n=3)"),
        (837.71, 12.4, "seconds", "838 ± 12 (n=3)"),
        (55.61, 0.34, "seconds", "55.61 ± 0.34 (n=3)"),
        (12345.6, 210, "rate", "12,346 ± 210 (n=3)"),
    ],
)
def test_the_interval_decides_the_digits(mean, half_width, kind, text):
    assert written(around(mean, half_width), kind) == text


def test_one_seed_shows_its_value_and_no_interval():
    assert written(measure([0.9926]), "accuracy") == "0.9926 (n=1)"
    assert written(measure([55.6]), "seconds") == "55.60 (n=1)"


def test_an_n_that_stands_beside_the_cell_is_not_said_again():
    assert written(around(0.9, 0.01), "accuracy", known_n=3) == "0.900 ± 0.010"
    assert written(around(0.9, 0.01), "accuracy", known_n=4) == "0.900 ± 0.010 (n=3)"


def test_a_difference_always_has_its_sign():
    def text(mean):
        return written(Difference(mean, 0.012, 3, "paired", 0.01, 0.01), "accuracy", known_n=3)

    assert text(0.021) == "+0.021 ± 0.012"
    assert text(-0.021) == "-0.021 ± 0.012"
    assert text(-0.0001) == "0.000 ± 0.012"


def test_counts_show_their_range_and_memory_its_maximum():
    assert written(measure([8, 10, 12]), "count", known_n=3) == "8-12"
    assert written(measure([225034, 225034]), "count", known_n=2) == "225,034"
    assert written(measure([2**29, 2**30]), "bytes", known_n=2) == "1.00 GiB"


def test_nothing_is_a_dash():
    assert written(None, "accuracy") == "-"
    assert written("", "text") == "-"


def test_a_tally_says_what_is_missing():
    assert written(Tally(3, 3), "count") == "3"
    assert written(Tally(2, 3), "count") == "2/3"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (math.nan, "loss", "nan"),
        (math.inf, "loss", "inf"),
        (-math.inf, "loss", "-inf"),
        (2.302585, "loss", "2.303"),
        (0.0216, "loss", "0.0216"),
        (1.5e12, "loss", "1.5e+12"),
        (0.0001, "p", "<0.001"),
        (0.0312, "p", "0.031"),
        (-0.0, "loss", "0.0000"),
    ],
)
def test_a_number_that_stands_alone(value, kind, text):
    assert number(value, kind) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (512 * 2**20, "512 MiB"), (1.25 * 2**30, "1.25 GiB")],
)
def test_sizes_are_binary_with_three_digits(count, text):
    assert size(count, digits=3) == text


@given(st.floats(), st.sampled_from(["accuracy", "loss", "seconds", "rate", "bytes", "count", "p"]))
def test_every_number_can_be_written(value, kind):
    assert number(value, kind)
    found = measure([value, 1.0])
    assert written(found, kind) if math.isfinite(value) or kind != "bytes" else True


@given(st.floats(1e-12, 1e12), st.sampled_from(["accuracy", "loss", "seconds", "rate"]))
def test_an_interval_that_is_not_zero_never_looks_like_zero(half_width, kind):
    text = written(around(0.5, half_width), kind, known_n=3).split(" ± ")[1]
    assert float(text.replace(",", "")) > 0
    assert decimals_beside(half_width, kind) <= 4
