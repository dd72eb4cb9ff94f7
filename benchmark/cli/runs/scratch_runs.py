"""Runs cells in a database and a folder of artifacts that are gone afterwards: what is tried there touches nobody's results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import layout
from benchmark.cli.runs.start_run import display
from benchmark.errors import INTERRUPTED_EXIT_CODES, CellsFailedError
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.results.read.queries import cell_detail
from benchmark.results.read.rows import Row
from benchmark.results.store.database import Database, open_database
from benchmark.scheduling.run import run_matrix
from benchmark.scheduling.run_options import Observer, RunOptions, RunSummary
from benchmark.status import Status


@dataclass(frozen=True, slots=True)
class Executed:
    """One execution: its row, and the rows of its epochs, attempts and artifacts."""

    row: Row
    epochs: list[Row]
    attempts: list[Row]
    artifacts: list[Row]


@dataclass(frozen=True, slots=True)
class ScratchRuns:
    """Runs cells in one temporary database, one at a time."""

    database: Database
    options: RunOptions

    def run(
        self, plan: Plan, cell: Cell, watch: Callable[[Observer], Observer] = lambda shown: shown
    ) -> Executed | int:
        """Runs a cell of the plan anew, and whatever it starts from once.

        Args:
            plan: The cell with its ancestors.
            cell: What is run.
            watch: Makes the observer of the one that shows how work goes on.

        Returns:
            The execution; the exit code where somebody interrupted it.

        Raises:
            CellsFailedError: The cell did not complete.
        """
        how = replace(self.options, rerun_cells=frozenset({cell.cell_id}))
        with display() as shown:
            summary: RunSummary = run_matrix(plan, self.database, how, watch(shown))
        if summary.exit_code in INTERRUPTED_EXIT_CODES:
            return summary.exit_code
        detail = cell_detail(self.database, cell.cell_id)
        row = detail.executions[-1] if detail.executions else None
        if row is None or row["status"] != Status.COMPLETED:
            why = f"{row['status']}: {row['detail']}" if row else "nothing on this machine can run it"
            raise CellsFailedError(f"cell {cell.cell_id[:8]}: expected to complete, was not ({why})")
        own = [
            [each for each in rows if each["execution_id"] == row["execution_id"]]
            for rows in (detail.epochs, detail.attempts, detail.artifacts)
        ]
        return Executed(row, *own)


@contextmanager
def scratch_runs(options: RunOptions) -> Iterator[ScratchRuns]:
    """A temporary database with its artifacts; both are deleted at the end. Prepared data are taken from the cache."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder, layout.DATABASE)
        root = layout.artifacts_folder(path)
        how = replace(options, artifacts_root=root, artifacts_url=None, exclusive=True, rerun=False, name=None)
        with open_database(str(path), mode="write") as database:
            yield ScratchRuns(database, how)
