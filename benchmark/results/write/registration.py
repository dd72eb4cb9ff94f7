"""Inserts a run and its cells: up to a hundred thousand rows at once, of which many may exist already."""

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

from benchmark.catalog.facts import SCRIPT
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import LeftOut
from benchmark.matrix.recipes.optimizers import OWN
from benchmark.results.schema.tables import cell as cell_table
from benchmark.results.schema.tables import run_cell

BATCH_ROWS = 2000
"""Rows that are held in memory at once; more are not inserted any faster."""

_RENEWED = ("dataset", "model", "strategy", "strategy_label", "device", "spec")
"""Columns that may differ between two matrices with the same cell, because they are names or not part of its id."""


def inserted_id(connection: sa.Connection, statement: sa.Insert) -> int:
    """Inserts a row; returns the id that the database gave it."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def insert_cells(
    connection: sa.Connection, run_id: int, cells: Sequence[Cell], left_out: Sequence[LeftOut], reused: Collection[str]
) -> None:
    """Inserts the cells of a run; cells that exist keep their row and take the newest names.

    `reused` are ids of the cells that need no work.
    """
    _insert(connection, cell_table, cell_rows(run_id, cells), renewed=_RENEWED)
    _insert(connection, run_cell, _run_cell_rows(run_id, cells, left_out, frozenset(reused)))


def _insert(
    connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]], renewed: Sequence[str] = ()
) -> None:
    """Inserts rows that have every column of the table, in batches; `renewed` columns replace those of an existing row.

    The compiled statement goes directly to the driver: SQLAlchemy would process each of a hundred thousand rows again,
    which takes a second, and none of these columns needs a conversion.
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
    """Yields the rows of `cell` for new cells of a run."""
    spec = SpecWriter()
    for cell in cells:
        last = cell.stages[-1] if cell.stages else None
        yield {
            **dict(zip(_OWN, _own_of(cell), strict=True)),
            "image_size": cell.data.image_size,
            "color": cell.data.color,
            "epochs_planned": cell.epochs,
            **{name: last and getattr(last, name) for name in _OF_LAST_STAGE},
            **(dict.fromkeys(_UNKNOWN_OF_MODULE) if last and last.optimizer == OWN else {}),
            "dropout": dict(cell.architecture.parameters).get("dropout"),
            "framework": cell.architecture.framework if cell.architecture.command is None else SCRIPT,
            "spec": spec.text(cell),
            "first_run_id": run_id,
        }


def _run_cell_rows(
    run_id: int, cells: Sequence[Cell], left_out: Sequence[LeftOut], reused: frozenset[str]
) -> Iterator[dict[str, Any]]:
    rows: list[Cell | LeftOut] = [*cells, *left_out]
    for position, row in enumerate(rows):
        facts = {"run_id": run_id, "position": position, "dataset": row.dataset, "model": row.model}
        facts |= {"strategy": row.strategy, "seed": row.seed}
        if isinstance(row, Cell):
            outcome = "reused" if row.cell_id in reused else "planned"
            yield {**facts, "cell_id": row.cell_id, "outcome": outcome, "reason": None}
        else:
            yield {**facts, "cell_id": None, "outcome": "left_out", "reason": row.reason}


class SpecWriter:
    """Serializes many cells as JSON, encoding the parts that they share only once.

    The texts equal `json.dumps(cell.to_dict())` but for the order of keys.
    """

    def __init__(self) -> None:
        # by id(): hashing a part costs as much as encoding it. The value keeps the part alive, so that its id is not reused
        self._parts: dict[int, tuple[Any, str]] = {}

    def text(self, cell: Cell) -> str:
        """Returns the cell as JSON."""
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


_OWN = (
    "cell_id", "dataset", "model", "strategy", "strategy_label", "seed", "backend", "device", "device_kind", "threads",
    "precision", "parent_cell_id",
)  # fmt: skip
_own_of = attrgetter(*_OWN)

_UNKNOWN_OF_MODULE = ("learning_rate", "weight_decay", "momentum", "label_smoothing")
"""What a LightningModule decides in its own code."""

_OF_LAST_STAGE = (
    "batch_size", "learning_rate", "optimizer", "weight_decay", "momentum", "label_smoothing", "train",
)  # fmt: skip

_PARTS = ("data", "architecture", "weights")
_SCALARS = tuple(field.name for field in fields(Cell) if field.name not in {*_PARTS, "stages"})
_scalars_of = attrgetter(*_SCALARS)
