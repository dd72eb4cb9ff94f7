"""`bench status --follow` tells what the run itself tells, although it knows the database alone."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place

from benchmark.cli.progress.followed_run import SHOWN_ENDINGS, FollowedRun
from benchmark.cli.progress.plain_log import LINE_SECONDS, PlainLog
from benchmark.results.read.runs import run_progress
from benchmark.results.store.database import open_database


class Follower(Listener):
    """Looks at the database of the run whenever the run says something, as another process might."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self._gate = place.folder / "gate"
        self.lines: list[str] = []
        self.rows: list[tuple] = []
        self.followed: FollowedRun | None = None
        # so much time passes from one look to the next
        self.log = PlainLog(write=lambda line: self.lines.append(line.partition(" ")[2]))
        self.log.board.clock = lambda: LINE_SECONDS * len(self.told)

    def look(self) -> None:
        with open_database(str(self.place.database), mode="read") as database:
            if self.followed is None:
                progress = run_progress(database)
                assert progress is not None
                self.followed = FollowedRun(self.log, database, progress)
            self.followed.look(database)
        running = self.log.board.running.values()
        self.rows.append(tuple((each.names, each.epoch, each.phase, each.node) for each in running))

    def cell_started(self, *start) -> None:
        self.told.append(("cell_started", *start))
        self._gate.unlink(missing_ok=True)

    def epoch(self, cell, event) -> None:
        self.told.append(("epoch", cell, event))
        self.look()
        if event.epoch == 2:
            self._gate.touch()

    def cell_finished(self, *ending) -> None:
        self.told.append(("cell_finished", *ending))
        self._gate.unlink(missing_ok=True)
        self.look()


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_the_database_tells_what_the_run_tells(place, monkeypatch):
    first, second = fake_cell(epochs=3), fake_cell(epochs=3, model="resnet18")
    broken = fake_cell(epochs=3, model="vgg16", strategy="other")
    # the second epoch is written down alone: until it is told no cell goes on to the third one
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.12")
    monkeypatch.setenv("BENCH_FAKE_GATE", f"3:{place.folder / 'gate'}")
    monkeypatch.setenv("BENCH_FAULT", f"evaluate:1:raise@{broken.cell_id}")
    follower = Follower(place)
    place.run([first, second, broken], follower, jobs=1)
    follower.look()
    ends = {cell.cell_id: detail for cell, *_, detail in follower.of("cell_finished")}
    ended = [line for line in follower.lines if line.startswith("[")]
    assert len(ended) == 3
    for cell in (first, second):
        (line,) = (line for line in ended if f" {cell.model} " in line)
        ((accuracy,),) = place.rows(f"select test_accuracy from execution where cell_id = '{cell.cell_id}'")
        assert re.search(rf"completed in [\d.]+ s, test_accuracy {accuracy:.3f}, epoch 3/3", line)
    (line,) = (line for line in ended if " vgg16 " in line)
    assert re.search(r"failed in [\d.]+ s, epoch 3/3", line)
    assert ends[broken.cell_id].splitlines()[0] in line
    seen = [row for rows in follower.rows for row in rows]
    assert {names for names, *_ in seen} == {"simple_cnn scratch", "resnet18 scratch", "vgg16 other"}
    assert ("resnet18 scratch", 2, None, None) in seen
    assert follower.rows[-1] == ()
    board = follower.log.board
    assert (board.done, board.total, dict(board.counts)) == (3, 3, {"completed": 2, "failed": 1})


def test_reused_cells_are_not_waited_for_and_settings_tell_cells_apart(place):
    done = fake_cell(epochs=1)
    place.run([done])
    small = fake_cell(epochs=1, model="resnet18")
    large = replace(small, cell_id="b" * 20, stages=(replace(small.stages[0], batch_size=64),))
    follower = Follower(place)
    place.run([done, small, large], follower, jobs=1)
    assert follower.lines[0].startswith("run 2: 2 cells to do")
    assert "[2/2] digits resnet18 scratch seed 0 batch_size=64: completed" in follower.lines[-1]
    assert list(follower.log.board.axes) == ["model", "batch_size"]


def test_of_cells_that_ended_long_ago_the_last_are_shown_and_all_are_counted(place):
    cells = [fake_cell(epochs=1, seed=seed) for seed in range(SHOWN_ENDINGS + 2)]
    place.run(cells)
    follower = Follower(place)
    follower.look()
    assert len([line for line in follower.lines if line.startswith("[")]) == SHOWN_ENDINGS
    assert follower.lines[-1].startswith(f"[{len(cells)}/{len(cells)}] ")
    assert follower.log.board.counts == {"completed": len(cells)}


def test_a_cell_on_a_node_says_so():
    lines: list[str] = []
    log, cell = PlainLog(write=lines.append), fake_cell()
    log.run_started(1, SimpleNamespace(cells=[cell], axes=()), (), lambda: None)
    log.cell_started(cell, 1)
    log.placed(cell, "10.0.0.7")
    assert lines[-1].endswith("digits simple_cnn scratch seed 0: on node 10.0.0.7")
    assert log.board.running[cell.cell_id].node == "10.0.0.7"
