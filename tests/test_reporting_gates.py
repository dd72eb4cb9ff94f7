"""When a gate of `bench compare --fail-if` passes, and what a comparison leaves out, in whole reports."""

from __future__ import annotations

import pytest
from test_reporting_honesty import HIGH, LOW, compared, main_row, side

from benchmark.errors import UserError
from benchmark.reporting.comparing.gate import decide, parse_gate

GATES = [
    ("worse", HIGH, LOW, False, "B is worse"),
    ("worse", LOW, HIGH, True, ""),
    ("worse", (0.8, 0.82, 0.81), (0.81, 0.8, 0.82), True, "is ruled out"),
    ("worse", LOW, (None, None, None), False, "no evidence"),
    ("worse", (0.8,), (0.9,), False, "fewer than two pairs"),
    ("worse:0.1pp", (0.8, 0.82, 0.81), (0.81, 0.8, 0.82), False, "may be worse by"),
    ("worse:20pp", (0.8, 0.82, 0.81), (0.81, 0.8, 0.82), True, ""),
    ("worse:0.2", (0.8, 0.82, 0.81), (0.81, 0.8, 0.82), True, ""),
    ("not-better", LOW, HIGH, True, ""),
    ("not-better", (0.8, 0.82, 0.81), (0.81, 0.8, 0.82), False, "not shown to be better"),
    ("not-equivalent", LOW, LOW, True, ""),
    ("not-equivalent", LOW, HIGH, False, "not shown to be equivalent"),
    ("better", LOW, HIGH, False, ""),
]


@pytest.mark.parametrize(("condition", "first", "second", "passes", "said"), GATES)
def test_a_gate_passes_on_evidence_alone(condition, first, second, passes, said):
    outcome = decide(compared(side("a", first), side("b", second), margin=0.005), parse_gate(condition))
    assert outcome.passes == passes
    assert said in " ".join(outcome.reasons)


def test_a_gate_fails_where_one_model_is_lost():
    first = side("a", LOW) + side("a", LOW, model="lost")
    outcome = decide(compared(first, side("b", HIGH)), parse_gate("worse"))
    assert not outcome.passes
    assert "digits, lost, a: B has no counterpart" in " ".join(outcome.reasons)


def two_places(*gains):
    """The selections of two models at which B gains so much."""
    places = list(zip(("m", "n"), gains, strict=True))
    first = [each for model, _ in places for each in side("a", LOW, model=model)]
    gained = [(model, [low + gain + seed / 1000 for seed, low in enumerate(LOW)]) for model, gain in places]
    return first, [each for model, scores in gained for each in side("b", scores, model=model)]


def test_no_average_hides_a_place_at_which_b_is_worse_by_more_than_the_margin():
    found = compared(*two_places(0.05, -0.06), margin=0.02)
    assert found.verdict == "equivalent"
    outcomes = {
        word: decide(found, parse_gate(word)) for word in ("worse", "worse:2pp", "worse:10pp", "not-equivalent")
    }
    assert [each.passes for each in outcomes.values()] == [False, False, True, False]
    assert "may be worse by 6" in outcomes["worse:2pp"].reasons[0]
    assert "equivalent on average, but better in some places" in outcomes["not-equivalent"].reasons[0]


def test_a_gate_on_a_better_average_names_the_place_that_is_worse():
    outcome = decide(compared(*two_places(0.3, -0.02)), parse_gate("not-better"))
    assert outcome.passes
    assert "worse in some places" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("condition", "passes"), [("worse", True), ("worse:9pp", False), ("not-better", False), ("not-equivalent", False)]
)
def test_survivors_of_b_pass_no_gate_that_asks_for_a_verdict(condition, passes):
    outcome = decide(compared(side("a", (*LOW, 0.8)), side("b", (*HIGH, None)), margin=0.5), parse_gate(condition))
    assert outcome.passes == passes
    assert "B lost 1 seed, A none" in " ".join(outcome.reasons)


def test_seeds_that_a_lost_keep_no_gate_from_passing():
    found = compared(side("a", (*LOW, None)), side("b", (*HIGH, 0.95)), margin=0.5)
    assert decide(found, parse_gate("worse:9pp")).passes


def test_a_gate_fails_where_nothing_is_comparable():
    found = compared(side("a", LOW, data_fingerprint="f"), side("b", HIGH, data_fingerprint="g"))
    assert not decide(found, parse_gate("worse")).passes


@pytest.mark.parametrize("text", ["worst", "worse:", "worse:-1", "better:0.1", "worse:lots"])
def test_a_gate_that_does_not_exist_is_the_users_mistake(text):
    with pytest.raises(UserError, match="--fail-if: expected one of"):
        parse_gate(text)


def test_compare_names_what_it_leaves_out():
    first = side("a", LOW) + side("a", LOW, model="alone") + side("a", LOW, machine="other", run_id=0)
    found = compared(first, side("b", HIGH))
    assert any(
        "Left out of A, without a counterpart: 1 group: digits, alone, a." in note
        for note in found.report.tables[0].notes
    )
    assert any("other (3 cells)" in note for note in found.report.notes)


def test_two_executions_of_the_same_cells_can_be_compared():
    found = compared(side("a", LOW, run_id=1), side("a", HIGH, run_id=2, start=11))
    assert found.verdict == "better"
    assert not any("themselves" in note for note in found.report.tables[0].notes)
    same = side("a", LOW)
    assert any("share 3 results" in note for note in compared(same, same).report.tables[0].notes)


def test_results_that_both_sides_hold_take_no_part_in_their_difference():
    first, again = side("a", (*LOW, 0.83)), side("a", HIGH[:2], start=11)
    found = compared(first, [*again, *first[2:]])
    alone = compared(first[:2], again)
    assert found.overall.n == 2
    assert (found.overall.mean, found.overall.half_width) == (alone.overall.mean, alone.overall.half_width)


def test_nothing_is_judged_between_results_and_themselves():
    same = side("a", LOW)
    found = compared(same, same, margin=0.1)
    assert main_row(found).cells["verdict"] is None
    outcomes = [decide(found, parse_gate(word)) for word in ("worse", "worse:1pp", "not-equivalent")]
    assert [each.passes for each in outcomes] == [False] * 3
    assert "A and B are the same results" in outcomes[0].reasons[0]


def test_a_place_that_is_the_same_on_both_sides_does_not_thin_the_average():
    shared = side("a", LOW, model="n")
    found = compared([*side("a", LOW), *shared], [*side("a", HIGH, start=11), *shared])
    assert found.overall.mean == pytest.approx(0.101)
