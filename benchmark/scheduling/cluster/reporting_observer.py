"""What the loop of attempts tells on a node, reported to the run: its own observer shows it, or nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from benchmark.events import EpochFinished, Progress, to_line
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.scheduling.cluster.messages import Message, Preparing, Said, Told
from benchmark.scheduling.run_options import Forecast, RunSummary, Step

PROGRESS_SECONDS = 2.0
"""How often the progress within an epoch is reported."""


class ReportingObserver:
    """The `Observer` of a node agent. How cells begin and end, and their epochs, is reported by `OrderedCells`.

    Args:
        node: Name of the node.
        post: Sends a report to the run.
    """

    def __init__(self, node: str, post: Callable[[Message], None]) -> None:
        self._node = node
        self._post = post
        self._reported: dict[str, float] = {}
        self._preparing: Mapping[str, str] = {}

    def note(self, text: str) -> None:
        self._post(Said(f"{self._node}: {text}"))

    def preparing(self, progress: Mapping[str, str]) -> None:
        if progress != self._preparing:
            self._preparing = dict(progress)
            self._post(Preparing(dict(progress)))

    def progress(self, cell: Cell, event: Step) -> None:
        now = time.monotonic()
        if isinstance(event, Progress) and now - self._reported.get(cell.cell_id, 0.0) >= PROGRESS_SECONDS:
            self._reported[cell.cell_id] = now
            self._post(Told(cell.cell_id, to_line(event).decode(), 0.0))

    def run_started(self, run_id: int, plan: Plan, idle: Collection[str], forecast: Forecast) -> None: ...

    def starting(self, backends: Sequence[str]) -> None: ...

    def cell_started(self, cell: Cell, attempt: int) -> None: ...

    def placed(self, cell: Cell, node: str) -> None: ...

    def epoch(self, cell: Cell, event: EpochFinished) -> None: ...

    def cell_finished(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> None: ...

    def run_finished(self, summary: RunSummary) -> None: ...
