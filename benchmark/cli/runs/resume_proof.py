"""`bench run --prove-resume CELL`: kills a cell in the middle of an epoch, lets it go on, and compares all its numbers."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmark.cli.cell_lookup import several_match
from benchmark.cli.cell_names import cell_label, short_id
from benchmark.cli.runs.scratch_runs import Executed, ScratchRuns, scratch_runs
from benchmark.cli.terminal import output, verbosity
from benchmark.errors import NotFoundError, UserError
from benchmark.events import EpochFinished, Progress
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.matrix.selection import NAME_KEYS, parse_selection
from benchmark.matrix.settings import cell_settings
from benchmark.results.read.rows import fetch_table
from benchmark.results.schema.tables import attempt
from benchmark.results.store.database import Database
from benchmark.results.write.result_digest import EPOCH_FIELDS, RESULT_FIELDS, exact
from benchmark.scheduling.run_options import Observer, RunOptions, Step
from benchmark.status import Status

NOT_IDENTICAL = 3
SHOWN_DIFFERENCES = 10


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it.

    Attributes:
        verdict: `identical`, `different`, or `not killed` where the cell was over before it could be struck.
        killed_in_epoch, resumed_from_epoch: Where it was struck, and the last epoch of the state that it went on from.
        differences: In words, the first epoch that differs first.
    """

    cell_id: str
    verdict: str
    killed_in_epoch: int | None
    resumed_from_epoch: int | None
    digest: str | None
    resumed_digest: str | None
    differences: tuple[str, ...] = ()


class _Killer:
    """Hands everything on to an observer, and kills the worker of a cell in the middle of an epoch, once."""

    def __init__(self, inner: Observer, cell: Cell, database: Database, after: int) -> None:
        self._inner, self._cell, self._database, self._after = inner, cell, database, after
        self.killed_in: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def progress(self, cell: Cell, event: Step) -> None:
        self._inner.progress(cell, event)
        if isinstance(event, Progress) and event.epoch > self._after:
            self._strike(cell, event.epoch)

    def epoch(self, cell: Cell, event: EpochFinished) -> None:
        self._inner.epoch(cell, event)
        # the worker is in the next epoch by now, and may be too fast to say so
        if event.epoch >= self._after and not event.replayed:
            self._strike(cell, event.epoch + 1)

    def _strike(self, cell: Cell, epoch: int) -> None:
        if self.killed_in is not None or cell.cell_id != self._cell.cell_id:
            return
        running = fetch_table(self._database, attempt, attempt.c.state == Status.RUNNING)
        for row in running:
            if row["worker_pid"] is not None:
                self.killed_in = epoch
                with contextlib.suppress(ProcessLookupError):
                    os.kill(row["worker_pid"], signal.SIGKILL)


def prove_resume(plan: Plan, text: str, options: RunOptions, output_format: str) -> int:
    """Runs a cell of a plan twice in a temporary place, once killed on the way, and prints whether both are the same.

    Args:
        plan: Of the matrix.
        text: The beginning of the cell's id, or a selection that matches one cell.
        options: How cells are run.
        output_format: `table`, `json` or `csv`.

    Returns:
        0 when they are identical, else 3; the code of the signal when it was interrupted.
    """
    cell = _chosen(plan, text)
    verbosity.inform(
        f"{cell_label(cell)} ({short_id(cell.cell_id)}) runs once whole and once killed, in a temporary place"
    )
    chain = Plan(name=None, path=plan.path, text="", cells=tuple(_chain(plan, cell)))
    # a short cell would have no state on the disk yet, and begin anew
    with scratch_runs(replace(options, every_state=True)) as runs:
        whole = runs.run(chain, cell)
        if isinstance(whole, int):
            return whole
        struck = _killed_once(runs, chain, cell)
    if isinstance(struck, int):
        return struck
    killed, killed_in = struck
    proof = _compare(cell, whole, killed, killed_in)
    _print(proof, output_format)
    return 0 if proof.verdict == "identical" else NOT_IDENTICAL


