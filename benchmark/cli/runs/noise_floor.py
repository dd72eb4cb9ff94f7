"""`bench doctor --noise`: runs one small cell several times with one seed; what comes of it is kept for reports to quote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from benchmark import __version__, layout, units
from benchmark.catalog.cache import default_cache_root
from benchmark.cli.terminal import verbosity
from benchmark.errors import UserError
from benchmark.files import read_record, write_whole
from benchmark.reporting.table import Advised

if TYPE_CHECKING:
    from benchmark.cli.runs.scratch_runs import Executed
    from benchmark.scheduling.run_options import RunOptions

MATRIX = """
[matrix]
dataset  = "digits"
model    = "simple_cnn"
strategy = "scratch"
seed     = 0

[defaults]
epochs = 12
"""
"""The small cell; its first epoch holds the tracing, the others are what is timed."""


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How equal several runs of the same cell are on a machine.

    Attributes:
        runs: How often it ran.
        deterministic: Whether every number was the same to the bit.
        accuracies: The distinct test accuracies.
        seconds: Of each run: the median of its undisturbed epochs without tracing.
        seconds_sd_percent: Sample standard deviation of these, in percent of their mean.
        disturbed_runs: How many of them other load touched.
        cell: What ran, in words.
    """

    machine: str
    measured_utc: str
    package_version: str
    runs: int
    deterministic: bool
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    seconds_sd_percent: float | None
    disturbed_runs: int
    cell: str

    def in_words(self, source: str = "bench doctor --noise, ") -> str:
        """One sentence for reports, with its source before the date."""
        same = "gave the same bits" if self.deterministic else "did NOT give the same numbers"
        scatter = "unknown" if self.seconds_sd_percent is None else f"{self.seconds_sd_percent:.1f} %"
        touched = f", {self.disturbed_runs} of them disturbed" if self.disturbed_runs else ""
        return (
            f"{self.runs} runs of one cell with one seed {same}; their seconds scatter by {scatter} (standard deviation"
            f"{touched}; {source}{self.measured_utc[:10]})"
        )


def measure_noise(options: RunOptions, runs: int, overrides: Sequence[str]) -> NoiseFloor | int:
    """Runs the small cell and keeps what comes of it in the cache.

    Args:
        options: How cells are run.
        runs: How often.
        overrides: `key=value` of `--set`.

    Returns:
        What was found; the exit code of the signal when somebody interrupted it.
    """
    from benchmark.cli.options import machine_kind
    from benchmark.cli.runs.scratch_runs import scratch_runs
    from benchmark.matrix.load import load_matrix
    from benchmark.results.write.recorder import utc_now

    plan = load_matrix("bench doctor --noise", MATRIX, overrides=overrides, machine_kind=machine_kind())
    cell = plan.cells[-1]
    names = f"{cell.dataset}, {cell.model}, {cell.backend} on {cell.device_kind}, {units.plural(cell.epochs, 'epoch')}"
    verbosity.inform(f"running one cell {runs} times with seed {cell.seed}: {names}")
    executed: list[Executed] = []
    with scratch_runs(options) as scratch:
        for _ in range(runs):
            done = scratch.run(plan, cell)
            if isinstance(done, int):
                return done
            executed.append(done)
    seconds = tuple(map(_seconds, executed))
    floor = NoiseFloor(
        machine=options.machine,
        measured_utc=utc_now(),
        package_version=__version__,
        runs=runs,
        deterministic=len({each.row["digest"] for each in executed}) == 1,
        accuracies=tuple(sorted({each.row["test_accuracy"] for each in executed})),
        seconds=seconds,
        seconds_sd_percent=100 * stdev(seconds) / fmean(seconds) if runs > 1 and fmean(seconds) else None,
        disturbed_runs=sum(bool(each.attempts[-1]["disturbed"]) for each in executed),
        cell=names,
    )
    _keep(floor, layout.noise_file(options.cache_root))
    return floor


def _seconds(executed: Executed) -> float:
    steady = executed.row["steady_seconds_per_epoch"]
    return float(executed.row["fit_seconds"] / max(executed.row["epochs"] or 1, 1) if steady is None else steady)


def _keep(floor: NoiseFloor, file: Path) -> None:
    known = {**(read_record(file) or {}), floor.machine: asdict(floor)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(known, indent=1).encode())
    except OSError as error:
        verbosity.inform(f"note: the noise floor cannot be kept, and reports do not quote it: {error}", "yellow")


def known_noise(machine: str | None) -> NoiseFloor | None:
    """What was measured last on a machine of this name; None where nothing was, or it cannot be read."""
    try:
        return NoiseFloor(**(read_record(layout.noise_file(default_cache_root())) or {})[str(machine)])
    except (UserError, KeyError, TypeError):
        return None


def note_on_noise(machine: str | None) -> tuple[str, ...]:
    """The sentence with which a report on a machine quotes its noise floor; none where it was not measured."""
    floor = known_noise(machine)
    if floor is None:
        return ()
    note = f"Noise floor of machine {floor.machine}: "
    return (Advised(f"{note}{floor.in_words('measured ')}.", f"{note}{floor.in_words()}."),)
