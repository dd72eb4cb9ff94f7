"""Divides the time of a cell into phases, and names the longest: the bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import units
from benchmark.catalog.facts import SCRIPT
from benchmark.reporting.rows.groups import Group

PHASES = {
    "start": "start",  # opening data, building the network, loading weights; of a command what it does before it trains
    "tracing": "tracing",  # compiling training and prediction functions
    "input": "waiting for images",
    "steps": "training steps",
    "validation": "validation",
    "checkpoint": "checkpoints",  # callbacks and saved states
    "evaluation": "test set",
    "rest": "files and process",  # reading and writing files, starting and ending the process
}
"""The phases, and how they are called."""

_SMALLEST_SHARE = 0.01
"""Phases with a smaller share are not named."""


def phases_of(execution: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each phase of an execution, from its epochs; empty while it has none.

    Tracing, or the start of a command, is what a traced epoch took beyond the mean of the other epochs of its stage; in a stage of a single epoch
    it cannot be separated from the steps and counts as steps. Epochs of shared stages, which another cell trained, count
    as if this cell had trained them.

    Args:
        execution: `setup_seconds`, `evaluate_seconds`, `total_seconds` and `shared_seconds` where they are known.
        epochs: Rows of the table `epoch`.
    """
    if not epochs:
        return {}
    phases = dict.fromkeys(PHASES, 0.0)
    for name, column in (
        ("input", "input"),
        ("steps", "step"),
        ("validation", "validation"),
        ("checkpoint", "checkpoint"),
    ):
        phases[name] = sum(row[f"{column}_seconds"] or 0.0 for row in epochs)
    first = _first_phase(execution)
    for name, key in (("steps", "step_seconds"), ("validation", "validation_seconds")):
        beyond = _beyond_steady(epochs, key)
        phases[name] -= beyond
        phases[first] += beyond
    phases["start"] += execution.get("setup_seconds") or 0.0
    phases["evaluation"] = execution.get("evaluate_seconds") or 0.0
    phases["rest"] = max(_unshared_total(execution) - sum(phases.values()), 0.0)
    return phases


def _first_phase(row: Mapping[str, Any]) -> str:
    """What makes first epochs long: tracing, or all that a command does before it trains, which counts as its first epoch."""
    return "start" if row.get("framework") == SCRIPT else "tracing"


def _unshared_total(row: Mapping[str, Any]) -> float:
    """The seconds that the cell would have taken without shared stages."""
    return (row.get("total_seconds") or 0.0) + (row.get("shared_seconds") or 0.0)


def _beyond_steady(epochs: Sequence[Mapping[str, Any]], key: str) -> float:
    steady: dict[int, list[float]] = {}
    for row in epochs:
        if not row["traced"] and row[key] is not None:
            steady.setdefault(row["stage"], []).append(row[key])
    means = {stage: sum(values) / len(values) for stage, values in steady.items()}
    traced = [row for row in epochs if row["traced"] and row["stage"] in means]
    return sum(max((row[key] or 0.0) - means[row["stage"]], 0.0) for row in traced)


def estimated_phases(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each phase, estimated from the columns of a result alone; empty for a result without timings.

    `steps` includes `input`, and `rest` includes `checkpoint`.
    """
    first, fit, epochs = (row.get(key) for key in ("first_epoch_seconds", "fit_seconds", "epochs"))
    total = row.get("total_seconds") and _unshared_total(row)
    if not total or not fit or first is None or not epochs:
        return {}
    steady = (fit - first) / (epochs - 1) if epochs > 1 else first
    beyond = max(first - steady, 0.0)
    rate, images = row.get("images_per_second"), row.get("train_examples")
    steps = min(epochs * images / rate, fit - beyond) if rate and images else fit - beyond
    phases = {
        "start": row.get("setup_seconds") or 0.0,
        "tracing": 0.0,
        "steps": steps,
        "validation": fit - beyond - steps,
        "evaluation": row.get("evaluate_seconds") or 0.0,
    }
    phases[_first_phase(row)] += beyond
    return {**phases, "rest": max(total - sum(phases.values()), 0.0)}


def in_words(phases: Mapping[str, float]) -> str:
    """The shares of phases in words, the largest first: `training steps 61 %, tracing 23 %, start 9 %`."""
    total = sum(phases.values())
    largest = sorted(phases.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{PHASES[name]} {seconds / total:.0%}".replace("%", " %")
        for name, seconds in largest
        if total > 0 and seconds / total >= _SMALLEST_SHARE
    )


def bottleneck(phases: Mapping[str, float]) -> str | None:
    """The name of the longest phase; None without phases."""
    return PHASES[max(phases, key=lambda name: phases[name])] if phases else None


def note_on_phases(groups: Sequence[Group]) -> list[str]:
    """A note on the phases of all cells together, and on models with another bottleneck; none without timings."""
    of_model: dict[str, dict[str, float]] = {}
    count, shared = 0, 0.0
    for model, row in ((group.model, row) for group in groups for row in group.cells):
        phases = estimated_phases(row)
        if phases:
            count += 1
            shared += row.get("shared_seconds") or 0.0
            sums = of_model.setdefault(model, {})
            for name, seconds in phases.items():
                sums[name] = sums.get(name, 0.0) + seconds
    if not of_model:
        return []
    totals = {name: sum(sums.get(name, 0.0) for sums in of_model.values()) for name in PHASES}
    everything = {name: seconds for name, seconds in totals.items() if seconds > 0}
    others: dict[str, list[str]] = {}
    for model, sums in of_model.items():
        if (most := str(bottleneck(sums))) != bottleneck(everything):
            others.setdefault(most, []).append(model)
    more = [f" Most of {' and '.join(models)} is {most}." for most, models in others.items()]
    if shared:
        more.append(f" {shared:.3g} s of that were saved: another cell had trained these stages.")
    work = f"{sum(everything.values()):.3g} s of work in {units.plural(count, 'cell')}"
    return [f"Where the time went, {work}: {in_words(everything)}.{''.join(more)}"]
