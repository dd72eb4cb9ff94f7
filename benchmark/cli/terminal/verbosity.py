"""`-q`, `-v` and `--debug`: how much is said on stderr."""

from __future__ import annotations

import logging

import click

from benchmark.cli.terminal import streams

_KEY = "benchmark.verbosity"


class _StderrHandler(logging.Handler):
    """Writes log records where messages go now, which a live display or a test may have changed since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        streams.say(f"{level}: {self.format(record)}", style="yellow" if record.levelno >= logging.WARNING else "dim")


def change(context: click.Context, steps: int) -> None:
    """Say more (positive) or less; options of the group and of the verb add up.

    Side effects: sets the level of the package's logger.
    """
    context.meta[_KEY] = context.meta.get(_KEY, 0) + steps
    logger = logging.getLogger("benchmark")
    if not logger.handlers:
        logger.addHandler(_StderrHandler())
        logger.propagate = False
    logger.setLevel(min(max(logging.WARNING - 10 * context.meta[_KEY], logging.DEBUG), logging.ERROR))


def is_quiet() -> bool:
    """Whether only errors and results are wanted."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_KEY, 0) < 0


def inform(text: str, style: str | None = None) -> None:
    """A message that `-q` silences."""
    if not is_quiet():
        streams.say(text, style)
