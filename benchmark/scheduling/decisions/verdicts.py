"""Judges how an attempt ended, and whether it is tried again: pure functions of evidence, tested as tables."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmark.events import Completed, Diverged, Exited, Failed, Interrupted
from benchmark.matrix.cell import Cell
from benchmark.matrix.own_functions import own_functions
from benchmark.status import Cause, Status

RETRIES: Mapping[str, int] = MappingProxyType({Cause.CRASHED: 2, Cause.DEVICE_LOST: 2, Cause.OOM: 1, Cause.TIMEOUT: 1})
"""How often a cell is tried again in one run after each cause; every other cause is the user's to decide."""

BREAKER_SECONDS = 60.0
BREAKER_CELLS = 3
MEMORY_NEARLY_FULL = 0.9
"""A SIGKILL that was not ours, at more than this share of the memory, was probably the kernel's."""

Result = Completed | Diverged | Interrupted | Failed


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of an attempt that is over.

    Attributes:
        result: The worker's last word; None when it had none.
        exited: The guardian's record; None when the guardian died first.
        protocol: What was wrong with a message; None when nothing was.
        overdue: Which time limit it broke; None for none.
        missing: What is wrong with a file that it said it had written; None when nothing is.
        stopping: Whether the run had asked it to stop.
        refused: Why the run would not have it; None when it would.
        oom_kills: Processes that the kernel killed for memory in our control group meanwhile.
        memory_bytes: Memory of the machine or of the control group.
    """

    result: Result | None
    exited: Exited | None
    protocol: str | None = None
    overdue: str | None = None
    missing: str | None = None
    stopping: bool = False
    refused: str | None = None
    oom_kills: int = 0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended, in the closed list of states, and why in words."""

    state: str
    detail: str | None = None


def judge(evidence: Evidence) -> Verdict:
    """The state that the evidence means; a result that arrived is believed before anything that came after it."""
    result = evidence.result
    if evidence.refused is not None:
        return Verdict(Cause.DATA_ERROR, evidence.refused)
    if evidence.protocol is not None:
        return Verdict(Cause.PROTOCOL, f"the worker broke the protocol: {evidence.protocol}")
    if isinstance(result, Completed) and evidence.missing is not None:
        return Verdict(Cause.FAILED, f"artifact: {evidence.missing}")
    if isinstance(result, Completed):
        return Verdict(Status.COMPLETED)
    if isinstance(result, Diverged):
        return Verdict(Cause.DIVERGED, f"the loss was not finite at epoch {result.epoch}, batch {result.batch}")
    if evidence.overdue is not None:
        return Verdict(Cause.TIMEOUT, evidence.overdue)
    if isinstance(result, Failed):
        return Verdict(result.cause, f"{result.error_type}: {result.message}")
    if isinstance(result, Interrupted) and evidence.stopping:
        return Verdict(Cause.INTERRUPTED, f"asked to stop; its state is saved up to epoch {result.epoch}")
    if isinstance(result, Interrupted):
        return Verdict(Cause.CRASHED, f"SIGTERM from outside; its state is saved up to epoch {result.epoch}")
    if evidence.stopping:
        return Verdict(Cause.INTERRUPTED, "asked to stop; it ended without saving a newer state")
    return _judge_exit(evidence)


def _judge_exit(evidence: Evidence) -> Verdict:
    exited = evidence.exited
    if exited is None:
        return Verdict(Cause.CRASHED, "its guardian was killed")
    if exited.signal == signal.SIGKILL and evidence.oom_kills > 0:
        return Verdict(Cause.OOM, "killed by the kernel, which ran out of memory")
    limit = evidence.memory_bytes
    if exited.signal == signal.SIGKILL and limit is not None and exited.peak_rss_bytes >= MEMORY_NEARLY_FULL * limit:
        return Verdict(Cause.OOM, "killed by SIGKILL near the limit of memory: probably out of memory")
    if exited.signal:
        return Verdict(Cause.CRASHED, f"ended by {signal_name(exited.signal)}")
    if exited.exit_code == 0:
        return Verdict(Cause.FAILED, "exited 0 without a result")
    return Verdict(Cause.CRASHED, f"exited {exited.exit_code} without a result")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def retries(cause: str, failures: int) -> bool:
    """Whether a cell that has now failed `failures` times in this run for `cause` is tried once more."""
    return failures <= RETRIES.get(cause, 0)


@dataclass(slots=True)
class Breaker:
    """Stops a run in which everything fails alike: three cells, one cause, one place, in the first minute.

    Seeds of one combination are one witness, because a model that cannot work must not stop the others; where the
    whole plan has fewer than three combinations, so many suffice. Once a cell has completed it never trips. A user's own
    model ends its own cells only, unless there are no others.

    Attributes:
        combinations: How many different (dataset, model, strategy) the plan has.
        codes: The plug-ins of all cells; None among them stands for our own models.
        started: Monotonic seconds when the first attempt began; None before.
    """

    combinations: int
    codes: frozenset[str | None] = frozenset({None})
    started: float | None = None
    tripped: str | None = None
    _completed: bool = False
    _witnesses: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = field(default_factory=dict)

    def witness(self, cell: Cell, state: str, place: str, now: float) -> None:
        """Takes down how a cell ended for good at monotonic time `now`; `place` names where it broke."""
        if state == Status.COMPLETED:
            self._completed = True
        if self._completed or state in {Status.COMPLETED, Cause.DIVERGED, Cause.INTERRUPTED, Cause.DATA_ERROR}:
            return
        if own_code(cell) is not None and len(self.codes) > 1:
            return
        if self.started is not None and now - self.started > BREAKER_SECONDS:
            return
        seen = self._witnesses.setdefault((state, place), {})
        seen[cell.cell_id] = (cell.dataset, cell.model, cell.strategy)
        if len(seen) >= BREAKER_CELLS and len(set(seen.values())) >= min(BREAKER_CELLS, self.combinations):
            self.tripped = f"{len(seen)} cells failed alike within the first minute ({state}: {place})"


def own_code(cell: Cell) -> str | None:
    """What identifies the user's own code that a cell trains with, of its model, losses, …; None without any."""
    codes = (cell.architecture.code, *(own.code for own in own_functions(cell)))
    return " ".join(dict.fromkeys(filter(None, codes))) or None


def top_frame(trace: str) -> str:
    """The innermost place of a Python traceback, without the exception's own words."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', trace)
    return ":".join(frames[-1]) if frames else ""
