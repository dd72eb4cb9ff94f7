from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from scheduling_plans import fake_cell

from benchmark.scheduling.processes.slots import Slots


@given(st.integers(1, 8), st.integers(1, 9), st.lists(st.integers(1, 12), max_size=20), st.randoms())
def test_cores_are_never_lent_twice_and_all_come_back(count, jobs, wishes, random):
    slots = Slots(range(count), (), jobs)
    held = []
    for threads in wishes:
        grant = slots.take(fake_cell(threads=threads))
        if grant is not None:
            assert len(grant.cores) == min(threads, count)
            held.append(grant)
        elif held and random.random() < 0.5:
            slots.give(held.pop(random.randrange(len(held))))
        lent = [core for grant in held for core in grant.cores]
        assert len(lent) == len(set(lent))
        assert len(held) == slots.running <= slots.jobs
    for grant in held:
        slots.give(grant)
    assert slots.take(fake_cell(threads=99)).cores == tuple(range(count))


def test_one_job_at_a_time_when_asked():
    slots = Slots(range(4), (), 1)
    grant = slots.take(fake_cell())
    assert slots.take(fake_cell(seed=1)) is None
    slots.give(grant)
    assert slots.take(fake_cell(seed=1)) is not None


def test_work_that_is_no_cell_takes_a_core_but_no_job():
    slots = Slots(range(2), (), 1)
    assert slots.take_cores().cores == (0,)
    assert slots.take(fake_cell()).cores == (1,)
    assert slots.take_cores() is None


def test_works_that_can_use_many_cores_share_those_that_are_free():
    slots = Slots(range(5), (), None)
    assert slots.take(fake_cell()).cores == (0,)
    assert slots.take_cores(among=2).cores == (1, 2)
    assert slots.take_cores(among=1).cores == (3, 4)
    assert slots.take_cores(among=1) is None


def test_a_gpu_serves_one_cell_and_its_number_is_respected():
    slots = Slots(range(8), (0, 1), None)
    assert slots.take(fake_cell(device="gpu:1")).gpu == 1
    assert slots.take(fake_cell(device="gpu:1", seed=1)) is None
    assert slots.take(fake_cell(device="gpu", seed=2)).gpu == 0
    assert slots.take(fake_cell(device="gpu", seed=3)) is None
    assert slots.take(fake_cell(seed=4)).gpu is None


@given(st.integers(1, 3), st.integers(1, 3), st.lists(st.sampled_from(["cpu", "gpu", "gpu:0", "gpu:1"]), max_size=20))
def test_a_gpu_is_never_lent_to_more_cells_than_may_share_it(count, share, devices):
    slots = Slots(range(20), range(count), None, share)
    held = []
    for seed, device in enumerate(devices):
        cell = fake_cell(device=device, seed=seed)
        on = Counter(grant.gpu for grant in held if grant.gpu is not None)
        wanted = [int(device[4:])] if ":" in device else range(count)
        room = [gpu for gpu in wanted if gpu < count and on[gpu] < share]
        grant = slots.take(cell)
        assert (grant is None) == (device != "cpu" and not room)
        if grant is not None:
            assert (grant.gpu is None) if device == "cpu" else on[grant.gpu] == min(on[gpu] for gpu in room)
            held.append(grant)
        if len(held) > 4:
            slots.give(held.pop(0))


def test_a_gpu_in_quarantine_is_lent_no_more():
    slots = Slots(range(2), (0,), None)
    grant = slots.take(fake_cell(device="gpu"))
    slots.quarantine(0)
    slots.give(grant)
    assert slots.take(fake_cell(device="gpu")) is None
    assert not slots.possible(fake_cell(device="gpu"))
    assert slots.possible(fake_cell())
