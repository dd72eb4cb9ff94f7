"""Cells of one run whose first stages are the same: one of them trains these, the others begin where they end."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from dataclasses import replace

import pandas as pd
import pytest
from harness import Run, running
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place

from benchmark.events import StagesTaken, StageStarted, StageStored
from benchmark.files import sha256_of
from benchmark.machine import cpu_cores
from benchmark.scheduling.decisions.queue import CellQueue
from benchmark.scheduling.decisions.shared_stages import SharedStages

FROZEN = fake_cell(strategy="frozen", epochs=3)
TWO = fake_cell(strategy="two", epochs=[3, 2])
THREE = fake_cell(strategy="three", epochs=[3, 2, 4])
OTHER = fake_cell(strategy="other", epochs=[3, 5])
FAMILY = [FROZEN, TWO, THREE, OTHER]
STRANGER = fake_cell(strategy="stranger", epochs=2, seed=7)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.001")
    return Place(tmp_path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The digests of cells that trained everything themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_TESTING", "1")
        patch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.001")
        place = Place(tmp_path_factory.mktemp("alone"))
        place.run([replace(cell, share_stages=False) for cell in [*FAMILY, STRANGER]])
    assert shared_epochs(place) == dict.fromkeys([*FAMILY, STRANGER], 0)
    return place.digests()


def shared_epochs(place: Place) -> dict:
    """Of each cell, in its newest execution."""
    found = dict(place.rows("select cell_id, shared_epochs from execution order by execution_id"))
    return {cell: found[cell.cell_id] for cell in [*FAMILY, STRANGER] if cell.cell_id in found}


def stored(place: Place) -> list[str]:
    return [path.name for path in (place.artifacts / "stages").rglob("state.npz")]


class Order(Listener):
    """Also keeps when cells began and ended each stage."""

    def moments(self) -> list[tuple[str, str, int]]:
        found = []
        for name, cell, *rest in (call for call in self.told if call[0] in {"cell_started", "epoch"}):
            if name == "cell_started":
                found.append((cell.strategy, "started", 0))
            elif not rest[0].replayed:
                found.append((cell.strategy, "trained", rest[0].epoch))
        return found


def test_a_stage_that_cells_have_in_common_is_trained_once_and_the_numbers_stay_the_same(place, alone):
    assert place.run([*FAMILY, STRANGER], jobs=1, listener=Order()).exit_code == 0
    assert place.digests() == alone
    trained = [moment for moment in place.listener.moments() if moment[1] == "trained"]
    # three of the first stage, two of the second that `two` and `three` share, and 4, 5 and 2 of nobody else
    assert len(trained) == 3 + 2 + 4 + 5 + 2
    assert sorted(shared_epochs(place).values()) == [0, 0, 3, 3, 5]
    assert not (place.artifacts / "stages").exists()
    assert place.rows("select count(*) from execution where resumed") == [(0,)]


@pytest.mark.skipif(cpu_cores() < 2, reason="on one core one cell runs at a time")
def test_cells_wait_for_who_trains_their_stage_and_others_pass_them_by(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.1")
    place.run([TWO, FROZEN, STRANGER], jobs=2, listener=Order())
    moments = place.listener.moments()
    # `frozen` would have been the second, for it is longer than the stranger
    assert [name for name, what, _ in moments if what == "started"] == ["two", "stranger", "frozen"]
    assert moments.index(("frozen", "started", 0)) > moments.index(("two", "trained", 3))
    assert shared_epochs(place) == {TWO: 0, FROZEN: 3, STRANGER: 0}


def test_what_the_shared_epochs_cost_is_in_the_database(place):
    place.run([TWO, FROZEN], jobs=1)
    with contextlib.closing(sqlite3.connect(place.database)) as connection:
        cells = pd.read_sql_query("select * from execution join cell using (cell_id)", connection, index_col="strategy")
        epochs = pd.read_sql_query("select * from history", connection)
    seconds = epochs.groupby(["strategy", "stage"])["seconds"].sum()
    assert list(cells.loc[["two", "frozen"], "shared_epochs"]) == [0, 3]
    assert list(cells.loc[["two", "frozen"], "shared_seconds"]) == pytest.approx([0.0, seconds["two", 1]])
    # what a cell would have taken alone, however it came by its epochs
    assert cells.loc["frozen", "fit_seconds"] == pytest.approx(seconds["two", 1])
    assert cells.loc["two", "fit_seconds"] == pytest.approx(seconds["two"].sum())


def test_when_the_first_cell_fails_the_next_one_trains_the_stage(place, alone, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", f"stage:1:raise:ValueError@{THREE.cell_id}")
    assert place.run(FAMILY, jobs=1).exit_code == 3
    assert place.digests() == {name: alone[name] for name in place.digests()}
    assert sorted(place.digests()) == sorted(cell.cell_id for cell in (FROZEN, TWO, OTHER))
    assert sum(epochs == 3 for epochs in shared_epochs(place).values()) == 2


def test_a_cell_that_crashes_in_the_shared_stage_goes_on_and_the_others_do_not_wait_for_it_again(
    place, alone, monkeypatch
):
    monkeypatch.setenv("BENCH_FAULT", f"batch:6:kill9@{THREE.cell_id}")
    monkeypatch.setenv("BENCH_FAULT_MARK", str(place.folder / "struck"))
    assert place.run(FAMILY, jobs=2).exit_code == 0
    assert place.digests() == {cell.cell_id: alone[cell.cell_id] for cell in FAMILY}


def test_where_states_cannot_be_stored_every_cell_trains_and_nobody_waits(place, alone):
    place.artifacts.mkdir()
    (place.artifacts / "stages").write_text("a file in the way")
    assert place.run(FAMILY, jobs=2).exit_code == 0
    assert place.digests() == {cell.cell_id: alone[cell.cell_id] for cell in FAMILY}
    assert set(shared_epochs(place).values()) == {0}
    assert sum("not stored for other cells" in (detail or "") for _, detail in place.attempts()) == 1


def test_a_damaged_state_is_passed_over_and_said(place, alone, monkeypatch):
    # the first byte of every state that is stored for others is cleared as soon as it is there
    class Vandal(Listener):
        def epoch(self, cell, event):
            with contextlib.suppress(FileNotFoundError):  # what is just being made
                for path in (place.artifacts / "stages").rglob("state.npz"):
                    path.write_bytes(b"\0" + path.read_bytes()[1:])

    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.02")
    assert place.run([OTHER, FROZEN], jobs=1, listener=Vandal()).exit_code == 0
    assert place.digests() == {cell.cell_id: alone[cell.cell_id] for cell in (OTHER, FROZEN)}
    assert shared_epochs(place) == {OTHER: 0, FROZEN: 0}
    assert any("not begun from" in (detail or "") for _, detail in place.attempts())


def test_a_cell_that_is_run_again_trains_again(place):
    place.run([TWO, FROZEN], jobs=1)
    left = place.artifacts / "stages"
    left.mkdir()
    planted = (
        SharedStages([TWO, FROZEN], (), (), place.artifacts).folders(TWO)[1] / sha256_of(b'{"weights": null}')[:16]
    )
    planted.mkdir(parents=True)
    (planted / "state.npz").write_text("of an earlier run")
    assert place.run([TWO, FROZEN], jobs=1, rerun=True).exit_code == 0
    # first comes the one that took longer, on whatever account
    assert sorted(shared_epochs(place).values()) == [0, 3]
    assert not [detail for _, detail in place.attempts() if "not begun from" in (detail or "")]
    assert not left.exists()


MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["frozen", "two", "three"]
backend = "fake"

[strategy.frozen]
[[strategy.frozen.stage]]
train = "head"
epochs = 4

[strategy.two]
[[strategy.two.stage]]
train = "head"
epochs = 4
[[strategy.two.stage]]
train = "all"
epochs = 4

[strategy.three]
[[strategy.three.stage]]
train = "head"
epochs = 4
[[strategy.three.stage]]
train = "all"
learning_rate = 1e-5
epochs = 6
"""
SECOND_STAGE = "select count(*) from epoch where stage = 2"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    with contextlib.contextmanager(running)(tmp_path_factory.mktemp("clean"), MATRIX) as run:
        assert run.resume() == 0
        return run.digests()


