"""Entering a run and its cells: many rows at once, and the same cell again and again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect

from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import LeftOut
from benchmark.results.records import RunFacts
from benchmark.results.schema.tables import cell as cell_table
from benchmark.results.schema.tables import run, run_cell
from benchmark.status import Status

BATCH_ROWS = 2000
"""Rows that are held in memory at once; more are not entered any faster."""

_RENEWED = ("dataset", "model", "strategy", "strategy_label", "device", "spec")
"""What may differ between two matrices with the same cell: how things are called there."""


def insert_run(connection: sa.Connection, facts: RunFacts, started_utc: str) -> int:
    """Enter a run as running; returns its number."""
    done = connection.execute(run.insert().values(**asdict(facts), state=Status.RUNNING, started_utc=started_utc))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def insert_cells(
    connection: sa.Connection,
    run_id: int,
    cells: Sequence[Cell],
    left_out: Sequence[LeftOut],
    reused: Collection[str],
) -> None:
    """Enter what the run is made of; cells that are known keep their row and take the newest names."""
    _insert(connection, cell_table, cell_rows(run_id, cells), renewed=_RENEWED)
    _insert(connection, run_cell, _planned_rows(run_id, cells, frozenset(reused)))
    _insert(connection, run_cell, _left_out_rows(run_id, left_out, len(cells)))


def _insert(
    connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]], renewed: Sequence[str] = ()
) -> None:
    """Enter rows that have every column of the table, in batches; `renewed` columns replace those of a known row.

    The statement is compiled here and goes to the driver as it is: of a hundred thousand rows SQLAlchemy would look
    at each once more, which takes a second. None of these columns needs a conversion.
    """
    sqlite = connection.dialect.name == "sqlite"
    statement: Any = (sqlite_dialect.insert if sqlite else postgresql_dialect.insert)(table)
    if renewed:
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={name: statement.excluded[name] for name in renewed}
        )
    dialect = sqlite_dialect.dialect(paramstyle="named") if sqlite else connection.dialect
    text = str(statement.compile(dialect=dialect))
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        connection.exec_driver_sql(text, batch)


def cell_rows(run_id: int, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    """The rows of `cell` for cells that a run was the first to have."""
    spec = SpecWriter()
    for cell in cells:
        last = cell.stages[-1] if cell.stages else None
        yield {
            "cell_id": cell.cell_id,
            "dataset": cell.dataset,
            "model": cell.model,
            "strategy": cell.strategy,
            "strategy_label": cell.strategy_label,
            "seed": cell.seed,
            "backend": cell.backend,
            "device": cell.device,
            "device_kind": cell.device_kind,
            "threads": cell.threads,
            "precision": cell.precision,
            "image_size": cell.data.image_size,
            "color": cell.data.color,
            "batch_size": last and last.batch_size,
            "epochs_planned": cell.epochs,
            "learning_rate": last and last.learning_rate,
            "optimizer": last and last.optimizer,
            "parent_cell_id": cell.parent_cell_id,
            "spec": spec.text(cell),
            "first_run_id": run_id,
        }


def _planned_rows(run_id: int, cells: Sequence[Cell], reused: frozenset[str]) -> Iterator[dict[str, Any]]:
    for position, cell in enumerate(cells):
        yield {
            "run_id": run_id,
            "position": position,
            "cell_id": cell.cell_id,
            "dataset": cell.dataset,
            "model": cell.model,
            "strategy": cell.strategy,
            "seed": cell.seed,
            "outcome": "reused" if cell.cell_id in reused else "planned",
            "reason": None,
        }


def _left_out_rows(run_id: int, left_out: Sequence[LeftOut], first: int) -> Iterator[dict[str, Any]]:
    for position, row in enumerate(left_out, first):
        yield {
            "run_id": run_id,
            "position": position,
            "cell_id": None,
            "dataset": row.dataset,
            "model": row.model,
            "strategy": row.strategy,
            "seed": row.seed,
            "outcome": "left_out",
            "reason": row.reason,
        }


class SpecWriter:
    """`json.dumps(cell.to_dict())`, but for the order of keys, for many cells: shared parts are written once."""

    def __init__(self) -> None:
        # by identity: hashing a part costs as much as writing it. The value keeps the part, and so its id, alive
        self._parts: dict[int, tuple[Any, str]] = {}

    def text(self, cell: Cell) -> str:
        scalars = json.dumps(dict(zip(_SCALARS, _scalars_of(cell), strict=True)), default=asdict)
        stages = ", ".join(map(self._part, cell.stages))
        parts = ", ".join(f'"{name}": {self._part(getattr(cell, name))}' for name in _PARTS)
        return f'{scalars[:-1]}, {parts}, "stages": [{stages}]}}'

    def _part(self, part: Any) -> str:
        known = self._parts.get(id(part))
        if known is None:
            if len(self._parts) >= BATCH_ROWS:
                self._parts.clear()
            known = self._parts[id(part)] = (part, json.dumps(asdict(part)))
        return known[1]


_PARTS = ("data", "architecture", "weights")
_SCALARS = tuple(field.name for field in fields(Cell) if field.name not in {*_PARTS, "stages"})
_scalars_of = attrgetter(*_SCALARS)
