from __future__ import annotations

import pytest

from benchmark.forecast.simulation import Room, Work, ends

TWO = Room(cores=2, jobs=2)


def total(work, room=TWO):
    return max(ends(work, room).values())


def test_equal_cells_share_the_cores():
    assert total([Work(str(number), 10.0, 1) for number in range(5)]) == 30.0


def test_the_longest_chain_begins_first():
    work = [
        *(Work(f"short{number}", 5.0, 1) for number in range(4)),
        Work("a", 10.0, 1),
        Work("b", 10.0, 1, parent="a"),
    ]
    assert total(work) == 20.0


def test_a_child_waits_for_its_parent():
    assert ends([Work("a", 3.0, 1), Work("b", 4.0, 1, parent="a")], TWO) == {"a": 3.0, "b": 7.0}
    assert ends([Work("b", 4.0, 1, parent="finished long ago")], TWO) == {"b": 4.0}


def test_wide_cells_wait_for_all_cores():
    assert total([Work("a", 3.0, 2), Work("b", 3.0, 2)]) == 6.0
    assert total([Work("a", 3.0, 64)]) == 3.0


def test_one_graphics_processor_is_used_by_one_cell():
    work = [Work("a", 3.0, 1, gpu=True), Work("b", 3.0, 1, gpu=True), Work("c", 3.0, 1)]
    assert ends(work, Room(4, 4, 1)) == {"a": 3.0, "c": 3.0, "b": 6.0}
    assert ends(work, Room(4, 4, 0)) == {"c": 3.0}


def test_what_runs_already_keeps_its_place():
    assert ends([Work("a", 10.0, 1), Work("b", 1.0, 2, running=True)], TWO) == {"b": 1.0, "a": 11.0}


def test_the_shortest_first_end_sooner_on_average():
    work = [Work("long", 9.0, 1), *(Work(f"short{number}", 1.0, 1) for number in range(4))]
    one = Room(1, 1)
    assert next(iter(ends(work, one))) == "long"
    assert list(ends(work, one, shortest_first=True))[-1] == "long"


def test_a_hundred_thousand_cells_are_played_through_in_a_moment():
    import time

    work = [Work(str(number), 1.0 + number % 7, 1) for number in range(100_000)]
    began = time.process_time()
    assert total(work, Room(64, 64)) == pytest.approx(6250, rel=0.01)
    assert time.process_time() - began < 3
