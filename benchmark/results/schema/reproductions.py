"""Tells executions of `bench reproduce` from others: by the name of the run that began them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.tables import execution, run

_PREFIX = "reproduce "
_DIGITS = 8


def run_name(cell_id: str) -> str:
    """The name of a run that reproduces a cell."""
    return _PREFIX + cell_id[:_DIGITS]


def is_reproducing(name: str | None) -> bool:
    """Whether a run of this name reproduces a cell."""
    return (name or "").startswith(_PREFIX)


def is_reproduction(of: Any = execution) -> Any:
    """A condition on `execution`, or an alias of it: it was begun to check an earlier one, and takes no result's place."""
    name = sa.literal(_PREFIX) + sa.func.substr(of.c.cell_id, 1, _DIGITS, type_=sa.Text)
    own = sa.select(sa.literal(1)).where(run.c.run_id == of.c.first_run_id, run.c.name == name)
    return own.correlate(of).exists()
