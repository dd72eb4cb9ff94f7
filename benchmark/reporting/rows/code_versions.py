"""Says which of several versions of the user's own code in a report is the newest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.flat_settings import CODES, key_of
from benchmark.reporting.rows.groups import Group, varying_settings

_MOST_NAMED = 3


def notes_on_versions(groups: Iterable[Group]) -> list[str]:
    """A note for each list of versions that the groups of a dataset, model and strategy have, the newest first.

    Groups are versions of one another where they differ in codes alone.
    """
    families: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        rest = {name: value for name, value in group.settings.items() if name not in CODES}
        families.setdefault((*group.names, key_of(rest)), []).append(group)
    owners: dict[str, list[str]] = {}
    for family in families.values():
        codes = [name for name in varying_settings(family) if name in CODES]
        if codes:
            newest_first = sorted(family, key=_newest_execution, reverse=True)
            texts = dict.fromkeys(", ".join(group.describe(codes)) or "none" for group in newest_first)
            owners.setdefault("; ".join(texts), []).append(" ".join(family[0].names))
    return [f"Versions of the code of {_some(names)}, the newest first: {text}." for text, names in owners.items()]


def _newest_execution(group: Group) -> int:
    return max((row.get("execution_id") or 0 for row in group.repetitions.results), default=0)


def _some(names: Sequence[str]) -> str:
    named = list(dict.fromkeys(names))
    more = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