@pytest.fixture
def run(tmp_path):
    yield from running(tmp_path, MATRIX)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)], ids=str
)
def test_what_an_interrupted_run_has_trained_for_others_is_there_for_the_next(run: Run, clean, number):
    process = run.start("run", "--machine", "test", "--jobs", "1", **run.held(6))
    run.wait_for(SECOND_STAGE)
    process.send_signal(number)
    process.communicate()
    run.wait_until_alone()
    before = run.epochs()
    assert list((run.folder / "results.artifacts" / "stages").rglob("state.npz"))
    assert run.resume() == 0
    run.check(clean, before)
    assert run.rows("select shared_epochs from execution order by 1") == [(0,), (4,), (4,)]
    assert not (run.folder / "results.artifacts" / "stages").exists()


# ---- who waits for whom


def sharing_of(*cells, begun=(), root):
    return SharedStages(cells, begun, (), root)


def test_a_cell_waits_only_until_the_stage_is_there(tmp_path):
    sharing = sharing_of(THREE, TWO, FROZEN, STRANGER, root=tmp_path)
    sharing.start(THREE)
    assert sharing.awaited(FROZEN) is not None
    assert sharing.awaited(STRANGER) is None
    assert sharing.awaited(THREE) is None
    sharing.hear(THREE, StageStored(1, stored=True), lambda: True)
    assert sharing.awaited(FROZEN) is None
    assert sharing.awaited(TWO) is not None
    sharing.hear(THREE, StageStored(2, stored=True), lambda: True)
    assert sharing.awaited(TWO) is None


