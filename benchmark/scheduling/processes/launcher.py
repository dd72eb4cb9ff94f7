"""Starts worker processes: forked from a template while that is safe, as fresh interpreters otherwise."""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from benchmark import faults
from benchmark.matrix.cell import Cell
from benchmark.scheduling.processes.environment import forks_safely, python_command, template_environment
from benchmark.scheduling.processes.guarded_process import GuardedProcess, new_pipes, start_guardian
from benchmark.scheduling.processes.template import Template, installed_versions
from benchmark.scheduling.processes.worker_process import Order
from benchmark.scheduling.run_options import Isolation

TEMPLATE_DEATHS = 3
"""After so many deaths of a backend's templates in one run, every further worker for it is spawned."""

IMPORT_SECONDS = 300.0


class Launcher:
    """Starts workers for the backends of a run.

    Attributes:
        isolation: How workers are made where nothing forbids it: `fork` or `spawn`.
    """

    def __init__(
        self,
        isolation: Isolation,
        selector: selectors.BaseSelector,
        note: Callable[[str], None],
        kept: dict[str, Template] | None = None,
    ) -> None:
        # system libraries of macOS are not safe to fork
        forks = isolation == "fork" or (isolation == "auto" and sys.platform == "linux")
        self.isolation = "fork" if forks else "spawn"
        self._selector = selector
        self._note = note
        self._is_keeping = kept is not None
        self._templates: dict[str, Template] = {} if kept is None else kept
        for template in self._templates.values():
            self._listen(template)
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

    @property
    def starting(self) -> tuple[str, ...]:
        """Backends whose template is not ready yet."""
        return tuple(name for name, template in self._templates.items() if template.state == "starting")

    def launch(self, cell: Cell, order: Order) -> GuardedProcess | None:
        """Makes a guardian and its worker, as `isolation_of` says; None when no template took the order.

        Raises:
            OSError: No descriptors or no processes are left.
        """
        if self.isolation_of(cell) == "spawn":
            command = python_command("benchmark.scheduling.processes.worker_process")
            process = start_guardian(command, order.environment, order.log_path, order.encode())
        elif self._is_outdated(order.backend):
            return None
        else:
            template = self._templates[order.backend]
            with new_pipes() as (process, theirs):
                taken = template.fork(order, *theirs)
            if not taken:
                process.close()
                self._bury(template)
                return None
        faults.point("launch")
        return process

    def enforce(self, now: float) -> None:
        """Gives up a template that has not finished its imports in time; `now` in monotonic seconds."""
        for template in list(self._templates.values()):
            if template.state == "starting" and now > template.started + IMPORT_SECONDS:
                self.distrust(template.backend, f"its imports took longer than {IMPORT_SECONDS:g} s")

    def distrust(self, backend: str, problem: str = "it took an order and did nothing") -> None:
        """Gives up the template of a backend; the next order goes to a new one."""
        if (template := self._templates.get(backend)) is not None:
            template.state, template.problem = "dead", problem
            self._bury(template)

    def close(self) -> None:
        """Ends the templates, or leaves them to whoever keeps them."""
        for backend, template in list(self._templates.items()):
            if self._is_keeping:
                self._selector.unregister(template.reader.fd)
            else:
                self._remove(backend)

    def _start_template(self, backend: str) -> None:
        template = Template(backend, template_environment(os.environ, backend))
        self._templates[backend] = template
        self._listen(template)

    def _listen(self, template: Template) -> None:
        self._selector.register(template.reader.fd, selectors.EVENT_READ, lambda: self._hear(template))

    def _is_outdated(self, backend: str) -> bool:
        """Replaces a template whose libraries were upgraded since it has imported them: spawned workers use the new ones."""
        versions = installed_versions(backend)
        if self._templates[backend].versions == versions:
            return False
        now = ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "none is left"
        self._note(f"installed libraries have changed during this run ({now}): cells from here on use them")
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


@contextlib.contextmanager
def kept_templates() -> Iterator[dict[str, Template]]:
    """Template processes for several runs, which are spared starting them anew; they end with the context."""
    templates: dict[str, Template] = {}
    try:
        yield templates
    finally:
        for template in templates.values():
            template.close()
