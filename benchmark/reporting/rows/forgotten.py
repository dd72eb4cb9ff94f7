"""Leaves out what `bench forget` has set aside: as if it had never been recorded, but for a note that counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark import units
from benchmark.reporting.rows.latest import ResultRow, latest_executions
from benchmark.reporting.table import Advised


@dataclass(frozen=True, slots=True)
class Remembered:
    """The latest executions that count, and what forgetting has changed about them.

    Attributes:
        latest: One row for each cell and machine, as of `latest_executions`.
        left_out: The latest executions of the cells that have no other: nothing is shown of them.
        older: Of how many cells an earlier execution takes the place of the one that was forgotten.
    """

    latest: list[ResultRow]
    left_out: tuple[ResultRow, ...] = ()
    older: int = 0

    @property
    def cell_ids(self) -> frozenset[str]:
        """Those of the cells that are left out."""
        return frozenset(row["cell_id"] for row in self.left_out)


def without_forgotten(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The executions that reports and comparisons look at."""
    return [row for row in rows if not row.get("forgotten")]


def remember(rows: Sequence[ResultRow]) -> Remembered:
    """Choose the latest executions among those that are not forgotten; rows as for `latest_executions`."""
    kept = without_forgotten(rows)
    latest = latest_executions(kept)
    if len(kept) == len(rows):
        return Remembered(latest)
    shown = {(row.get("machine"), row["cell_id"]) for row in latest}
    replaced = [row for row in latest_executions(rows) if row.get("forgotten")]
    left_out = tuple(row for row in replaced if (row.get("machine"), row["cell_id"]) not in shown)
    return Remembered(latest, left_out, len(replaced) - len(left_out))


def note_on_forgotten(left_out: int, older: int = 0) -> list[Advised]:
    """The one note of a report or comparison on what was forgotten; none where nothing was.

    Args:
        left_out: How many cells are left out.
        older: How many show an earlier result.
    """
    said = []
    if left_out:
        why = "it was" if left_out == 1 else "they were"
        said.append(
            f"{units.plural(left_out, 'cell')} {'is' if left_out == 1 else 'are'} left out because {why} forgotten"
        )
    if older:
        said.append(
            f"{units.plural(older, 'cell')} {'shows' if older == 1 else 'show'} an earlier result because the latest was forgotten"
        )
    return [Advised(f"{'; '.join(said)}.", f"{'; '.join(said)}; bench forget --undo")] if said else []
