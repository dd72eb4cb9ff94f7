"""What counts as one repetition of a group, where more than the seed differs between its cells.

A repetition is a seed; where all cells have the same seed, it is a value of the first of `split_seed`, `weights_seed`,
`order_seed`, `augment_seed` that differs. Whatever else differs, folds or further streams, is averaged within a
repetition: such cells share training examples, splits or initial weights, so that to count each of them as one of n
independent values would make intervals too narrow. Of the folds of one cross-validation no unbiased estimate of the
variance exists (Y. Bengio and Y. Grandvalet, "No unbiased estimator of the variance of k-fold cross-validation",
Journal of Machine Learning Research 5, 2004).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.matrix.cell import STREAMS
from benchmark.matrix.settings import SEEDS
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.statistics.intervals import mean_of
from benchmark.status import Status

REPEATED = (*SEEDS, "fold")
"""Settings in which the cells of a group may differ."""

_RECORDED = re.compile(rf'"({"|".join((*STREAMS, "fold"))})": ?(\d+)')
"""Those of them that a cell's JSON holds: None is not written as digits."""

_NOT_RECORDED = tuple(f'"{name}": null' for name in (*STREAMS, "fold"))


@dataclass(frozen=True, slots=True)
class Missing:
    """A repetition without a result.

    Attributes:
        seed: Which one.
        what: What became of it: `failed (oom)`, `diverged`, `pending`, `left out`, …
        reason: More about it; may be empty.
        row: Its latest execution; None when it never began.
    """

    seed: int
    what: str
    reason: str
    row: ResultRow | None = None


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """What became of one cell of a group.

    Attributes:
        seeds: Its values of `REPEATED` that are known.
        result: Its row where it has completed, else why there is no result.
    """

    seeds: Mapping[str, int]
    result: ResultRow | Missing


@dataclass(frozen=True, slots=True)
class Repetitions:
    """How the cells of a group are repetitions.

    Attributes:
        of: What a repetition is a value of: `seed` or a stream.
        averaged: What else differs, and is averaged within a repetition: streams, `fold`.
        held: The streams whose seed is the same in all of several repetitions.
        several: The rows of those repetitions that are a mean of several cells, by their number.
        results: The rows of all cells with a result, those of incomplete repetitions too.
    """

    of: str = "seed"
    averaged: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    several: Mapping[int, tuple[ResultRow, ...]] = field(default_factory=dict)
    results: tuple[ResultRow, ...] = ()

    @property
    def crossed(self) -> tuple[str, ...]:
        """The streams among `averaged`: what they change is in no difference between repetitions."""
        return tuple(name for name in self.averaged if name != "fold")


def seeds_of(row: Mapping[str, Any]) -> dict[str, int]:
    """The seed of a row's cell, and of its streams and fold those that it has of its own."""
    spec = row.get("spec") or ""
    # parsing the whole cell takes ten times as long, and nearly no cell has any of these
    if isinstance(spec, str) and all(text in spec for text in _NOT_RECORDED):
        return {"seed": row["seed"]}
    recorded = _RECORDED.findall(spec if isinstance(spec, str) else json.dumps(spec))
    return {"seed": row["seed"], **{name: int(number) for name, number in recorded}}


def with_streams(seeds: Mapping[str, int]) -> dict[str, int]:
    """The same with the seed of every stream: that of the cell where a stream has none of its own."""
    return {**dict.fromkeys(STREAMS, seeds["seed"]), **seeds}


def as_repetitions(
    cells: Sequence[CellOutcome],
) -> tuple[Mapping[int, ResultRow], tuple[Missing, ...], Repetitions]:
    """Divides the cells of a group into repetitions.

    Returns:
        A row for each repetition with a result, by its number, of several cells their mean; the repetitions without a
        result; and what they are. A repetition is missing as soon as one of its cells is: a mean over some of the folds
        is not comparable with a mean over all.
    """
    if all(len(cell.seeds) == 1 for cell in cells):
        # nearly always: all streams go with the seed
        known: list[Mapping[str, int]] = [cell.seeds for cell in cells]
        differing: list[str] = []
    else:
        known = [with_streams(cell.seeds) for cell in cells]
        differing = [name for name in REPEATED if len({seeds.get(name) for seeds in known}) > 1]
    of = next((name for name in differing if name != "fold"), "seed")
    parts: dict[int, list[CellOutcome]] = {}
    for cell, seeds in zip(cells, known, strict=True):
        parts.setdefault(seeds[of], []).append(cell)
    averaged = tuple(name for name in differing if name != of and _differs_within(parts.values(), name))
    completed: dict[int, ResultRow] = {}
    several: dict[int, tuple[ResultRow, ...]] = {}
    missing: list[Missing] = []
    for number, part in sorted(parts.items()):
        rows = [cell.result for cell in part if not isinstance(cell.result, Missing)]
        lost = [(cell.seeds, cell.result) for cell in part if isinstance(cell.result, Missing)]
        if averaged and lost:
            missing.append(_incomplete(number, lost, averaged, len(part)))
            continue
        missing += [result for _, result in lost]
        if rows:
            completed[number] = _mean_row(rows)
        if len(rows) > 1:
            several[number] = tuple(rows)
    held = tuple(name for name in STREAMS if name not in differing) if differing and len(parts) > 1 else ()
    results = tuple(cell.result for cell in cells if not isinstance(cell.result, Missing))
    return completed, tuple(missing), Repetitions(of, averaged, held, several, results)


def _differs_within(parts: Iterable[Sequence[CellOutcome]], name: str) -> bool:
    return any(len({with_streams(cell.seeds).get(name) for cell in part}) > 1 for part in parts)


def _incomplete(
    number: int, lost: Sequence[tuple[Mapping[str, int], Missing]], averaged: Sequence[str], cells: int
) -> Missing:
    """Why a repetition of several cells has no result: what became of the first that is lost, failures before others."""
    seeds, first = next((each for each in lost if each[1].what != Status.PENDING), lost[0])
    if len(lost) == cells:
        return replace(first, seed=number)
    which = " ".join(f"{name} {with_streams(seeds)[name]}" for name in averaged if name in with_streams(seeds))
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return replace(first, seed=number, reason=f"{which}{more}: {first.reason}" if first.reason else f"{which}{more}")


def _mean_row(rows: Sequence[ResultRow]) -> ResultRow:
    """A row of several cells: measured numbers as means, timings valid where all are, anything else as in the first."""
    if len(rows) == 1:
        return rows[0]
    merged = {name: _merged([row.get(name) for row in rows]) for name in rows[0] if not name.endswith("_id")}
    return {
        **rows[0],
        **merged,
        "timing_valid": all(row.get("timing_valid") for row in rows),
        "resumed": any(row.get("resumed") for row in rows),
    }


def _merged(values: Sequence[Any]) -> Any:
    if all(isinstance(value, int | float) for value in values) and len(set(values)) > 1:
        return mean_of([float(value) for value in values])
    return None if None in values and any(isinstance(value, float) for value in values) else values[0]
