"""What a run has to do: every cell of the plan is run, reused, left alone, or blocked, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.catalog.cache import prepared_directory
from benchmark.matrix.cell import Cell
from benchmark.scheduling.options import RunOptions
from benchmark.scheduling.reuse import Before, Decision, decide, kept_weights, problem_of


@dataclass(slots=True)
class Assignment:
    """The work of one run.

    Attributes:
        run: Cells to run, parents before children.
        again: Those of them that begin a new execution.
        settled: Status of every cell that is not run: `completed`, `diverged`, `failed`, `blocked`.
        blocked: Cells whose parent has no weights to give, with that parent's status.
        weights: Path and digest of the kept weights of reused parents.
        notes: What the user should know.
    """

    run: list[Cell] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    settled: dict[str, str] = field(default_factory=dict)
    blocked: list[tuple[Cell, str]] = field(default_factory=list)
    weights: dict[str, tuple[Path, str]] = field(default_factory=dict)
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
    for cell in cells:
        decision = decisions[cell.cell_id]
        parent = cell.parent_cell_id
        if decision in {Decision.REUSE, Decision.LEAVE}:
            assignment.settled[cell.cell_id] = before[cell.cell_id].status
            if (weights := kept_weights(before[cell.cell_id].artifacts, options.artifacts_root)) is not None:
                assignment.weights[cell.cell_id] = weights
        elif parent is not None and (status := assignment.settled.get(parent, "completed")) != "completed":
            assignment.settled[cell.cell_id] = "blocked"
            assignment.blocked.append((cell, status))
        else:
            assignment.run.append(cell)
            if decision is Decision.AGAIN:
                assignment.again.add(cell.cell_id)
    return assignment


def _decisions(
    cells: Sequence[Cell], before: Mapping[str, Before], options: RunOptions, notes: list[str]
) -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    needed: set[str] = set()
    # Children first: a parent whose weights are needed must have kept some.
    for cell in reversed(cells):
        past = before.get(cell.cell_id)
        decision = decide(past, options, lambda known, cell=cell: _problem(known, cell, options, needed, notes))  # type: ignore[misc]
        decisions[cell.cell_id] = decision
        if decision in {Decision.RUN, Decision.AGAIN} and cell.parent_cell_id is not None:
            needed.add(cell.parent_cell_id)
    return decisions


def _problem(before: Before, cell: Cell, options: RunOptions, needed: set[str], notes: list[str]) -> str | None:
    prepared = None
    if cell.backend != "fake":
        prepared = prepared_directory(cell.data.source, cell.data.image_size, cell.data.color, options.cache_root)
    reason = problem_of(before, options.artifacts_root, prepared)
    if (
        reason is None
        and before.status == "completed"
        and cell.cell_id in needed
        and not kept_weights(before.artifacts, options.artifacts_root)
    ):
        reason = "it kept no weights, and another cell starts from them"
    if reason is not None:
        notes.append(f"{cell.cell_id} {cell.dataset}/{cell.model}/{cell.strategy} runs again: {reason}")
    return reason
