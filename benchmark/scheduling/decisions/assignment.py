"""The work of one run: what `reuse.decide` said of each cell, sorted for those who do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.matrix.cell import Cell
from benchmark.results.records import Recorded
from benchmark.scheduling.decisions.reuse import Decision, kept_weights
from benchmark.status import Outlook, Status


@dataclass(slots=True)
class Assignment:
    """The work of one run.

    Attributes:
        run: Cells to run, parents before children.
        again: Those of them that begin a new execution.
        settled: Status of every cell that is not run: `completed`, `diverged`, `failed`, `blocked`.
        blocked: Cells whose parent has no weights to give, with the reason in words.
        weights: Path and digest of the kept weights of finished cells.
        standing: Of finished cells whose parent runs again: the digest of the weights they started from. Each is in
            `run`, but its result stands when the parent comes to these weights once more.
        idle: Ids of the cells that are not expected to train.
    """

    run: list[Cell] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    settled: dict[str, str] = field(default_factory=dict)
    blocked: list[tuple[Cell, str]] = field(default_factory=list)
    weights: dict[str, tuple[Path, str]] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)

    @property
    def reused(self) -> set[str]:
        """Cells whose earlier result stands, failed ones that are not retried included."""
        blocked = {cell.cell_id for cell, _ in self.blocked}
        return self.settled.keys() - blocked


def assign(
    cells: Sequence[Cell],
    decisions: Mapping[str, Decision],
    recorded: Recorded,
    root: Path,
    *,
    from_recorded: bool = False,
) -> Assignment:
    """Sorts the cells of a plan by what was decided.

    Args:
        cells: Of the plan.
        decisions: By cell id.
        recorded: What the database knows of them.
        root: The folder of artifacts.
        from_recorded: Whether all cells start from the recorded weights of their parents, those that run among them too.
    """
    work = Assignment()
    for cell in cells:
        decision, state = decisions[cell.cell_id], recorded.states.get(cell.cell_id)
        if decision.is_open:
            work.run.append(cell)
        elif decision.outlook is Outlook.BLOCKED:
            work.settled[cell.cell_id] = Status.BLOCKED
            work.blocked.append((cell, decision.reason))
        elif state is not None:
            work.settled[cell.cell_id] = state.status
        if not decision.will_run:
            work.idle.add(cell.cell_id)
        if decision.fresh:
            work.again.add(cell.cell_id)
        if decision.stands_with is not None:
            work.standing[cell.cell_id] = decision.stands_with
        finished = from_recorded or decision.stands_with is not None or decision.outlook is Outlook.REUSED
        if finished and state is not None and (weights := kept_weights(state.artifacts, root)) is not None:
            work.weights[cell.cell_id] = weights
    return work
