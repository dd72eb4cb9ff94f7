"""How worker processes come into being: forked from a template while that is safe, by fresh interpreters otherwise."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import faults
from benchmark.matrix.cell import Cell
from benchmark.scheduling.options import Isolation
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.environment import forks_safely, template_environment
from benchmark.scheduling.processes.pipes import LineReader
from benchmark.scheduling.processes.template import Template, installed_versions
from benchmark.scheduling.processes.worker_process import Order

TEMPLATE_DEATHS = 3
"""After so many deaths of a backend's templates in one run, every further worker for it is spawned."""

FAREWELL_SECONDS = 3.0
IMPORT_SECONDS = 300.0


@dataclass(slots=True)
class Lines:
    """The scheduler's ends of the pipes to one guardian and its worker.

    Attributes:
        report: `Launched` and `Exited`, from the guardian alone; its end of file means that the guardian is gone.
        events: What the worker tells; a grandchild may hold it open longer.
        life: Orders to the guardian; closing it kills the group.
        process: The guardian when this process started it itself, so that it can be waited for.
    """

    report: LineReader
    events: LineReader
    life: int
    process: subprocess.Popen[bytes] | None = None

    def order(self, order: bytes) -> None:
        """Sends `guardian.TERMINATE`, `KILL` or `DUMP`; nothing happens when the guardian is gone."""
        try:
            os.write(self.life, order)
        except OSError:
            return

    def close(self) -> None:
        """Closes all ends; whatever still lived behind them is killed by its guardian."""
        self.report.close()
        self.events.close()
        if self.life >= 0:
            os.close(self.life)
            self.life = -1
        if self.process is not None:
            _reap(self.process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Launcher:
    """Starts workers for the backends of a run.

    Attributes:
        isolation: How workers are made where nothing forbids it: `fork` or `spawn`.
    """

    def __init__(self, isolation: Isolation, selector: selectors.BaseSelector, note: Callable[[str], None]) -> None:
        self.isolation = choose_isolation(isolation)
        self._selector = selector
        self._note = note
        self._templates: dict[str, Template] = {}
        self._deaths: Counter[str] = Counter()
        self._never_again: set[str] = set()
        """Backends that no template is started for any more."""

    def isolation_of(self, cell: Cell) -> str:
        """How the next worker for the cell is made: `fork` or `spawn`."""
        forks = cell.backend not in self._never_again and forks_safely(cell.backend, cell.device_kind)
        return self.isolation if forks else "spawn"

    def is_ready(self, cell: Cell) -> bool:
        """Whether a worker can be started now; starts the template that it needs."""
        if self.isolation_of(cell) == "spawn":
            return True
        template = self._templates.get(cell.backend)
        if template is None:
            self._start_template(cell.backend)
            return False
        return template.state == "ready"

    @property
    def pids(self) -> list[int]:
        """Of the templates."""
        return [template.pid for template in self._templates.values()]

    def launch(self, cell: Cell, order: Order) -> tuple[Lines, str] | None:
        """A guardian and its worker: our ends of their pipes, and how they were made. None when no template took it.

        Raises:
            OSError: No descriptors or no processes are left.
        """
        isolation = self.isolation_of(cell)
        ours, theirs = _pipes()
        try:
            if isolation == "fork" and self._is_outdated(order.backend):
                ours.close()
                return None
            if isolation == "spawn":
                ours.process = _spawn(_worker_command, order.log_path, order.environment, theirs, order.encode())
            elif not self._templates[order.backend].fork(order, *theirs):
                ours.close()
                self._bury(self._templates[order.backend])
                return None
        except BaseException:
            ours.close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        faults.point("launch")
        return ours, isolation

    def enforce(self, now: float) -> None:
        """Gives up a template that has not finished its imports in time; `now` in monotonic seconds."""
        for template in list(self._templates.values()):
            if template.state == "starting" and now > template.started + IMPORT_SECONDS:
                self._distrust(template, f"its imports took longer than {IMPORT_SECONDS:g} s")

    def distrust(self, backend: str) -> None:
        """Gives up a template that took an order and did nothing; the next order goes to a new one."""
        if backend in self._templates:
            self._distrust(self._templates[backend], "it took an order and did nothing")

    def _distrust(self, template: Template, problem: str) -> None:
        template.state, template.problem = "dead", problem
        self._bury(template)

    def close(self) -> None:
        for backend in list(self._templates):
            self._remove(backend)

    def _start_template(self, backend: str) -> None:
        template = Template(backend, template_environment(os.environ, backend))
        self._templates[backend] = template
        self._selector.register(template.reader.fd, selectors.EVENT_READ, lambda: self._hear(template))

    def _is_outdated(self, backend: str) -> bool:
        """Replaces a template whose libraries were upgraded since it has imported them: spawned workers use the new ones."""
        versions = installed_versions(backend)
        if self._templates[backend].versions == versions:
            return False
        now = ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "none is left"
        self._note(f"installed libraries have changed while this run went on ({now}): cells from here on use them")
        self._remove(backend)
        self._start_template(backend)
        return True

    def _hear(self, template: Template) -> None:
        template.hear()
        if template.state == "unfit":
            why = f"the template process is unfit: {template.problem}"
            self._note(f"workers for {template.backend} are started one by one, because {why}")
            self._never_again.add(template.backend)
            self._remove(template.backend)
        elif template.state == "dead":
            self._bury(template)

    def _bury(self, template: Template) -> None:
        backend = template.backend
        self._deaths[backend] += 1
        self._remove(backend)
        if self._deaths[backend] >= TEMPLATE_DEATHS:
            self._never_again.add(backend)
            died = f"the template process died {self._deaths[backend]} times"
            self._note(f"{died}; workers for {backend} are started one by one from here on")
        else:
            self._note(f"the template process died ({template.problem}); a new one is started")

    def _remove(self, backend: str) -> None:
        template = self._templates.pop(backend, None)
        if template is not None:
            self._selector.unregister(template.reader.fd)
            template.close()


def choose_isolation(wanted: Isolation) -> str:
    """`fork` on Linux, `spawn` elsewhere (system libraries of macOS are not safe to fork), or as wanted."""
    if wanted == "auto":
        return "fork" if sys.platform == "linux" else "spawn"
    return wanted


def start_guarded(command: Sequence[str], environment: Mapping[str, str], log_path: Path) -> Lines:
    """A program that is no worker, under a guardian of its own: it dies with this process, its output is kept.

    Raises:
        OSError: No descriptors or no processes are left.
    """
    ours, theirs = _pipes()
    try:
        ours.process = _spawn(lambda _: list(command), str(log_path), environment, theirs, b"")
    except BaseException:
        ours.close()
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return ours


def _pipes() -> tuple[Lines, tuple[int, int, int]]:
    made: list[int] = []
    try:
        for _ in range(3):
            made += os.pipe()
    except OSError:
        for descriptor in made:
            os.close(descriptor)
        raise
    report_read, report_write, events_read, events_write, life_read, life_write = made
    return Lines(LineReader(report_read), LineReader(events_read), life_write), (report_write, life_read, events_write)


def _worker_command(events: int) -> list[str]:
    return [sys.executable, "-m", "benchmark.scheduling.processes.worker_process", str(events)]


def _spawn(
    command: Callable[[int], list[str]],
    log_path: str,
    environment: Mapping[str, str],
    theirs: tuple[int, int, int],
    stdin: bytes,
) -> subprocess.Popen[bytes]:
    report, life, events = theirs
    numbers = [str(number) for number in (report, life, events)]
    with tempfile.TemporaryFile() as order:
        order.write(stdin)
        order.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, *numbers, log_path, *command(events)],
            stdin=order,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
            env=dict(environment),
        )
