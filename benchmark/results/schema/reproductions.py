"""Tells executions of `bench reproduce` and `bench run --retime` from others: by the name of the run that began them.

Neither takes the place of the result that it checks or times. `reporting/rows/latest.py` says whose timings count.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.tables import execution, run

_PREFIX = "reproduce "
_DIGITS = 8
_RETIME = "retime"


def run_name(cell_id: str) -> str:
    """The name of a run that reproduces a cell."""
    return _PREFIX + cell_id[:_DIGITS]


def retiming_run_name(name: str | None) -> str:
    """The name of a run that times cells again, with what a user calls it."""
    return " ".join(filter(None, (_RETIME, name)))


def is_reproducing(name: str | None) -> bool:
    """Whether the executions of a run of this name take no result's place: it reproduces a cell, or times cells again."""
    return (name or "").startswith((_PREFIX, _RETIME))


def is_retiming() -> Any:
    """A condition on an execution's `run`: it times others again. No other run goes on with what it began."""
    return sa.func.coalesce(sa.func.substr(run.c.name, 1, len(_RETIME)) == _RETIME, sa.false())


def is_reproduction(of: Any = execution) -> Any:
    """A condition on `execution`, or an alias of it: it was begun to check or time an earlier one, and takes no place."""
    name = sa.literal(_PREFIX) + sa.func.substr(of.c.cell_id, 1, _DIGITS, type_=sa.Text)
    checks = (run.c.name == name) | is_retiming()
    return sa.select(sa.literal(1)).where(run.c.run_id == of.c.first_run_id, checks).correlate(of).exists()
