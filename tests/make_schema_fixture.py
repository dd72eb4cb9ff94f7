"""Makes `tests/fixtures/schema/v<version>.sqlite`: a small database as this version of bench writes it.

Run it once for each released schema version, before the next one is begun: `python -m tests.make_schema_fixture`.
Files of earlier versions are never made again: they are what users have.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

FOLDER = Path(__file__).with_name("fixtures") / "schema"


def make(path: Path) -> None:
    """One cell completed, one interrupted, one diverged, one failed, one blocked, one left out."""
    from results_samples import MACHINE, begin, cell, epoch, run_cell

    from benchmark.events import Diverged, Failed
    from benchmark.matrix.cell import Weights
    from benchmark.results.store.database import open_database

    child = cell(4, weights=Weights("parent", None, cell(3).cell_id), strategy="from_parent")
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [*map(cell, range(4)), child], left_out=[_LeftOut()])
        run_cell(recorder, run_id, cell(0))
        for seed, state in ((1, "interrupted"), (2, "diverged"), (3, "failed")):
            start = recorder.start_attempt(run_id, cell(seed).cell_id, MACHINE)
            recorder.record(start.attempt_id, epoch(1))
            if state == "diverged":
                recorder.record(start.attempt_id, epoch(2, train_loss=math.nan, val_loss=math.inf, improved=False))
                recorder.record(start.attempt_id, Diverged(2, 3))
            error = Failed("failed", "ValueError", "bad shape", "Traceback …") if state == "failed" else None
            recorder.finish_attempt(start.attempt_id, state=state, error=error)
        recorder.block(run_id, child, MACHINE, f"its parent {cell(3).cell_id} did not complete")
        recorder.finish_run(run_id, "failed", 3)
    with closing(sqlite3.connect(path)) as connection:
        # a third of the size
        connection.execute("PRAGMA page_size=512")
        connection.execute("VACUUM")


class _LeftOut:
    dataset, model, strategy, seed, reason = "mnist", "vgg16", "scratch", 0, "vgg16 needs images of 32 pixels"


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from benchmark.results.schema.tables import SCHEMA_VERSION

    path = FOLDER / f"v{SCHEMA_VERSION}.sqlite"
    if path.exists():
        sys.exit(f"{path} exists; it is what users have and is not made again")
    FOLDER.mkdir(parents=True, exist_ok=True)
    make(path)


if __name__ == "__main__":
    main()
