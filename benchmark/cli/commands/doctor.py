"""`bench doctor`: devices, versions, caches, data and weights of this machine, without starting TensorFlow."""

from __future__ import annotations

from dataclasses import asdict

import click

from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output, streams
from benchmark.text import one_line

_NOISE_STYLES = {True: "bold green", False: "bold yellow"}
MARKS = {"good": ("✓", "green"), "note": ("·", "dim"), "missing": ("-", "yellow"), "bad": ("✗", "red")}


@verb("doctor")
@database_option
@machine_option("the host name")
@click.option(
    "--noise", is_flag=True, help="Run one small cell several times with one seed; reports quote what it shows."
)
@click.option(
    "--runs", type=click.IntRange(2, 100), default=5, show_default=True, metavar="N", help="How often, with --noise."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of that cell, such as device=gpu; repeatable.",
)
@format_option()
def command(
    database: str, machine: str | None, noise: bool, runs: int, overrides: tuple[str, ...], output_format: str
) -> int:
    """Check devices, threads, versions, caches, data sets, weights and disk space of this machine.

    Ends with 2 when something is wrong that must be cured before `bench run`. What is missing but can be fetched is
    no fault.

    With --noise one small cell runs several times with one seed instead: whether this machine comes to the same bits, and
    how far its seconds scatter. That is kept in the cache, and reports on this machine quote it.
    """
    if noise:
        return _measure(database, machine, runs, overrides, output_format)
    from rich.text import Text

    from benchmark.cli.doctor_checks import examine

    findings = examine(database)
    if output_format != "table":
        output.write_rows([asdict(finding) for finding in findings], [], output_format)
    else:
        console = streams.out()
        area = ""
        for finding in findings:
            if finding.area != area:
                area = finding.area
                console.print(Text(area, style="bold"))
            mark, style = MARKS[finding.verdict]
            line = Text(f"  {mark} ", style=style)
            line.append(f"{finding.name:<24} {one_line(finding.value)}", style="default")
            if finding.cure:
                line.append(f"\n      {one_line(finding.cure)}", style=style)
            console.print(line, soft_wrap=True)
    return 2 if any(finding.verdict == "bad" for finding in findings) else 0


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