def _killed_once(runs: ScratchRuns, chain: Plan, cell: Cell) -> tuple[Executed, int | None] | int:
    """Runs the cell and kills it: in the middle of its epochs, or earlier where it was too fast for that."""
    executed: Executed | int = 0
    killed_in = None
    for after in sorted({math.ceil(cell.epochs / 2), 1, 0}, reverse=True):
        if after >= cell.epochs:
            continue
        killers: list[_Killer] = []

        def watch(shown: Observer, after: int = after, killers: list[_Killer] = killers) -> Observer:
            killers.append(_Killer(shown, cell, runs.database, after))
            return killers[0]

        executed = runs.run(chain, cell, watch)
        if isinstance(executed, int):
            return executed
        killed_in = killers[0].killed_in if len(executed.attempts) > 1 else None
        if killed_in is not None:
            break
    assert not isinstance(executed, int)
    return executed, killed_in


def _chosen(plan: Plan, text: str) -> Cell:
    if "=" in text:
        known = {key: {getattr(cell, key) for cell in plan.cells} for key in NAME_KEYS}
        wanted = parse_selection([text]).exact(known)
        matching = [
            cell
            for cell in plan.cells
            if wanted.matches({**{key: getattr(cell, key) for key in (*NAME_KEYS, "cell_id")}, **cell_settings(cell)})
        ]
    else:
        matching = (
            [cell for cell in plan.cells if cell.cell_id.startswith(text.strip().lower())] if text.strip() else []
        )
    if not matching:
        raise NotFoundError(f"--prove-resume {text[:200]!r}: no cell of {plan.path} matches; see: bench plan")
    if len(matching) > 1:
        raise several_match(text, matching)
    if not matching[0].epochs:
        raise UserError(f"--prove-resume {text[:200]!r}: this cell trains nothing, and so cannot be killed on the way")
    return matching[0]


def _chain(plan: Plan, cell: Cell) -> list[Cell]:
    """The cell and what it starts from, ancestors first."""
    cells = {each.cell_id: each for each in plan.cells}
    chain = [cell]
    while (parent := chain[0].parent_cell_id) is not None:
        chain.insert(0, cells[parent])
    return chain


def _compare(cell: Cell, whole: Executed, killed: Executed, killed_in: int | None) -> Proof:
    resumed = killed.attempts[-1]["resumed_from_epoch"]
    differences = tuple(_differences(whole, killed))
    verdict = "not killed" if killed_in is None else "different" if differences else "identical"
    return Proof(cell.cell_id, verdict, killed_in, resumed, whole.row["digest"], killed.row["digest"], differences)


def _differences(whole: Executed, killed: Executed) -> Iterator[str]:
    for before, now in zip(whole.epochs, killed.epochs, strict=False):
        for name in EPOCH_FIELDS:
            if exact(before[name]) != exact(now[name]):
                yield f"epoch {before['epoch']}: {name} {before[name]!r} whole, {now[name]!r} resumed"
    for name in RESULT_FIELDS:
        if exact(whole.row[name]) != exact(killed.row[name]):
            yield f"{name}: {whole.row[name]!r} whole, {killed.row[name]!r} resumed"


def _print(proof: Proof, output_format: str) -> None:
    record = asdict(proof)
    if output_format == "json":
        output.write_json(record)
        return
    if output_format == "csv":
        flat = {**record, "differences": "; ".join(proof.differences)}
        output.write_rows([flat], tuple(map(output.Column, flat)), "csv")
        return
    where = f"killed in epoch {proof.killed_in_epoch}, "
    where += f"resumed after epoch {proof.resumed_from_epoch}" if proof.resumed_from_epoch else "begun anew"
    if proof.verdict == "identical":
        output.write_line(f"identical: {where}, and every number is the same to the bit", "bold green")
        return
    if proof.verdict == "not killed":
        output.write_line("not killed: the cell ended before it could be killed; give it more epochs", "bold yellow")
        return
    output.write_line(f"different: {where}", "bold red")
    for line in proof.differences[:SHOWN_DIFFERENCES]:
        output.write_line(f"  {line}")
    if len(proof.differences) > SHOWN_DIFFERENCES:
        output.write_line(f"  and {len(proof.differences) - SHOWN_DIFFERENCES} more")
