"""Words the notes of a plan: remarks on what may surprise the user, although it is no mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from benchmark import units
from benchmark.matrix.speed_key import ASSUMED_THREADS

Names: TypeAlias = tuple[str, str, str]
"""Dataset, model and strategy."""

_SHOWN = 20
_TIMES = " \N{MULTIPLICATION SIGN} "


def combination(dataset: str, model: str, strategy: str) -> str:
    """Joins the three names of a combination."""
    return _TIMES.join((dataset, model, strategy))


def merged(counts: Mapping[tuple[Names, Names], int]) -> Sequence[str]:
    """Notes on duplicate cells, under the same names or others; keys are the names kept and the names dropped."""
    notes = []
    for (kept, dropped), count in counts.items():
        result = f"merged into {combination(*kept)}, which is the same under another name"
        if kept == dropped:
            result = "merged: they differ in nothing that affects the numbers"
        notes.append(f"{units.plural(count, 'cell')} of {combination(*dropped)} {result}")
    return _shortened(notes)


def on_parents(counts: Mapping[Names, int], reason: str) -> Sequence[str]:
    """Notes on cells that are in the plan as parents."""
    return _shortened(
        [f"{units.plural(count, 'cell')} of {combination(*names)} {reason}" for names, count in counts.items()]
    )


def replaced(strategies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Notes on axes that take the place of what strategies set themselves; `strategies` are these, by the axis's key."""
    for key, names in strategies.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"the axis {key} takes the place of what these strategies set: {', '.join(names[:_SHOWN])}{more}"


def idle(table: str, hits: Sequence[int]) -> Iterator[str]:
    """Notes on rules of `[[matrix.TABLE]]` that match nothing; `hits` has the number of matches of each rule."""
    return (f"matrix.{table}[{number}] matches no cell" for number, count in enumerate(hits) if not count)


def crowded(threads: int, cores: int) -> Iterator[str]:
    """A note on cells that ask for more threads than the machine has cores."""
    if threads > cores:
        yield f"threads = {threads} is more than this machine's {cores} cores: such cells run slower than they could"


def threads(auto: Mapping[str, Mapping[str, int]], decided: Mapping[str, int]) -> Iterator[str]:
    """Notes on the number of threads for `threads = "auto"`.

    Args:
        auto: Number of cells of each model, by speed key.
        decided: The measured number of threads, by speed key.
    """
    models_by_threads: dict[int, list[Mapping[str, int]]] = {}
    for speed_key, models in auto.items():
        if speed_key in decided:
            models_by_threads.setdefault(decided[speed_key], []).append(models)
    if models_by_threads:
        choices = ", ".join(f"{count} for {_of_models(*models)}" for count, models in sorted(models_by_threads.items()))
        yield f'threads = "auto" is, as measured on this machine, {choices}'
    unmeasured = [models for speed_key, models in auto.items() if speed_key not in decided]
    if unmeasured:
        yield (
            f'threads = "auto" has not been measured on this machine for {_of_models(*unmeasured)}: {ASSUMED_THREADS} is assumed '
            "until `bench run` or `bench plan --probe` measures it, which may give these cells other ids"
        )


def _of_models(*counts: Mapping[str, int]) -> str:
    """`12 cells of simple_cnn and resnet18`."""
    names = list(dict.fromkeys(name for models in counts for name in models))
    shown = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{units.plural(sum(sum(models.values()) for models in counts), 'cell')} of {shown}"


def _shortened(notes: Sequence[str]) -> Sequence[str]:
    more = len(notes) - _SHOWN
    return notes if more <= 0 else [*notes[:_SHOWN], f"… and {more} more like this"]
