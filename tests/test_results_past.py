from __future__ import annotations

import json

from results_samples import MACHINE, begin, cell, run_cell

from benchmark.matrix.cell import Cell
from benchmark.results import past
from benchmark.results.database import open_database


def test_like_executions_are_averaged_and_the_newest_tells_their_settings(tmp_path):
    other = cell(9, threads=2)
    with open_database(tmp_path / "r.sqlite", mode="write") as database:
        recorder, run_id = begin(database, [cell(0), cell(1), other, cell(5)])
        for one in (cell(0), cell(1), other):
            run_cell(recorder, run_id, one)
        recorder.start_attempt(run_id, cell(5).cell_id, MACHINE)
        rows = past.efforts(database, MACHINE)
        assert [(row["executions"], row["epochs"], row["total_seconds"]) for row in rows] == [
            (2, 3.0, 9.0),
            (1, 3.0, 9.0),
        ]
        assert Cell.from_dict(json.loads(rows[0]["spec"])) == cell(1)
        assert past.efforts(database, "elsewhere") == []
        expected = {one.cell_id: "completed" for one in (cell(0), cell(1), other)}
        assert past.statuses(database, MACHINE) == {**expected, cell(5).cell_id: "running"}
