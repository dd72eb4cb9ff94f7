"""Which row of the report each execution is part of: what may be averaged, and how it is called."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.cli.cell_lookup import selected_results
from benchmark.reporting.rows.forgotten import remember
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.rows.groups import varying_settings
from benchmark.reporting.rows.scope import NAMES, name_in
from benchmark.results.store.database import Database


def named_groups(database: Database, execution_ids: Iterable[int]) -> dict[int, str]:
    """The name of the group of each of these executions that reports count, by id; others are in none.

    A group is cells of one machine that differ in seeds and folds alone. Its name is that of dataset, model and strategy, the settings
    in which groups of the same names differ, and the machine where there are several. Reports count the completed execution
    of a cell that is its latest and not forgotten.
    """
    wanted = {*execution_ids}
    by_machine: dict[str, list[dict[str, object]]] = {}
    for row in remember(selected_results(database, ())).latest:
        by_machine.setdefault(row["machine"], []).append(dict(row))
    groups = [
        (machine, group)
        for machine, rows in by_machine.items()
        for group in group_cells(rows)
        if not wanted.isdisjoint(group.execution_ids)
    ]
    several = len({machine for machine, _ in groups}) > 1
    varying = varying_settings([group for _, group in groups])
    taken: set[str] = set()
    named: dict[int, str] = {}
    for machine, group in groups:
        name = ", ".join([*([machine] if several else []), name_in(group, NAMES, varying)])
        # names may hold commas, and look like others
        name = f"{name}, {group.cell_ids[0][:8]}" if name in taken else name
        taken.add(name)
        named |= {number: name for number in group.execution_ids if number in wanted}
    return named
