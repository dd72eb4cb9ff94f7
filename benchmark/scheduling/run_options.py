"""What a run is asked to do, whom it tells, and how it ends: the border between scheduling and the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from benchmark.catalog.cache import PreparedDirectories
from benchmark.events import EpochFinished, Evaluated, ModelBuilt, Progress, StageStarted, Started
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.results.artifacts.artifact_store import ArtifactStore, store_of

log = logging.getLogger(__name__)

Isolation: TypeAlias = Literal["auto", "fork", "spawn"]

Forecast: TypeAlias = Callable[[], float | None]
"""Seconds that the run still needs, as far as is known at the time of the call; None while nothing is known."""

Step: TypeAlias = Started | ModelBuilt | StageStarted | Progress | Evaluated
"""What shows how far a cell is, beside the ends of its epochs. Of a cell on another computer some are not reported."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a matrix is run.

    Attributes:
        machine: The name that timings belong to; finished cells are reused on the same machine only.
        artifacts_root: Holds `<cell_id>/<attempt_id>/…`; of a URL what is worked at, or copies.
        artifacts_url: Where artifacts go from there; None where the folder is their place.
        cache_root: Holds the prepared datasets.
        name: Of the run, for people; None for none.
        jobs: At most so many cells at once; None takes as many as the cores allow.
        gpu_share: At most so many cells on one GPU at once; timings of more than one do not count.
        exclusive: One cell at a time on each computer, so that timings have no neighbours.
        rerun: Run finished cells again, as new executions.
        rerun_cells: Ids of cells that are run again, whatever `rerun` says.
        retime: Cells that run again do so for their timings alone; all start from weights that are there.
        retry_failed: Go on with cells that failed in an earlier run.
        fail_fast: Stop the run at the first cell that fails for good.
        timeout_seconds: The longest that one attempt may take; None for no limit.
        stall_seconds: The longest without a finished batch.
        first_batch_seconds: The longest until the first batch of a stage, tracing and compilation included.
        grace_seconds: How long workers may take to save their state when the run is asked to stop.
        isolation: `fork` from the template process, `spawn` a fresh interpreter, or whichever is safe here.
        command: The command line, for the record and for the hint how to go on.
        offline: Never fetch anything.
        manual_directory: A folder with the original files of datasets, for machines that cannot download them.
        allow_plugins: Let plug-ins run that the trust file does not name.
        every_state: Write the state of a cell after each of its epochs, and not as often as is cheap.
        lease_seconds: How long a node of a cluster may keep silent before its cells are given to others.
        node_seconds: How long a run waits for another node when none is left.
        templates: Template processes by backend that outlive a run, for a command of several runs, which ends them itself
            (`launcher.kept_templates`); None ends them with the run.
        directories: Finds prepared datasets, and looks at each source of the user once for the whole command.
    """

    machine: str
    artifacts_root: Path
    cache_root: Path
    name: str | None = None
    jobs: int | None = None
    gpu_share: int = 1
    exclusive: bool = False
    rerun: bool = False
    rerun_cells: frozenset[str] = frozenset()
    retime: bool = False
    retry_failed: bool = False
    fail_fast: bool = False
    timeout_seconds: float | None = None
    stall_seconds: float = 300.0
    first_batch_seconds: float = 900.0
    grace_seconds: float = 20.0
    isolation: Isolation = "auto"
    command: str = "bench run"
    offline: bool = False
    manual_directory: Path | None = None
    allow_plugins: bool = False
    every_state: bool = False
    artifacts_url: str | None = None
    lease_seconds: float = 60.0
    node_seconds: float = 0.0
    templates: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    directories: PreparedDirectories = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "directories", PreparedDirectories(self.cache_root))

    @property
    def store(self) -> ArtifactStore | None:
        """What is below the URL of artifacts; None without one."""
        return None if self.artifacts_url is None else store_of(self.artifacts_url)

    @property
    def is_alone(self) -> bool:
        """Whether each cell has a computer for itself."""
        return self.exclusive or self.retime

    @property
    def jobs_at_once(self) -> int | None:
        """At most so many cells at once on this computer; None for as many as the cores allow."""
        return 1 if self.is_alone else self.jobs


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        counts: Cells of the plan by status, reused ones included under their status.
        reused: Ids of the cells whose finished result was taken.
        exit_code: 0 all good, 3 some cells failed or are blocked, 130 and 143 interrupted.
        stopped: Why the run ended before its last cell; None when it did not.
        seconds: From the start of the run to its end.
        forecast_seconds: How long that was expected to take when it began; None when nothing was to do.
    """

    run_id: int
    counts: Mapping[str, int]
    reused: Collection[str]
    exit_code: int
    stopped: str | None = None
    seconds: float = 0.0
    forecast_seconds: float | None = None


class Observer(Protocol):
    """Whom a run tells what happens; the command line draws it. An error raised here silences it, never the run."""

    def run_started(self, run_id: int, plan: Plan, idle: Collection[str], forecast: Forecast) -> None:
        """All that is known before the first cell.

        `idle` are ids of the cells that are not expected to train; `forecast` may be called at any time.
        """

    def cell_started(self, cell: Cell, attempt: int) -> None:
        """An attempt has its process; attempts count from 1 within the execution."""

    def placed(self, cell: Cell, node: str) -> None:
        """The running cell is on this computer of a cluster."""

    def progress(self, cell: Cell, event: Step) -> None: ...

    def epoch(self, cell: Cell, event: EpochFinished) -> None: ...

    def cell_finished(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> None:
        """The cell is through for this run; `seconds` are those of all its attempts in this run."""

    def preparing(self, progress: Mapping[str, str]) -> None:
        """What is being prepared now, by name, and how far it has come in words (maybe none)."""

    def starting(self, backends: Sequence[str]) -> None:
        """The backends that are being imported now, for all cells together."""

    def note(self, text: str) -> None: ...

    def run_finished(self, summary: RunSummary) -> None: ...


@dataclass(slots=True)
class GuardedObserver:
    """Passes everything on until the observer raises (a closed terminal, say); from then on the run goes on unseen."""

    inner: Observer
    silenced: BaseException | None = field(default=None)

    def note(self, text: str) -> None:
        self.tell("note", text)

    def tell(self, method: str, *arguments: object) -> None:
        if self.silenced is None:
            try:
                getattr(self.inner, method)(*arguments)
            except OSError as error:
                # The terminal or the pipe has gone away.
                self.silenced = error
            except Exception as error:
                log.exception("the display failed; the run continues without it")
                self.silenced = error
