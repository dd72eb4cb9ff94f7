"""Datasets and published weights are had before the cells that need them: once each, by a process of its own, while other cells run."""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import layout, machine
from benchmark.catalog.backends import trains
from benchmark.catalog.cache import options_of, remarks
from benchmark.catalog.cache_lock import CacheUse
from benchmark.catalog.facts import prepared_size
from benchmark.catalog.repeated_images import repeated_note
from benchmark.events import Exited
from benchmark.files import temporary_folder
from benchmark.matrix.cell import Cell, Data
from benchmark.scheduling.decisions.verdicts import signal_name
from benchmark.scheduling.processes.environment import python_command, worker_environment
from benchmark.scheduling.processes.guarded_process import GuardedProcess, log_tail, start_guardian
from benchmark.scheduling.processes.slots import Grant, Slots
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Status
from benchmark.text import headline

COMMAND = python_command("benchmark.training.programs.prepare")
"""Is given the wish as JSON; its last line is JSON again, with `error` when it ends with another status than 0."""

PROGRESS_SECONDS = 0.5
"""How often is asked how far a preparation has come."""

_LOG_TAIL_BYTES = 8 << 10

_ARGUMENT_LIMIT_BYTES = 100_000


@dataclass(slots=True)
class _Task:
    """Something that cells need: a dataset at one size and colour, or the ImageNet weights of one network.

    Attributes:
        name: How it is called.
        wish: What the program that prepares is asked for.
        data: Of a dataset: a cell's data that need it.
        directory: Of a dataset: the folder that it is to lie in.
        told: Whether it was said what is remarkable about it.
        state: `pending`, `running`, `completed` or `failed`.
    """

    name: str
    wish: Mapping[str, Any]
    log_path: Path
    data: Data | None = None
    directory: Path | None = None
    told: bool = False
    state: Status = Status.PENDING
    process: GuardedProcess | None = None
    grant: Grant | None = None
    cells: set[str] = field(default_factory=set)


def prepare_all(
    cells: Iterable[Cell],
    options: RunOptions,
    note: Callable[[str], None],
    tell: Callable[[Mapping[str, str]], object],
    finished: Callable[[str], object] = lambda _: None,
) -> tuple[list[str], int, int]:
    """Prepares what cells need, on all cores, and waits for it; the arguments are those of `Preparations` and its methods.

    Returns:
        What went wrong, and how many datasets and files of published weights the cells need.
    """
    problems: list[str] = []
    with selectors.DefaultSelector() as selector:
        preparations = Preparations(cells, options, selector, lambda _, problem: problems.append(problem), finished)
        slots = Slots(machine.available_cores(), (), None)
        try:
            preparations.start(slots, note)
            while selector.get_map():
                for key, _ in selector.select(PROGRESS_SECONDS):
                    key.data()
                preparations.start(slots, note)
                preparations.report(tell)
        finally:
            preparations.close()
    return problems, *preparations.counts


