"""Datasets are prepared before the cells that need them: once each, by a process of its own, while other cells run."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.catalog.cache import prepared_directory
from benchmark.events import Exited, Launched, from_line
from benchmark.matrix.cell import Cell
from benchmark.scheduling.environment import worker_environment
from benchmark.scheduling.launcher import Lines, start_guarded
from benchmark.scheduling.options import RunOptions
from benchmark.scheduling.policy import signal_name
from benchmark.scheduling.resources import Grant, Slots

FINGERPRINT_FILE = "meta.json"
COMMAND = (sys.executable, "-m", "benchmark.training.preparation")
"""Is given the wish as JSON; its last line is JSON again, with `error` when it ends with another status than 0."""

_LOG_TAIL_CHARACTERS = 8 << 10


@dataclass(slots=True)
class _Task:
    """One dataset at one size and colour. States: waiting, running, ready, failed."""

    source: str
    image_size: int
    color: str
    directory: Path
    log_path: Path
    state: str = "waiting"
    problem: str = ""
    lines: Lines | None = None
    grant: Grant | None = None
    pid: int = 0
    cells: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"{self.source}, {self.image_size} pixels, {self.color}"


class Preparations:
    """The datasets that the cells of this run need, and whether they stand.

    Args:
        cells: Those that will run.
        options: Where the cache lies, and whether anything may be fetched.
        selector: Calls back when a preparation ends.
        ended: Called with the ids of the cells concerned and the problem ("" for none).
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        options: RunOptions,
        selector: selectors.BaseSelector,
        ended: Callable[[set[str], str], None],
    ) -> None:
        self._options = options
        self._selector = selector
        self._ended = ended
        self._logs = tempfile.TemporaryDirectory(prefix="bench-")
        self._tasks: dict[tuple[str, int, str], _Task] = {}
        for cell in cells:
            if cell.backend != "fake":
                self._task(cell).cells.add(cell.cell_id)

    def directory(self, cell: Cell) -> Path | None:
        """Where the prepared dataset of the cell lies; None for a backend that reads none."""
        return None if cell.backend == "fake" else self._task(cell).directory

    def is_ready(self, cell: Cell) -> bool:
        return cell.backend == "fake" or self._task(cell).state == "ready"

    @property
    def pids(self) -> list[int]:
        """Of the processes that prepare at this moment."""
        return [task.pid for task in self._tasks.values() if task.lines is not None and task.pid]

    def start(self, slots: Slots, note: Callable[[str], None]) -> None:
        """Starts what waits, one dataset on each free core.

        Raises:
            OSError: No descriptors or no processes are left.
        """
        for task in self._tasks.values():
            if task.state == "waiting" and (grant := slots.take_core()) is not None:
                note(f"preparing {task.name}")
                try:
                    self._begin(task, grant, slots)
                except BaseException:
                    slots.give(grant)
                    raise

    def close(self) -> None:
        """Ends what is still being prepared; a half-built dataset is never taken for a whole one."""
        for task in self._tasks.values():
            self._let_go(task)
        self._logs.cleanup()

    def _task(self, cell: Cell) -> _Task:
        key = (cell.data.source, cell.data.image_size, cell.data.color)
        if key not in self._tasks:
            directory = prepared_directory(*key, self._options.cache_root)
            task = _Task(*key, directory, Path(self._logs.name) / f"{len(self._tasks)}.txt")
            task.state = "ready" if (directory / FINGERPRINT_FILE).exists() else "waiting"
            self._tasks[key] = task
        return self._tasks[key]

    def _begin(self, task: _Task, grant: Grant, slots: Slots) -> None:
        wish = {
            "source": task.source,
            "image_size": task.image_size,
            "color": task.color,
            "cache_root": str(self._options.cache_root),
            "offline": self._options.offline,
            "manual_directory": self._options.manual_directory and str(self._options.manual_directory),
        }
        command = [*COMMAND, json.dumps(wish)]
        environment = worker_environment(os.environ, "tensorflow", threads=1, gpu=None)
        task.lines = start_guarded(command, environment, task.log_path)
        task.grant, task.state = grant, "running"
        report = task.lines.report
        self._selector.register(report.fd, selectors.EVENT_READ, lambda: self._hear(task, slots))

    def _hear(self, task: _Task, slots: Slots) -> None:
        assert task.lines is not None
        assert task.grant is not None
        exited = None
        for line in task.lines.report.read():
            event = from_line(line)
            exited = event if isinstance(event, Exited) else exited
            task.pid = event.worker_pid if isinstance(event, Launched) else task.pid
        if exited is None and not task.lines.report.closed:
            return
        self._let_go(task)
        slots.give(task.grant)
        done = exited is not None and exited.exit_code == 0 and exited.signal == 0
        task.state = "ready" if done else "failed"
        task.problem = "" if done else self._explain(task, exited)
        self._ended(task.cells, task.problem)

    def _let_go(self, task: _Task) -> None:
        if task.lines is not None:
            self._selector.unregister(task.lines.report.fd)
            task.lines.close()
            task.lines = None

    def _explain(self, task: _Task, exited: Exited | None) -> str:
        words = ""
        with contextlib.suppress(OSError):
            words = task.log_path.read_text(errors="replace").strip()[-_LOG_TAIL_CHARACTERS:]
        if exited is not None and exited.signal:
            words += f"\npreparing {task.name} was ended by {signal_name(exited.signal)}"
        return _error_in(words) or words.strip() or f"preparing {task.name} failed without a word; try: bench prepare"


def _error_in(output: str) -> str | None:
    """The message in the last line, where that is what the program answers when it knows what is wrong."""
    try:
        answer = json.loads(output.splitlines()[-1])
        return str(answer["error"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _told_error(words: str) -> str | None:
    """What the program itself said was wrong: its last line is `{"error": "…"}`."""
    try:
        answer = json.loads(words.rpartition("\n")[2])
    except ValueError:
        return None
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else None


def fingerprint(directory: Path) -> str | None:
    """The digest of the prepared arrays, as their builder wrote it down; None when there are none."""
    try:
        record = json.loads((directory / FINGERPRINT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = record.get("fingerprint") if isinstance(record, dict) else None
    return value if isinstance(value, str) else None
