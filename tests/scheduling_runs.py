"""`run_matrix` in this process on cells that train nothing, with everything it told kept for the test."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results_targets import empty_database
from scheduling_plans import plan_of

from benchmark.matrix.cell import Cell
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.scheduling.run import run_matrix
from benchmark.scheduling.run_options import RunOptions, RunSummary


@dataclass
class Listener:
    """An observer that remembers what it was told."""

    told: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.told.append((name, *arguments))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.told if call[0] == name]

    @property
    def notes(self) -> str:
        return "\n".join(text for (text,) in self.of("note"))

    def ends(self) -> dict[str, tuple[str, str | None]]:
        """Status and cause of each cell that was finished, by cell id."""
        return {cell.cell_id: (status, cause) for cell, status, cause, _, _ in self.of("cell_finished")}


@dataclass
class Place:
    """A database with its artifacts, in which plans are run."""

    folder: Path
    summary: RunSummary | None = None
    listener: Listener = field(default_factory=Listener)

    @property
    def database(self) -> Path:
        return self.folder / "results.sqlite"

    @property
    def artifacts(self) -> Path:
        return self.folder / "results.artifacts"

    def options(self, **changes: Any) -> RunOptions:
        cache = self.folder / "cache"
        return RunOptions(**{"machine": "test", "artifacts_root": self.artifacts, "cache_root": cache, **changes})

    def run(self, cells: list[Cell], listener: Any = None, **changes: Any) -> RunSummary:
        self.listener = listener or Listener()
        target = str(self.database)
        if not self.database.exists():
            self.database.write_bytes(empty_database())
        with lock_database(target), open_database(target, mode="write") as database:
            self.summary = run_matrix(plan_of(cells), database, self.options(**changes), self.listener)
        return self.summary

    def rows(self, statement: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement).fetchall()

    def digests(self) -> dict[str, str]:
        return dict(self.rows("select cell_id, digest from execution where status='completed' order by execution_id"))

    def attempts(self) -> list[tuple[str, str | None]]:
        """State and detail of every attempt, in order."""
        return self.rows("select state, detail from attempt order by attempt_id")
