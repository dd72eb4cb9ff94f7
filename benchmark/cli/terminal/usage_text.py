"""Mistakes in what was typed, in the words in which a matrix's are told: what was expected, what was found, the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

from benchmark.text import printable

_SHOWN_CHARACTERS = 80


def usage_text(error: click.ClickException) -> str:
    """The message of an error of usage: `--jobs: expected a whole number of at least 1, got 'x'`."""
    match error:
        case click.NoSuchOption() if error.ctx is not None:
            options = [each for each in error.ctx.command.get_params(error.ctx) if isinstance(each, click.Option)]
            known = [name for each in options for name in (*each.opts, *each.secondary_opts) if name.startswith("--")]
            return f"no such option {shown(error.option_name)}; {near_names(error.option_name, known, 'options')}"
        case click.MissingParameter() if error.param is not None:
            return f"{_name(error)}: expected a value, got none"
        case click.BadParameter():
            return f"{_name(error)}: {_expectation(error)}"
        case click.BadOptionUsage() if error.message.endswith("requires an argument."):
            return f"{error.option_name}: expected a value, got none"
        case click.UsageError() if extra := re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message):
            return f"expected no more arguments, got {shown(extra[1])}"
    return error.format_message()


def _name(error: click.BadParameter) -> str:
    """What the mistake is about, as it is typed, and the variable that may stand for it."""
    if error.param_hint is not None:
        return error.param_hint if isinstance(error.param_hint, str) else " or ".join(error.param_hint)
    if error.param is None:
        return "command line"
    if isinstance(error.param, click.Option):
        return " or ".join([max(error.param.opts, key=len), *([str(error.param.envvar)] if error.param.envvar else [])])
    return error.param.human_readable_name


def _expectation(error: click.BadParameter) -> str:
    """What was expected and what was found; click's own words where they are not known."""
    message = error.message
    if found := re.fullmatch(r"'(.*)' is not a valid \w+( range)?\.|(\S+) is not in the range .*", message, re.DOTALL):
        return f"expected {_number(None if error.param is None else error.param.type)}, got {shown(found[1] or found[3] or '')}"
    if found := re.fullmatch(r"(File|Directory|Path) '(.*)' does not exist\.", message, re.DOTALL):
        kind = {"File": "a file", "Directory": "a folder"}.get(found[1], "a path")
        return f"expected {kind} that exists, got {shown(found[2])}"
    return message.removesuffix(".")


def _number(kind: click.ParamType[Any] | None) -> str:
    """`a whole number from 1 to 64`."""
    text = "a whole number" if isinstance(kind, click.types.IntParamType) else "a number"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    above = "above" if getattr(kind, "min_open", False) else "of at least"
    below = "below" if getattr(kind, "max_open", False) else "of at most"
    if low is not None and high is not None and (above, below) == ("of at least", "of at most"):
        return f"{text} from {low} to {high}"
    limits = [f"{word} {limit}" for word, limit in ((above, low), (below, high)) if limit is not None]
    return " ".join([text, " and ".join(limits)]).strip()


def near_names(name: str, known: Sequence[str], what: str) -> str:
    """The nearest known name, or all of them where none is near; `what` they are, in the plural."""
    # the dashes that all options begin with make none of them near
    words = {each.lstrip("-"): each for each in known}
    near = difflib.get_close_matches(name.lstrip("-"), words, n=1, cutoff=0.5)
    return f"did you mean {words[near[0]]!r}?" if near else f"known {what}: {', '.join(known)}"


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
