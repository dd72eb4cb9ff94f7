"""What a report shows, and what it is made from: the one argument of everything that builds a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.comparing.differences import Comparisons
from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import TEST_ACCURACY, VAL_ACCURACY, Metric
from benchmark.reporting.rows.training_budget import LoadEpochs, TrainingBudget
from benchmark.reporting.table import Table

Part: TypeAlias = tuple[list[Table], list[str]]
"""Tables of a report, and notes for its end."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is to show.

    Attributes:
        machine: Whose results; None takes those of the last run.
        last_machine: The machine of the last run, whose cells `run_cells` are; None when it is unknown.
        tables: Which of `tables.registry.TABLES`; all but those on request when empty.
        only_run: Leave out cells that are not among `run_cells`.
        ensembles: Add the average of its seeds to the summary, for each group.
        metrics: Columns of results that get verdicts, the first of them in single columns; empty takes `[report]`'s.
        margin: What counts as equivalent, in the unit of the metric; None takes `[report]`'s.
        baseline: The strategy that the summary compares all others with; None takes `[report]`'s.
        budget: Show what each cell had come to within it; None shows all that it came to.
        target: The validation accuracy, 0..1, of the table `time`; None takes one that all groups reach on average.
        own_metrics: Those of the user's own that the rows have.
    """

    machine: str | None = None
    last_machine: str | None = None
    tables: tuple[str, ...] = ()
    only_run: bool = False
    ensembles: bool = False
    metrics: tuple[str, ...] = ()
    margin: float | None = None
    baseline: str | None = None
    budget: TrainingBudget | None = None
    target: float | None = None
    own_metrics: tuple[Metric, ...] = ()

    @property
    def main_metric(self) -> Metric:
        """What is judged where nobody named a metric: test data are looked at when a cell ends, and not before."""
        return TEST_ACCURACY if self.budget is None else VAL_ACCURACY


@dataclass(frozen=True, slots=True)
class Shown:
    """What the tables of a report are made from.

    Attributes:
        groups: Those that are shown.
        executions: The latest execution of every cell on the machine, by cell: parents too that are not shown.
        spec: `[report]` of the matrix.
        options: What was asked for.
        load: Reads stored predictions.
        comparisons: All differences of the report, judged together.
        varying: The settings that vary between groups of the same names (`groups.varying_settings`).
        recorded: All executions that were given, of all machines and older ones too.
        epochs: Reads recorded epochs.
        commits: The first lines of the commits after the first of two and up to the second; none where git does not know.
        tested: The stored predictions of one execution of each dataset whose images bench does not know beforehand.
    """

    groups: Sequence[Group]
    executions: dict[str, ResultRow] = field(default_factory=dict)
    spec: ReportSpec = field(default_factory=ReportSpec)
    options: ReportOptions = field(default_factory=ReportOptions)
    load: LoadPredictions = lambda _: {}
    comparisons: Comparisons = field(default_factory=Comparisons)
    varying: Sequence[str] = ()
    recorded: Sequence[ResultRow] = ()
    epochs: LoadEpochs = lambda _: {}
    commits: Callable[[str, str], Sequence[str]] = lambda *_: ()
    tested: Mapping[str, Predictions] = field(default_factory=dict)

    @property
    def baseline(self) -> str | None:
        return self.options.baseline or self.spec.baseline
