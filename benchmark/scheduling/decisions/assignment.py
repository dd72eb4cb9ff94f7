"""What a run has to do: every cell of the plan is run, reused, left alone, or blocked, before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.catalog.backends import trains
from benchmark.catalog.cache import PreparedDirectories
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.reuse import Before, Decision, decide, kept_weights, problem_of
from benchmark.scheduling.options import RunOptions
from benchmark.status import Status


@dataclass(slots=True)
class Assignment:
    """The work of one run.

    Attributes:
        run: Cells to run, parents before children.
        again: Those of them that begin a new execution.
        settled: Status of every cell that is not run: `completed`, `diverged`, `failed`, `blocked`.
        blocked: Cells whose parent has no weights to give, with that parent's status.
        weights: Path and digest of the kept weights of reused parents.
        standing: Of finished cells whose parent runs again: the digest of the weights they started from. Each is in
            `run`, but its result stands when the parent comes to these weights once more.
        notes: What the user should know.
    """

    run: list[Cell] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    settled: dict[str, str] = field(default_factory=dict)
    blocked: list[tuple[Cell, str]] = field(default_factory=list)
    weights: dict[str, tuple[Path, str]] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def reused(self) -> set[str]:
        """Cells whose earlier result stands, failed ones that are not retried included."""
        blocked = {cell.cell_id for cell, _ in self.blocked}
        return self.settled.keys() - blocked


def assign(cells: Sequence[Cell], before: Mapping[str, Before], options: RunOptions) -> Assignment:
    """Decides for every cell of a plan.

    Args:
        cells: Parents before children.
        before: The latest execution of each cell on this machine.
        options: What the user asked for, and where artifacts and caches lie.

    Side effects: reads every artifact of the finished cells, to verify it.
    """
    assignment = Assignment()
    decisions = _decisions(cells, before, options, assignment.notes)
    running: set[str] = set()
    for cell in cells:
        decision = decisions[cell.cell_id]
        parent = cell.parent_cell_id
        if decision is Decision.REUSE:
            decision = _decide_by_parent(cell, before[cell.cell_id], assignment, running)
        if decision in {Decision.REUSE, Decision.LEAVE}:
            assignment.settled[cell.cell_id] = before[cell.cell_id].status
        elif parent is not None and (status := assignment.settled.get(parent, Status.COMPLETED)) != Status.COMPLETED:
            assignment.settled[cell.cell_id] = Status.BLOCKED
            assignment.blocked.append((cell, status))
        else:
            running.add(cell.cell_id)
            assignment.run.append(cell)
            if decision is Decision.AGAIN:
                assignment.again.add(cell.cell_id)
        if cell.cell_id in assignment.standing or cell.cell_id in assignment.settled:
            _take_weights(cell, before, assignment, options)
    return assignment


def _take_weights(cell: Cell, before: Mapping[str, Before], assignment: Assignment, options: RunOptions) -> None:
    past = before.get(cell.cell_id)
    weights = None if past is None else kept_weights(past.artifacts, options.artifacts_root)
    if weights is not None:
        assignment.weights[cell.cell_id] = weights


def _decide_by_parent(cell: Cell, before: Before, assignment: Assignment, running: Collection[str]) -> Decision:
    """A finished cell started from its parent's kept weights; when these are other ones now, it begins anew."""
    began, parent = before.weights_sha256, cell.parent_cell_id
    if began is None or parent is None or before.status != Status.COMPLETED:
        return Decision.REUSE
    if parent in running:
        assignment.standing[cell.cell_id] = began
        return Decision.AGAIN
    now = assignment.weights.get(parent)
    if now is None or now[1] == began:
        return Decision.REUSE
    assignment.notes.append(_again(cell, "the weights of its parent have changed"))
    return Decision.AGAIN


def _decisions(
    cells: Sequence[Cell], before: Mapping[str, Before], options: RunOptions, notes: list[str]
) -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    needed: set[str] = set()
    data = PreparedDirectories(options.cache_root)
    # Children first: a parent whose weights are needed must have kept some.
    for cell in reversed(cells):
        past = before.get(cell.cell_id)
        asked = replace(options, rerun=True) if cell.cell_id in options.rerun_cells else options
        decision = decide(past, asked, lambda known, cell=cell: _problem(known, cell, data, options, needed, notes))  # type: ignore[misc]
        decisions[cell.cell_id] = decision
        if decision in {Decision.RUN, Decision.AGAIN} and cell.parent_cell_id is not None:
            needed.add(cell.parent_cell_id)
    return decisions


def _problem(
    before: Before, cell: Cell, data: PreparedDirectories, options: RunOptions, needed: set[str], notes: list[str]
) -> str | None:
    prepared = data.of(cell.data) if trains(cell.backend) else None
    reason = problem_of(before, options.artifacts_root, prepared)
    if (
        reason is None
        and before.status == Status.COMPLETED
        and cell.cell_id in needed
        and not kept_weights(before.artifacts, options.artifacts_root)
    ):
        reason = "it kept no weights, and another cell starts from them"
    if reason is not None:
        notes.append(_again(cell, reason))
    return reason


def _again(cell: Cell, reason: str) -> str:
    return f"{cell.cell_id} {cell.dataset}/{cell.model}/{cell.strategy} runs again: {reason}"
