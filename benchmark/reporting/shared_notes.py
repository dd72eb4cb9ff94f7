"""What holds for all verdicts, or for all tables of a kind, is said once instead of beside each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from benchmark.reporting.statistics.mean_difference import NOT_COMPARABLE, Difference
from benchmark.reporting.table import Table


def common_remarks(differences: Iterable[Difference | None]) -> tuple[str, ...]:
    """The remarks that stand beside every difference with a verdict; none where there are not several of them."""
    judged = [each.remarks for each in differences if each and each.verdict not in {None, NOT_COMPARABLE}]
    if len(judged) < 2:
        return ()
    return tuple(text for text in dict.fromkeys(judged[0]) if all(text in remarks for remarks in judged))


def notes_on_verdicts(remarks: Sequence[str]) -> list[str]:
    """The notes that take the place of `common_remarks`."""
    return [f"Every verdict{'' if text.startswith('rests ') else ':'} {text}." for text in remarks]


def without_footnotes(table: Table, texts: Collection[str]) -> Table:
    """The table without these footnotes; rows keep them in their `remark`, since programs read rows alone."""
    kept = [text for text in table.footnotes if text not in texts]
    if len(kept) == len(table.footnotes):
        return table
    places = {position: kept.index(text) for position, text in enumerate(table.footnotes) if text in kept}
    rows = []
    for row in table.rows:
        marks = {key: tuple(places[mark] for mark in marks if mark in places) for key, marks in row.marks.items()}
        rows.append(replace(row, marks={key: several for key, several in marks.items() if several}))
    return replace(table, rows=tuple(rows), footnotes=tuple(kept))


def collected(tables: Sequence[Table]) -> tuple[list[Table], list[str]]:
    """The tables without the notes that all of several of one kind have, and these notes, each once."""
    kinds: dict[str, list[Table]] = {}
    for table in tables:
        kinds.setdefault(table.name, []).append(table)
    common = {
        name: [note for note in several[0].notes if all(note in other.notes for other in several)]
        for name, several in kinds.items()
        if len(several) > 1
    }
    left = [
        replace(each, notes=tuple(note for note in each.notes if note not in common.get(each.name, ())))
        for each in tables
    ]
    said = [
        f"{kinds[name][0].title.partition(':')[0]}, all {len(kinds[name])} tables: {note}"
        for name, notes in common.items()
        for note in notes
    ]
    return left, said
