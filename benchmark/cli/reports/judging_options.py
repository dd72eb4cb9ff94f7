"""The options of comparisons: what is judged, from when on two results are equivalent, and how strictly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from benchmark.cli.completions import complete_metric
from benchmark.cli.terminal import streams
from benchmark.matrix.report_spec import margin_of
from benchmark.text import one_line

Function = TypeVar("Function", bound=Callable[..., Any])

NOT_PASSED = 3
"""The exit code of `--strict` and `--fail-if`: nothing is wrong with the usage, but a script must notice."""


def _margin(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:  # noqa: ARG001
    if text is None:
        return None
    margin = margin_of(text)
    if margin is None:
        raise click.BadParameter(
            f"expected a number above 0 in the unit of the metric, or points such as 0.5pp, got {text!r}"
        )
    return margin


def margin_option(function: Function) -> Function:
    """Adds `--margin`."""
    return click.option(
        "--margin",
        callback=_margin,
        metavar="M",
        help="Differences certainly within ±M count as equivalent; in the unit of the metric, or in points: 0.5pp.",
    )(function)


def resolve_options(function: Function) -> Function:
    """Adds `--resolve`, `--margin` and `--max-seeds`."""
    function = click.option(
        "--max-seeds",
        type=click.IntRange(3, 200),
        default=20,
        show_default=True,
        metavar="N",
        help="With --resolve: at most this many pairs of seeds.",
    )(margin_option(function))
    return click.option(
        "--resolve",
        multiple=True,
        metavar="A,B",
        help="Add pairs of seeds of two strategies until the comparison is decided; give it twice for two selections.",
    )(function)


def judging_options(function: Function) -> Function:
    """Adds `--metric`, `--margin` and `--strict`."""
    for option in (
        click.option("--strict", is_flag=True, help="Exit with 3 if compared rows were not made alike, and name them."),
        margin_option,
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            metavar="COLUMN",
            shell_complete=complete_metric,
            help="Column of the results to judge; repeatable.  [default: test_accuracy]",
        ),
    ):
        function = option(function)
    return function


def allow_metrics_option(function: Function) -> Function:
    """Adds `--allow-plugins`."""
    return click.option(
        "--allow-plugins",
        is_flag=True,
        help="Run the files in [plugins] metrics even if you have not trusted them permanently.",
    )(function)


def strict_code(suspects: Sequence[str]) -> int:
    """The exit code of `--strict`; names on stderr what was not made alike."""
    for text in suspects:
        streams.say(one_line(f"not made alike: {text}"))
    return NOT_PASSED if suspects else 0
