"""`run_matrix` in this process on cells that train nothing, with everything it told kept for the test."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from results_targets import empty_database
from scheduling_plans import plan_of
from waiting import wait_until

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


class GuardianKiller(Listener):
    """Kills the guardian of the first cell that finishes an epoch; its worker waits at the next one until then."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._place, self._gate = place, place.folder / "gate"
        monkeypatch.setenv("BENCH_FAKE_GATE", f"2:{self._gate}")

    def epoch(self, cell, event):
        if not self._gate.exists():
            # the rows of those that have begun to train have their cores
            pids = "select guardian_pid from attempt where state = 'running' and cores is not null order by attempt_id"
            ((pid,), *_) = self._place.rows(pids)
            os.kill(pid, signal.SIGKILL)
            # what dies with it has its signal by then
            wait_until(lambda: is_dead(pid), "the guardian is dead")
            self._gate.touch()


def is_dead(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to hear of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    except OSError:
        return True
