"""The section `[report]` of a matrix: comparisons, ensembles, and published figures to show beside the measured ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

Figure: TypeAlias = float | str | None
"""A number in the unit of its metric (accuracies are fractions 0..1), a text such as `12 (early stop)`, or nothing."""


def margin_of(text: str) -> float | None:
    """A margin in the unit of a metric: `0.005`, or in points `0.5pp`; None where it is no positive number."""
    number, is_points = text.strip().removesuffix("pp"), text.strip().endswith("pp")
    try:
        value = float(number) / (100 if is_points else 1)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """One metric of a published table: how it is called there, and whether it is shown in percent."""

    metric: str
    title: str
    percent: bool = False


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """The figures of one model, and the names of the cells that correspond to it.

    Attributes:
        label: Its name in the table, a text for each of the headings.
        figures: One for each column.
    """

    label: tuple[str, ...]
    dataset: str
    model: str
    strategy: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table as it was published.

    Attributes:
        title, source: The heading, and where the figures were published.
        headings: Titles of the columns that identify rows.
        columns, rows: The metrics, and the models.
        metrics_as_rows: Whether the table is printed transposed, with a row for each metric.
    """

    title: str
    source: str
    headings: tuple[str, ...]
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    metrics_as_rows: bool = False


@dataclass(frozen=True, slots=True)
class TransferSpec:
    """A comparison to print: the strategy that starts from other weights against the one from scratch."""

    fine_tuned: str
    scratch: str
    dataset: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class EnsembleSpec:
    """A row to add to the summary: the averaged predictions of cells of one dataset.

    Attributes:
        cells: Selections, as for `--select`; the ensemble is made of what any of them matches.
        label: The row's name; empty for a name made from its members.
    """

    cells: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class MetricFile:
    """A file with metrics of the user's own.

    Attributes:
        file: Its absolute path.
        sha256: Of its content.
        names: The names that it defines; None where its syntax does not show them.
    """

    file: str
    sha256: str
    names: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """Which comparisons the matrix asks for.

    Attributes:
        transfer: Fine-tuned against scratch.
        progression: Each a list of strategies, to be compared each with the one before.
        ensemble: Cells whose predictions are averaged.
        published: Tables of others, to be shown beside what is measured here.
        baseline: The strategy with which the summary compares all others.
        margin: What counts as equivalent, in the unit of the metric.
        metrics: The columns of results that get verdicts; empty for test accuracy alone.
        metric_files: Those of `[plugins] metrics`.
    """

    transfer: tuple[TransferSpec, ...] = ()
    progression: tuple[tuple[str, ...], ...] = ()
    ensemble: tuple[EnsembleSpec, ...] = ()
    published: tuple[PublishedTable, ...] = ()
    baseline: str | None = None
    margin: float | None = None
    metrics: tuple[str, ...] = ()
    metric_files: tuple[MetricFile, ...] = ()
