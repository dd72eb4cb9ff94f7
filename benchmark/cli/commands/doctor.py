"""`bench doctor`: devices, versions, caches, data and weights of this machine, without starting TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark import layout, units
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output

if TYPE_CHECKING:
    from benchmark.cli.doctor_checks import Finding

_NOISE_STYLES = {True: "bold green", False: "bold yellow"}
COLUMNS = (
    output.Column("name", "", style=lambda row: str(row["style"])),
    output.Column("value", ""),
)
MARKS = {"good": ("✓", "green"), "note": ("·", "dim"), "missing": ("-", "yellow"), "bad": ("✗", "red")}


@verb("doctor")
@database_option
@machine_option("the host name")
@click.option(
    "--noise", is_flag=True, help="Run one small cell several times with the same seed; reports quote the outcome."
)
@click.option(
    "--runs",
    type=click.IntRange(2, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="With --noise: how many times.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --noise: a setting of the cell, such as device=gpu; repeatable.",
)
@format_option()
def command(
    database: str, machine: str | None, noise: bool, runs: int, overrides: tuple[str, ...], output_format: str
) -> int:
    """Check whether this machine is ready: devices, threads, versions, caches, datasets, weights and disk space.

    The first lines say whether it is ready, what is missing and what to do; everything that was checked follows.

    The exit code is 2 if something must be fixed before `bench run`. What is missing but can be downloaded is no
    problem.

    With --noise, one small cell runs several times with the same seed instead, which shows whether this machine gives
    the same result to the bit and how much its timings vary. The outcome is kept in the cache, and reports on this
    machine quote it.
    """
    if noise:
        return _measure(database, machine, runs, overrides, output_format)
    from benchmark.cli.doctor_checks import examine

    findings = examine(database)
    if output_format != "table":
        output.write_rows([asdict(finding) for finding in findings], [], output_format)
    else:
        ready = not any(finding.verdict == "bad" for finding in findings)
        for number, text in enumerate(_summary(findings, Path(layout.MATRIX).exists())):
            output.write_line(text, ("bold green" if ready else "bold red") if number == 0 else None)
        output.write_table([row for finding in findings for row in _rows(finding)], COLUMNS, under="area")
    return 2 if any(finding.verdict == "bad" for finding in findings) else 0


def _rows(finding: Finding) -> list[dict[str, str]]:
    """A finding as a row of the list, and below it the cure, where there is one."""
    mark, style = MARKS[finding.verdict]
    row = {"area": finding.area, "name": f"{mark} {finding.name}", "value": finding.value, "style": style}
    return [row, *([{**row, "name": "", "value": finding.cure}] if finding.cure else [])]


def _summary(findings: Sequence[Finding], has_matrix: bool) -> list[str]:
    """Whether this machine is ready, what must be cured, what is missing, and what to do next; then an empty line."""
    bad = [finding for finding in findings if finding.verdict == "bad"]
    missing = [finding.name for finding in findings if finding.verdict == "missing"]
    lines = ["Ready." if not bad else f"Not ready: {units.plural(len(bad), 'problem')} to fix before `bench run`."]
    lines += [f"  {finding.name}: {finding.value}; {finding.cure}" for finding in bad]
    if missing:
        lines += [f"Not downloaded yet: {', '.join(missing)}.", "  `bench prepare` downloads what a matrix needs."]
    if not bad:
        lines += [
            "Next: `bench plan` shows what a run would do." if has_matrix else "Next: `bench init` writes a matrix."
        ]
    return [*lines, ""]


def _measure(database: str, machine: str | None, runs: int, overrides: tuple[str, ...], output_format: str) -> int:
    from benchmark.cli.runs.noise_floor import measure_noise
    from benchmark.cli.runs.start_run import run_options

    floor = measure_noise(run_options(database, machine), runs, overrides)
    if isinstance(floor, int):
        return floor
    if output_format == "json":
        output.write_json(asdict(floor))
    elif output_format == "csv":
        record = asdict(floor)
        output.write_rows([record], tuple(map(output.Column, record)), "csv")
    else:
        output.write_line(
            "deterministic" if floor.deterministic else "not deterministic", _NOISE_STYLES[floor.deterministic]
        )
        output.write_line(f"{floor.in_words()}.")
    return 0
