"""Where the weights of a group come from, and what their training cost, without which fine-tuning looks free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from benchmark.reporting.notation import number
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import has_valid_timing

_MOST_NAMED = 4
_DIGITS = 8


def users_of(executions: Mapping[str, ResultRow]) -> Counter[str]:
    """How many cells start from each cell."""
    return Counter(row["parent_cell_id"] for row in executions.values() if row.get("parent_cell_id"))


def note_on_lineage(group: Group, executions: Mapping[str, ResultRow], users: Mapping[str, int]) -> list[str]:
    """A note on the parents of a group: their ids and digests, and their seconds, whole and shared among their users.

    Args:
        group: Whose parents.
        executions: The latest execution of every cell, by cell, whatever is shown.
        users: From `users_of`.
    """
    chains = [list(_ancestors(row, executions)) for row in group.cells]
    parents = {chain[0]["cell_id"]: chain[0] for chain in chains if chain}
    if not parents:
        return []
    names = " and ".join(
        dict.fromkeys(f"{row['dataset']}, {row['model']}, {row['strategy']}" for row in parents.values())
    )
    listed = [f"{cell_id[:_DIGITS]} (digest {_digest(row)})" for cell_id, row in list(parents.items())[:_MOST_NAMED]]
    more = f" and {len(parents) - _MOST_NAMED} more" if len(parents) > _MOST_NAMED else ""
    return [f"The weights come from {names}: {', '.join(listed)}{more}.", _cost([c for c in chains if c], users)]


def _cost(chains: Sequence[Sequence[ResultRow]], users: Mapping[str, int]) -> str:
    text = "The seconds of fine-tuning leave out the training of the cell it starts from"
    valid = [chain for chain in chains if all(has_valid_timing(row) and row.get("fit_seconds") for row in chain)]
    if not valid:
        return f"{text}: how long that took is not known, because none of its timings is valid."
    whole = number(sum(map(_seconds, valid)) / len(valid), "seconds")
    shares = [_shared_seconds(chain, users) for chain in valid]
    share = number(sum(shares) / len(shares), "seconds")
    amortised = f", {share} s more where it is shared among all cells that start from it" if share != whole else ""
    left_out = f"; {len(chains) - len(valid)} of {len(chains)} are left out, whose timings are not valid"
    return f"{text}: {whole} s more (mean){amortised}{left_out if len(valid) < len(chains) else ''}."


def _ancestors(row: ResultRow, executions: Mapping[str, ResultRow]) -> Iterable[ResultRow]:
    """The parent of a row's cell, then its parent, and so on."""
    seen: set[str] = set()
    parent = executions.get(row.get("parent_cell_id") or "")
    while parent is not None and parent["cell_id"] not in seen:
        seen.add(parent["cell_id"])
        yield parent
        parent = executions.get(parent.get("parent_cell_id") or "")


def _seconds(chain: Iterable[ResultRow]) -> float:
    return sum(float(row["fit_seconds"]) for row in chain)


def _shared_seconds(chain: Sequence[ResultRow], users: Mapping[str, int]) -> float:
    """The seconds of a chain of ancestors, each shared among all cells that start from it, directly or not."""
    seconds = 0.0
    for row in reversed(chain):
        seconds = (seconds + float(row["fit_seconds"])) / max(users.get(row["cell_id"], 1), 1)
    return seconds


def _digest(row: ResultRow) -> str:
    return str(row.get("digest") or "unknown")[:_DIGITS]
