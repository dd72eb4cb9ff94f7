"""`bench doctor`: devices, versions, caches, data and weights of this machine, without starting TensorFlow."""

from __future__ import annotations

from dataclasses import asdict

from benchmark.cli import output, streams
from benchmark.cli.options import database_option, format_option, verb
from benchmark.text import one_line

MARKS = {"good": ("✓", "green"), "note": ("·", "dim"), "missing": ("-", "yellow"), "bad": ("✗", "red")}


@verb("doctor")
@database_option
@format_option()
def command(database: str, output_format: str) -> int:
    """Check devices, threads, versions, caches, data sets, weights and disk space of this machine.

    Ends with 2 when something is wrong that must be cured before `bench run`. What is missing but can be fetched is
    no fault.
    """
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
