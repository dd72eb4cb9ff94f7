"""What the arguments of all calls mean: which database, which of its executions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmark import layout
from benchmark.cli.cell_lookup import check_machine, selected_results
from benchmark.cli.options import damage_named
from benchmark.reporting.rows.forgotten import remember
from benchmark.results.store.database import Database, open_database

Target: TypeAlias = str | os.PathLike[str] | None
"""Path or URL of a results database; None takes that of the command line."""

Texts: TypeAlias = str | Sequence[str]
"""One text or several."""


def database_named(target: Target) -> str:
    """The database that a call is about: as named, else as on the command line, from `BENCH_DB` or here."""
    return os.fspath(target) if target is not None else os.environ.get("BENCH_DB") or layout.DATABASE


def machine_named(machine: str | None) -> str | None:
    """The machine that a report is about: as named, else as on the command line, from `BENCH_MACHINE`."""
    return machine or os.environ.get("BENCH_MACHINE") or None


def listed(texts: Texts) -> tuple[str, ...]:
    """The texts as a tuple: one alone is not taken for its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


@contextmanager
def opened(target: Target) -> Iterator[Database]:
    """Open a database for reading.

    Raises:
        UserError: There is none.
        StorageError: It cannot be read, or is damaged.
    """
    name = database_named(target)
    with damage_named(name), open_database(name, mode="read") as database:
        yield database


@dataclass(frozen=True, slots=True)
class Selected:
    """Which executions a call is about.

    Attributes:
        select: Expressions such as `model=resnet*,seed=0`; a union.
        exclude: Likewise, what to leave out.
        machine: Those of this machine alone; None takes all.
        latest: Of each cell and machine the one that reports count: the newest that is not forgotten and came to an end.
    """

    select: Texts = ()
    exclude: Texts = ()
    machine: str | None = None
    latest: bool = False

    def executions(self, database: Database) -> list[int] | None:
        """Their ids; None where all are meant.

        Raises:
            UserError: There are results, but none that match; or an expression is wrong.
        """
        if not (self.select or self.exclude or self.machine or self.latest):
            return None
        rows: Sequence[Mapping[str, Any]] = selected_results(database, listed(self.select), listed(self.exclude))
        check_machine(rows, self.machine)
        rows = [row for row in rows if self.machine in {None, row["machine"]}]
        return [row["execution_id"] for row in (remember(rows).latest if self.latest else rows)]