class Preparations:
    """What the cells of this run need beside processors, and whether it is there.

    Args:
        cells: Those that will run.
        options: Where the cache lies, and whether anything may be fetched.
        selector: Calls back when a preparation ends.
        failed: Called with the ids of the cells concerned and the problem.
        finished: Called with the name of what has been made ready.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        options: RunOptions,
        selector: selectors.BaseSelector,
        failed: Callable[[set[str], str], object],
        finished: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._options = options
        self._selector = selector
        self._failed = failed
        self._finished = finished
        self._logs = temporary_folder()
        self._cache_use = CacheUse(options.cache_root)
        self._tasks: dict[Hashable, _Task] = {}
        self._reported = 0.0
        for cell in cells:
            self.add(cell)

    def add(self, cell: Cell) -> None:
        """What the cell needs is prepared as well."""
        for task in self._needs(cell):
            task.cells.add(cell.cell_id)

    def directory(self, cell: Cell) -> Path | None:
        """Where the prepared dataset of the cell lies; None for a backend that reads none."""
        return self._options.directories.of(cell.data) if trains(cell.backend) else None

    def is_ready(self, cell: Cell) -> bool:
        return all(task.state == Status.COMPLETED for task in self._needs(cell))

    @property
    def counts(self) -> tuple[int, int]:
        """How many datasets and how many files of published weights are needed, ready or not."""
        weights = sum("imagenet" in task.wish for task in self._tasks.values())
        return len(self._tasks) - weights, weights

    def report(self, tell: Callable[[Mapping[str, str]], object]) -> None:
        """Tells what is being prepared, by name, and how far it has come in words (maybe none), but not too often."""
        running = [task for task in self._tasks.values() if task.state == Status.RUNNING]
        now = time.monotonic()
        if now - self._reported >= PROGRESS_SECONDS if running else self._reported:
            self._reported = now if running else 0.0
            tell({task.name: _progress_of(task) for task in running})

    @property
    def pids(self) -> list[int]:
        """Of the processes that prepare at this moment."""
        return [pid for task in self._tasks.values() if task.process is not None for pid in task.process.pids[1:]]

    def start(self, slots: Slots, note: Callable[[str], None]) -> None:
        """Starts what waits: each on a free core, and folders of images on as many as there are for each.

        Raises:
            OSError: No descriptors or no processes are left.
        """
        for task in self._tasks.values():
            if task.state == Status.COMPLETED:
                _tell_remarks(task, note)
            if task.state == Status.PENDING and (grant := slots.take_cores(self._sharing(task))) is not None:
                note(f"preparing {task.name}")
                try:
                    self._begin(task, grant, slots, note)
                except BaseException:
                    slots.give(grant)
                    raise

    def close(self) -> None:
        """Ends what is still being prepared; a half-built dataset is never taken for a whole one."""
        for task in self._tasks.values():
            self._let_go(task)
        self._logs.cleanup()
        self._cache_use.close()

    def _needs(self, cell: Cell) -> list[_Task]:
        if not trains(cell.backend):
            return []
        weights = [self._weights(cell.architecture.name)] if cell.weights.origin == "imagenet" else []
        return [self._dataset(cell), *weights]

    def _dataset(self, cell: Cell) -> _Task:
        data = cell.data
        size = prepared_size(data.source, data.image_size)
        options = options_of(data)
        key = (data.source, size, data.color, *options.items())
        if key not in self._tasks:
            wish = {
                "source": data.source,
                "image_size": size,
                "color": data.color,
                "cache_root": str(self._options.cache_root),
                **options,
                **({"allow_plugins": self._options.allow_plugins} if data.code else {}),
            }
            how = "" if data.resize == "squeeze" else f", {data.resize}"
            task = self._tasks[key] = self._task(f"{data.source}, {size} pixels, {data.color}{how}", wish)
            task.data, task.directory = data, self._options.directories.of(data)
            if (task.directory / layout.META).exists():
                task.state = Status.COMPLETED
        return self._tasks[key]

    def _weights(self, architecture: str) -> _Task:
        # looked at in every run: a file that was ready yesterday may be half deleted today
        key = ("imagenet", architecture)
        if key not in self._tasks:
            self._tasks[key] = self._task(f"ImageNet weights of {architecture}", {"imagenet": architecture})
        return self._tasks[key]

    def _task(self, name: str, wish: Mapping[str, Any]) -> _Task:
        where_from = {
            "offline": self._options.offline,
            "manual_directory": self._options.manual_directory and str(self._options.manual_directory),
        }
        return _Task(name, {**wish, **where_from}, Path(self._logs.name) / f"{len(self._tasks)}.txt")

    def _sharing(self, task: _Task) -> int:
        """How many pending folders of images share the free cores with this one; 0 for what one core prepares."""
        waiting = [each for each in self._tasks.values() if each.state == Status.PENDING]
        sharing = [each for each in waiting if str(each.wish.get("source", "")).startswith("folder:")]
        return len(sharing) if task in sharing else 0

    def _begin(self, task: _Task, grant: Grant, slots: Slots, note: Callable[[str], None]) -> None:
        processes = {"processes": len(grant.cores)} if len(grant.cores) > 1 else {}
        command = [*COMMAND, _argument({**task.wish, **processes}, task.log_path.with_suffix(".json"))]
        environment = worker_environment(os.environ, "tensorflow", threads=1, gpu=None)
        task.process = start_guardian(command, environment, task.log_path)
        task.grant, task.state = grant, Status.RUNNING
        report = task.process.report
        self._selector.register(report.fd, selectors.EVENT_READ, lambda: self._hear(task, slots, note))

    def _hear(self, task: _Task, slots: Slots, note: Callable[[str], None]) -> None:
        assert task.process is not None
        assert task.grant is not None
        task.process.hear_guardian()
        if not task.process.is_over:
            return
        exited = task.process.exited
        self._let_go(task)
        slots.give(task.grant)
        done = exited is not None and exited.exit_code == 0 and exited.signal == 0
        problem = "" if done else self._explain(task, exited)
        if task.data is not None:
            # a TFDS dataset that was built only now has another one
            task.directory = self._options.directories.of(task.data)
        if done and task.directory is not None and not (task.directory / layout.META).exists():
            problem = f"the files of {task.name} changed when the run had begun; run again when nothing writes to them"
        task.state = Status.FAILED if problem else Status.COMPLETED
        if problem:
            self._failed(task.cells, problem)
        else:
            self._finished(task.name)
            _tell_remarks(task, note)

    def _let_go(self, task: _Task) -> None:
        if task.process is not None:
            self._selector.unregister(task.process.report.fd)
            task.process.close()
            task.process = None

    def _explain(self, task: _Task, exited: Exited | None) -> str:
        words = _log_of(task).strip()
        if exited is not None and exited.signal:
            return f"preparing {task.name} was ended by {signal_name(exited.signal)}\n{words}"
        if (problem := _said(words.rpartition("\n")[2], "error")) is not None:
            return problem
        reason = headline(words) or "without a message; try: bench prepare"
        return f"preparing {task.name} failed: {reason}\n{words}"


def _argument(wish: Mapping[str, Any], file: Path) -> str:
    """The wish as an argument, or the file that it is written into where it is too long for one (Linux: 128 KiB)."""
    text = json.dumps(wish)
    if len(text) < _ARGUMENT_LIMIT_BYTES:
        return text
    file.write_text(text, encoding="utf-8")
    return str(file)


def _tell_remarks(task: _Task, note: Callable[[str], None]) -> None:
    """Says once what was remarked upon when a dataset was prepared, now or in an earlier run."""
    if task.directory is not None and not task.told:
        task.told = True
        for remark in [*remarks(task.directory), *repeated_note(task.directory)]:
            note(remark)


def _log_of(task: _Task) -> str:
    return log_tail(task.log_path, _LOG_TAIL_BYTES).decode(errors="replace")


def _progress_of(task: _Task) -> str:
    """What the last line `{"progress": …}` says, where that is how the program tells how far it has come."""
    said = (_said(line, "progress") for line in reversed(_log_of(task).splitlines()))
    return next(filter(None, said), "")


def _said(line: str, key: str) -> str | None:
    """What a line of the program says under a key; None where it is no such JSON."""
    try:
        return str(json.loads(line)[key])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