def test_a_cell_that_may_begin_behind_two_stages_does_not_wait_for_the_first(tmp_path):
    sharing = sharing_of(THREE, TWO, FROZEN, root=tmp_path)
    sharing.hear(THREE, StagesTaken(2), lambda: True)
    sharing.start(FROZEN)
    assert sharing.awaited(TWO) is None


def test_each_state_is_stored_once_and_only_while_somebody_needs_it(tmp_path):
    sharing = sharing_of(THREE, TWO, FROZEN, root=tmp_path)
    everybody = {cell.cell_id for cell in (THREE, TWO, FROZEN)}
    assert sharing.to_store(THREE, everybody) == (1, 2)
    assert sharing.to_store(THREE, everybody - {TWO.cell_id}) == (1,)
    assert sharing.to_store(THREE, {THREE.cell_id}) == ()
    again = sharing_of(THREE, TWO, FROZEN, root=tmp_path)
    again.start(THREE)
    again.hear(THREE, StageStored(1, stored=True), lambda: True)
    assert again.to_store(TWO, everybody) == (2,)


@pytest.mark.parametrize("how", ["failed", "not stored"])
def test_nobody_waits_twice_in_vain(how, tmp_path):
    sharing = sharing_of(OTHER, TWO, FROZEN, root=tmp_path)
    sharing.start(OTHER)
    if how == "failed":
        sharing.end(OTHER)
    else:
        sharing.hear(OTHER, StageStored(1, stored=False), lambda: True)
    sharing.start(TWO)
    assert sharing.awaited(FROZEN) is None


def test_a_cell_that_resumes_behind_the_stage_keeps_nobody_waiting_and_the_next_one_is_waited_for(tmp_path):
    sharing = sharing_of(OTHER, TWO, FROZEN, begun={OTHER.cell_id}, root=tmp_path)
    sharing.start(OTHER)
    assert sharing.awaited(FROZEN) is not None
    sharing.hear(OTHER, StageStarted(2, 5, 10), lambda: True)
    sharing.start(TWO)
    assert sharing.awaited(FROZEN) is not None


def test_a_cell_with_epochs_of_its_own_waits_for_nobody(tmp_path):
    sharing = sharing_of(OTHER, TWO, begun={TWO.cell_id}, root=tmp_path)
    sharing.start(OTHER)
    assert sharing.awaited(TWO) is None


@pytest.mark.parametrize("undisturbed", [True, False])
def test_disturbed_epochs_disturb_the_timings_of_all_that_take_them(undisturbed, tmp_path):
    sharing = sharing_of(OTHER, TWO, root=tmp_path)
    sharing.start(OTHER)
    sharing.hear(OTHER, StageStored(1, stored=True), lambda: undisturbed)
    sharing.hear(TWO, StagesTaken(1), lambda: True)
    assert sharing.is_disturbed(TWO) is not undisturbed
    assert not sharing.is_disturbed(OTHER)


def test_nobody_knows_how_epochs_of_an_earlier_run_were_timed(tmp_path):
    sharing = sharing_of(OTHER, TWO, root=tmp_path)
    sharing.hear(TWO, StagesTaken(1), lambda: True)
    assert sharing.is_disturbed(TWO)


def test_what_cells_that_share_nothing_tell_changes_nothing(tmp_path):
    sharing = sharing_of(OTHER, TWO, STRANGER, root=tmp_path)
    for event in (StagesTaken(1), StageStored(1, stored=True), StageStarted(2, 1, 1)):
        sharing.hear(STRANGER, event, lambda: True)
    sharing.hear(OTHER, StagesTaken(9), lambda: True)
    assert not sharing.is_disturbed(STRANGER)
    assert not sharing.is_disturbed(OTHER)
    assert sharing.to_store(STRANGER, {STRANGER.cell_id}) == ()


def test_cells_set_aside_hold_nobody_up_and_come_back_together():
    waits = {TWO.cell_id, FROZEN.cell_id}
    seconds = {THREE: 9.0, TWO: 5.0, FROZEN: 3.0, STRANGER: 2.0}
    graph = CellQueue(
        [THREE, TWO, FROZEN, STRANGER],
        seconds.__getitem__,
        lambda cell: cell.threads,
        awaited=lambda cell: "stage" if cell.cell_id in waits else None,
    )

    def taken():
        found = graph.next(lambda cell: True, lambda cell: cell)
        return found and found[0]

    assert [taken(), taken(), taken()] == [THREE, STRANGER, None]
    graph.drop(FROZEN.cell_id)
    waits.clear()
    assert [taken(), taken()] == [TWO, None]
