"""In which order cells run: what is compared takes turns, the rest goes longest first."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from scheduling_plans import fake_cell

from benchmark.matrix.plan import ORDERS
from benchmark.matrix.report_spec import ReportSpec, TransferSpec
from benchmark.scheduling.decisions.queue import CellQueue
from benchmark.scheduling.decisions.turns import turns

SECONDS = {"big": 9.0, "small": 2.0}
CELLS = [
    fake_cell(model=model, strategy=strategy, seed=seed)
    for model, strategy, seed in itertools.product(("small", "big"), ("a", "b"), (0, 1, 2))
]


def seconds(cell) -> float:
    return SECONDS[cell.model] + (cell.strategy == "b")


def order_of(cells, order=None, report=None, **options) -> list[tuple[str, str, int]]:
    """Models, strategies and seeds in the order in which one place after the other takes them."""
    queue = CellQueue(
        cells, seconds, lambda cell: cell.threads, turns=partial(turns, order=order, report=report), **options
    )
    taken = []
    while queue.unfinished:
        cell, _ = queue.next(lambda cell: True, lambda cell: True)
        queue.finish(cell.cell_id)
        taken.append((cell.model, cell.strategy, cell.seed))
    return taken


def alternations(taken, model: str) -> int:
    strategies = [strategy for name, strategy, _ in taken if name == model]
    return sum(a != b for a, b in itertools.pairwise(strategies))


@pytest.mark.parametrize(
    "report",
    [
        ReportSpec(transfer=(TransferSpec("b", "a"),)),
        ReportSpec(progression=(("a", "b"),)),
        ReportSpec(baseline="a"),
    ],
)
def test_what_a_report_compares_takes_turns_seed_by_seed_and_the_largest_models_still_go_first(report):
    taken = order_of(CELLS, report=report)
    assert [model for model, _, _ in taken] == ["big"] * 6 + ["small"] * 6
    assert [seed for _, _, seed in taken] == [0, 0, 1, 1, 2, 2] * 2
    assert alternations(taken, "big") >= 3
    assert alternations(taken, "small") >= 3


def test_what_no_report_compares_goes_longest_first():
    assert order_of(CELLS) == order_of(CELLS, "longest")
    assert [strategy for _, strategy, _ in order_of(CELLS)] == list("bbbaaabbbaaa")


def test_without_a_word_in_report_what_starts_from_weights_is_compared_with_what_does_not():
    parent = fake_cell(dataset="low", model="big")
    tuned = [fake_cell(model="big", strategy="tuned", seed=seed, parent=parent) for seed in (0, 1, 2)]
    taken = order_of([parent, *tuned, *CELLS])
    mine = [(strategy, seed) for model, strategy, seed in taken[1:] if model == "big"]
    assert [seed for _, seed in mine] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert taken[0] == ("big", "scratch", 0)


def test_interleaved_means_one_seed_after_the_other_with_the_strategies_of_a_model_side_by_side():
    taken = order_of(CELLS, "interleaved")
    assert [seed for _, _, seed in taken] == [0] * 4 + [1] * 4 + [2] * 4
    assert [model for model, _, _ in taken] == ["big", "big", "small", "small"] * 3


def test_streams_and_folds_are_repetitions_like_seeds():
    from dataclasses import replace

    cells = [replace(cell, seed=0, weights_seed=cell.seed) for cell in CELLS if cell.model == "big"]
    strategies = [strategy for _, strategy, _ in order_of(cells, "interleaved")]
    assert sorted(strategies[:2]) == sorted(strategies[2:4]) == ["a", "b"]


def test_random_is_the_same_for_the_same_cells_and_another_for_others():
    assert order_of(CELLS, "random") == order_of(CELLS, "random")
    assert sorted(order_of(CELLS, "random")) == sorted(order_of(CELLS, "longest"))
    assert order_of(CELLS, "random") != order_of(CELLS, "longest")
    others = [cell for cell in CELLS if cell.seed < 2]
    assert order_of(others, "random") != [taken for taken in order_of(CELLS, "random") if taken[-1] < 2]


@pytest.mark.parametrize("order", ORDERS)
def test_parents_run_before_their_children_in_every_order(order):
    parent = fake_cell(dataset="low", model="small", seed=2)
    child = fake_cell(model="small", strategy="tuned", seed=0, parent=parent)
    taken = order_of([*CELLS, parent, child], order)
    assert taken.index(("small", "scratch", 2)) < taken.index(("small", "tuned", 0))


def test_cells_that_are_not_chained_start_without_their_parents():
    parent = fake_cell(dataset="low", model="small")
    child = fake_cell(model="big", strategy="tuned", parent=parent)
    assert order_of([parent, child], "longest", chained=False)[0] == ("big", "tuned", 0)
