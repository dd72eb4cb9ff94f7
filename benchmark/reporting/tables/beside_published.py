"""Tables of published figures beside measured ones, in the layout in which they were published.

Published figures enter no mean, interval or verdict: they have a type of their own, `Published`, which every format
marks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from benchmark.matrix.report_spec import Figure, PublishedColumn, PublishedRow, PublishedTable
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import METRICS
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.table import Footnotes, Kind, Published, Row, Table, TableColumn, Tally, Value
from benchmark.reporting.tables.shown import Part, Shown

PUBLISHED, MEASURED = "published", "measured"
_REDUCTIONS = ("train_examples", "test_examples")


def published(shown: Shown) -> Part:
    """A table for each published one with at least one row that a group corresponds to, and notes on the others."""
    groups, specs = shown.groups, shown.spec.published
    tables: list[Table] = []
    notes: list[str] = []
    by_names: dict[tuple[str, str, str], Group] = {}
    # of several groups with the names of a published row, one with results, then that of the latest run
    for group in sorted(groups, key=lambda group: (bool(group.completed), group.last_run), reverse=True):
        by_names.setdefault(group.names, group)
    for spec in specs:
        matches = [by_names.get((row.dataset, row.model, row.strategy)) for row in spec.rows]
        if not any(matches):
            notes.append(f"Published table {spec.title}: no cell of it in what is shown here.")
        elif spec.metrics_as_rows:
            tables.append(_metrics_as_rows(spec, matches))
        else:
            tables.append(_metrics_as_columns(spec, matches))
    return tables, notes


def _metrics_as_columns(spec: PublishedTable, groups: Sequence[Group | None]) -> Table:
    """Two rows for each published one: as published, and as measured."""
    footnotes = Footnotes()
    keys = [_key(title) for title in spec.headings]
    rows: list[Row] = []
    for row, group in zip(spec.rows, groups, strict=True):
        names: dict[str, Value] = dict(zip(keys, row.label, strict=True))
        figures = {_column_key(column): _figure(spec, row, index) for index, column in enumerate(spec.columns)}
        rows.append(Row({**names, "figures": PUBLISHED, "n": None, **figures}))
        rows.append(_measured_row(spec, names, group, footnotes))
    columns = (
        *(TableColumn(key, title, "text", identifies=True) for key, title in zip(keys, spec.headings, strict=True)),
        TableColumn("figures", "Figures", "text", identifies=True),
        TableColumn("n", "n", "count", identifies=True),
        *(
            TableColumn(_column_key(column), column.title, _kind(column), METRICS[column.metric].unit)
            for column in spec.columns
        ),
    )
    return _table(spec, groups, columns, rows, footnotes)


def _measured_row(spec: PublishedTable, names: dict[str, Value], group: Group | None, footnotes: Footnotes) -> Row:
    texts = reasons(group) if group else ["no such cell in what is shown here"]
    cells: dict[str, Value] = {
        **names,
        "figures": MEASURED,
        "n": Tally(len(group.completed), group.planned) if group else Tally(0, 0),
        **{_column_key(column): _measured(column, group) for column in spec.columns},
    }
    return Row(cells, footnotes.marks(n=texts), remark="; ".join(texts))


def _metrics_as_rows(spec: PublishedTable, groups: Sequence[Group | None]) -> Table:
    """Two columns for each published row: as published, and as measured."""
    footnotes = Footnotes()
    columns = [TableColumn(_key(spec.headings[0]), spec.headings[0], "text", identifies=True)]
    keys: list[tuple[str, str]] = []
    for row, group in zip(spec.rows, groups, strict=True):
        title = ", ".join(row.label)
        keys.append((_key(title), f"{_key(title)}_{MEASURED}"))
        columns.append(TableColumn(keys[-1][0], f"{title}, {PUBLISHED}", "accuracy"))
        count = len(group.completed) if group else 0
        columns.append(TableColumn(keys[-1][1], f"{title}, {MEASURED}", "accuracy", n=count))
    rows = []
    for index, column in enumerate(spec.columns):
        cells: dict[str, Value] = {columns[0].key: column.title}
        for row, group, (published, measured) in zip(spec.rows, groups, keys, strict=True):
            cells |= {published: _figure(spec, row, index), measured: _measured(column, group)}
        rows.append(Row(cells, kind=_kind(column)))
    return _table(spec, groups, columns, rows, footnotes)


def _table(
    spec: PublishedTable,
    groups: Sequence[Group | None],
    columns: Sequence[TableColumn],
    rows: Sequence[Row],
    footnotes: Footnotes,
) -> Table:
    return Table(
        name="published",
        title=spec.title,
        columns=tuple(columns),
        rows=tuple(rows),
        about={"title": spec.title, "source": spec.source},
        footnotes=footnotes.texts,
        notes=tuple(_notes(spec, groups)),
    )


def _notes(spec: PublishedTable, groups: Sequence[Group | None]) -> list[str]:
    notes = [
        (
            f"Published figures are those of {spec.source}. Their seeds, splits, versions and hardware are not known "
            "here; they take part in no mean, interval or verdict."
        )
    ]
    reduced: dict[str, list[str]] = {}
    for row, group in zip(spec.rows, groups, strict=True):
        label = ", ".join(row.label)
        if spec.metrics_as_rows:
            missing = reasons(group) if group else ["no such cell in what is shown here"]
            notes += [f"{label}: {text}." for text in missing]
        settings = group.settings if group else {}
        limits = [f"{name} = {settings[name]}" for name in _REDUCTIONS if settings.get(name) is not None]
        if limits:
            reduced.setdefault(", ".join(limits), []).append(label)
    notes += [
        f"Measured on fewer examples than were published ({limits}): {'; '.join(labels)}."
        for limits, labels in reduced.items()
    ]
    return notes


def _figure(spec: PublishedTable, row: PublishedRow, index: int) -> Published | None:
    """A figure with the most decimals in its column, so that 0.20 stays 0.20 below 0.42."""
    percent = spec.columns[index].percent
    numbers = [_number(each.figures[index], percent=percent) for each in spec.rows]
    exponents = [Decimal(repr(each)).normalize().as_tuple().exponent for each in numbers if each is not None]
    decimals = max((-exponent for exponent in exponents if isinstance(exponent, int) and exponent < 0), default=0)
    value, number = row.figures[index], _number(row.figures[index], percent=percent)
    if number is None:
        return Published(value) if isinstance(value, str) else None
    return Published(int(number) if number == int(number) else number, decimals)


def _number(value: Figure, *, percent: bool) -> float | None:
    if not isinstance(value, float):
        return None
    return round(100 * value, 9) if percent else value


def _measured(column: PublishedColumn, group: Group | None) -> Measurement | None:
    if group is None:
        return None
    return group.measured(METRICS[column.metric], unit=100.0 if column.percent else 1.0)[0]


def _kind(column: PublishedColumn) -> Kind:
    return "percent" if column.percent else METRICS[column.metric].kind


def _column_key(column: PublishedColumn) -> str:
    return f"{column.metric}_percent" if column.percent else column.metric


def _key(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_") or "name"
