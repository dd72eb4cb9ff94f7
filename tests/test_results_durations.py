from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from results_samples import MACHINE, begin, cell, run_cell

from benchmark.matrix.cell import Cell
from benchmark.results.read import durations
from benchmark.results.schema.tables import attempt, run
from benchmark.results.store.database import open_database


def test_like_executions_are_averaged_and_the_newest_tells_their_settings(tmp_path):
    other = cell(9, threads=2)
    with open_database(tmp_path / "r.sqlite", mode="write") as database:
        recorder, run_id = begin(database, [cell(0), cell(1), other, cell(5)])
        for one in (cell(0), cell(1), other):
            run_cell(recorder, run_id, one)
        recorder.start_attempt(run_id, cell(5).cell_id, MACHINE)
        rows = durations.efforts(database, MACHINE)
        assert [(row["executions"], row["epochs"], row["total_seconds"]) for row in rows] == [
            (2, 3.0, 9.0),
            (1, 3.0, 9.0),
        ]
        assert Cell.from_dict(json.loads(rows[0]["spec"])) == cell(1)
        assert durations.efforts(database, "elsewhere") == []


def test_the_start_of_a_run_is_that_of_its_first_attempt_and_the_shortest_counts(tmp_path):
    with open_database(tmp_path / "r.sqlite", mode="write") as database:
        for number in range(3):
            recorder, run_id = begin(database, [cell(number)])
            run_cell(recorder, run_id, cell(number))
        assert durations.starts(database, "elsewhere") == {}
        for run_id, seconds in ((1, 59), (2, 7), (3, 9)):
            begin_before_attempt(database, run_id, seconds)
        assert durations.starts(database, MACHINE) == {cell(0).backend: 7.0}
        begin_before_attempt(database, 2, None)
        assert durations.starts(database, MACHINE) == {cell(0).backend: 9.0}


def begin_before_attempt(database, run_id, seconds):
    """Has a run begin so many seconds before its first attempt; None for a moment that is none."""
    with database.transaction() as connection:
        first = connection.execute(sa.select(attempt.c.started_utc).where(attempt.c.run_id == run_id)).scalar_one()
        begun = "once" if seconds is None else (datetime.fromisoformat(first) - timedelta(seconds=seconds)).isoformat()
        connection.execute(sa.update(run).where(run.c.run_id == run_id).values(started_utc=begun))


def test_cells_that_differ_in_more_than_their_seeds_are_not_averaged(tmp_path):
    """Whatever it is: columns for it or none, as for a command or a callback."""

    def commanded(seed, *command):
        plain = cell(seed)
        own = replace(plain.architecture, name="script", parameters=(), command=command)
        return replace(plain, architecture=own, cell_id=f"{len(command[-1])}{plain.cell_id[1:]}")

    cells = [commanded(seed, "python", name) for name in ("a.py", "bcd.py") for seed in (0, 1)]
    with open_database(tmp_path / "r.sqlite", mode="write") as database:
        recorder, run_id = begin(database, cells)
        for one in cells:
            run_cell(recorder, run_id, one)
        rows = durations.efforts(database, MACHINE)
    assert [(row["executions"], Cell.from_dict(json.loads(row["spec"])).architecture.command[-1]) for row in rows] == [
        (2, "a.py"),
        (2, "bcd.py"),
    ]
