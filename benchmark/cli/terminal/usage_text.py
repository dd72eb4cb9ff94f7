"""Mistakes in what was typed, in the words in which a matrix's are told: what was expected, what was found, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import click

from benchmark.text import printable

_SHOWN_CHARACTERS = 80


def usage_text(error: click.ClickException) -> str:
    """The message of an error of usage; click's own, but for an unknown option."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message()
    options = [each for each in error.ctx.command.get_params(error.ctx) if isinstance(each, click.Option)]
    known = [name for option in options for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
    return f"no such option {shown(error.option_name)}; {near_names(error.option_name, known, 'options')}"


def near_names(name: str, known: Sequence[str], what: str) -> str:
    """The nearest known name, or all of them where none is near; `what` they are, in the plural."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known {what}: {', '.join(known)}"


def alternatives(words: Iterable[str]) -> str:
    """Words as `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def shown(text: str) -> str:
    """What was typed, in quotes, cut to a readable length."""
    return repr(printable(text[:_SHOWN_CHARACTERS]))


class NamedChoice(click.Choice[str]):
    """One word of a closed list; another is answered with the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        del ctx
        near = difflib.get_close_matches(str(value), self.choices, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"expected {alternatives(self.choices)}, got {shown(str(value))}{hint}"
