"""Where the time of a cell goes, and what takes most of it: the bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import units
from benchmark.reporting.rows.groups import Group

PHASES = ("start", "tracing", "input", "steps", "validation", "checkpoint", "evaluation", "rest")
"""Start: opening data, building, loading weights. Tracing: of training and prediction. Input: waiting for images.
Checkpoint: callbacks and states. Evaluation: the test set. Rest: reading and writing files, the process."""

_NAMES = {
    "start": "start",
    "tracing": "tracing",
    "input": "waiting for images",
    "steps": "training steps",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "evaluation": "test set",
    "rest": "files and process",
}

_SMALLEST = 0.01
"""Shares below this are not worth a word."""


def phases_of(execution: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each phase of an execution, by its epochs; empty while it has none.

    What a traced epoch took beyond the mean of the other epochs of its stage is tracing; in a stage of a single epoch
    tracing cannot be told from the steps, and counts as steps.

    Epochs that another cell trained count as if this one had.

    Args:
        execution: `setup_seconds`, `evaluate_seconds`, `total_seconds` and `shared_seconds` where they are known.
        epochs: Rows of `epoch`.
    """
    if not epochs:
        return {}
    found = dict.fromkeys(PHASES, 0.0)
    for name in ("input", "step", "validation", "checkpoint"):
        found["steps" if name == "step" else name] = sum(row[f"{name}_seconds"] or 0.0 for row in epochs)
    for name, key in (("steps", "step_seconds"), ("validation", "validation_seconds")):
        tracing = _beyond_steady(epochs, key)
        found[name] -= tracing
        found["tracing"] += tracing
    found["start"] = execution.get("setup_seconds") or 0.0
    found["evaluation"] = execution.get("evaluate_seconds") or 0.0
    found["rest"] = max(_total_alone(execution) - sum(found.values()), 0.0)
    return found


def _total_alone(row: Mapping[str, Any]) -> float:
    return (row.get("total_seconds") or 0.0) + (row.get("shared_seconds") or 0.0)


def _beyond_steady(epochs: Sequence[Mapping[str, Any]], key: str) -> float:
    steady: dict[int, list[float]] = {}
    for row in epochs:
        if not row["traced"] and row[key] is not None:
            steady.setdefault(row["stage"], []).append(row[key])
    means = {stage: sum(values) / len(values) for stage, values in steady.items()}
    traced = [row for row in epochs if row["traced"] and row["stage"] in means]
    return sum(max((row[key] or 0.0) - means[row["stage"]], 0.0) for row in traced)


def phases_in_sum(row: Mapping[str, Any]) -> dict[str, float]:
    """About the same from the columns of a result alone: `steps` include `input`, `rest` includes `checkpoint`.

    Empty for a result without timings.
    """
    first, fit, epochs = (row.get(key) for key in ("first_epoch_seconds", "fit_seconds", "epochs"))
    total = row.get("total_seconds") and _total_alone(row)
    if not total or not fit or first is None or not epochs:
        return {}
    steady = (fit - first) / (epochs - 1) if epochs > 1 else first
    tracing = max(first - steady, 0.0)
    rate, images = row.get("images_per_second"), row.get("train_examples")
    steps = min(epochs * images / rate, fit - tracing) if rate and images else fit - tracing
    found = {
        "start": row.get("setup_seconds") or 0.0,
        "tracing": tracing,
        "steps": steps,
        "validation": fit - tracing - steps,
        "evaluation": row.get("evaluate_seconds") or 0.0,
    }
    return {**found, "rest": max(total - sum(found.values()), 0.0)}


def in_words(phases: Mapping[str, float]) -> str:
    """`training steps 61 %, tracing 23 %, start 9 %`: the largest first, the bottleneck."""
    total = sum(phases.values())
    largest = sorted(phases.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{_NAMES[name]} {seconds / total:.0%}".replace("%", " %")
        for name, seconds in largest
        if total > 0 and seconds / total >= _SMALLEST
    )


def bottleneck(phases: Mapping[str, float]) -> str | None:
    """The name of the phase that takes most; None when nothing is known."""
    return _NAMES[max(phases, key=lambda name: phases[name])] if phases else None


def note_on_phases(groups: Sequence[Group]) -> list[str]:
    """One note: where the time of all cells went, and which models have another bottleneck than the whole."""
    of_model: dict[str, dict[str, float]] = {}
    count, shared = 0, 0.0
    for group in groups:
        for row in group.completed.values():
            found = phases_in_sum(row)
            count += bool(found)
            shared += (row.get("shared_seconds") or 0.0) if found else 0.0
            sums = of_model.setdefault(group.model, {})
            for name, seconds in found.items():
                sums[name] = sums.get(name, 0.0) + seconds
    of_model = {model: sums for model, sums in of_model.items() if sums}
    if not of_model:
        return []
    everything = {name: sum(sums.get(name, 0.0) for sums in of_model.values()) for name in PHASES}
    everything = {name: seconds for name, seconds in everything.items() if seconds > 0}
    others: dict[str, list[str]] = {}
    for model, sums in of_model.items():
        if (most := str(bottleneck(sums))) != bottleneck(everything):
            others.setdefault(most, []).append(model)
    more = [f" Most of {' and '.join(models)} is {most}." for most, models in others.items()]
    if shared:
        more.append(f" {shared:.3g} s of that were not spent: another cell had trained these stages.")
    work = f"{sum(everything.values()):.3g} s of work in {units.plural(count, 'cell')}"
    return [f"Where the time went, {work}: {in_words(everything)}.{''.join(more)}"]
