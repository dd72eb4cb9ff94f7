"""Selects cells by expressions such as `--select model=resnet*,seed=0`, and by the rules of a matrix with the same keys.

An expression is `key=value[,key=value]`, where all terms must match; of several expressions any may match. A value may
be a glob; `a|b` means either. A name that exists means itself before it is read as a glob.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.problems import Problems, close_hint, name_problem, normal_name, path_text, quoted
from benchmark.matrix.settings import SETTINGS, json_value

NAME_KEYS = ("dataset", "model", "strategy")
RECORDED_KEYS = (
    "cell_id", "parent_cell_id", "strategy_label", "weights", "device_kind", "machine", "run", "run_id", "run_name", "status",
    "cause",
)  # fmt: skip
KEYS = (*NAME_KEYS, *SETTINGS, *RECORDED_KEYS)
_BETWEEN_TERMS = re.compile(r",(?=\s*[A-Za-z_]+\s*=)")
_GLOB = re.compile(r"[*?\[]")


def is_glob(value: Any) -> bool:
    return isinstance(value, str) and _GLOB.search(value) is not None


@dataclass(frozen=True)
class Rule:
    """A condition such as `when = { model = "resnet*", seed = [0, 1] }`: every key must have one of its values.

    Attributes:
        terms: Pairs of a key and its accepted values in normal form; texts may be globs.
    """

    terms: tuple[tuple[str, tuple[Any, ...]], ...]

    def matches(self, value_of: Callable[[str], Any]) -> bool:
        return all(_is_wanted(value_of(key), wanted) for key, wanted in self.terms)

    def for_names(self, names: Mapping[str, str]) -> Rule | None:
        """Returns the rest of the condition for a known dataset, model and strategy; None when they do not match."""
        rest = []
        for key, wanted in self.terms:
            if key not in names:
                rest.append((key, wanted))
            elif not _is_wanted(names[key], wanted):
                return None
        return Rule(tuple(rest))


def _is_wanted(actual: Any, wanted: tuple[Any, ...]) -> bool:
    """Whether a value, or that of any stage when stages differ, is accepted."""
    return any(
        value in wanted
        or (isinstance(value, str) and any(is_glob(text) and fnmatch.fnmatchcase(value, text) for text in wanted))
        for value in (actual if isinstance(actual, list) else (actual,))
    )


@dataclass(frozen=True)
class Selection:
    """Expressions of `--select` or `--exclude`, parsed.

    Attributes:
        alternatives: Each is a list of (key, texts) that must all hold; any alternative will do.
    """

    alternatives: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was asked."""
        return bool(self.alternatives)

    @property
    def keys(self) -> frozenset[str]:
        """All keys that are asked for."""
        return frozenset(key for terms in self.alternatives for key, _ in terms)

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether any expression matches the record; without expressions every record matches.

        A key that the record lacks never matches. A setting on which stages differ is a list, and matches when one of
        its entries does.
        """
        return not self.alternatives or any(
            all(key in record and _text_matches(record[key], texts) for key, texts in terms)
            for terms in self.alternatives
        )

    def exact(self, known: Mapping[str, Collection[Any]]) -> Selection:
        """The selection in which a text that is a known name means that name alone, whatever else it could be read as.

        Args:
            known: Names by key, such as `{"model": {"resnet18"}}`; texts of other keys stay as they are.
        """
        return Selection(
            tuple(
                tuple((key, _exact(texts, known.get(key, ()))) for key, texts in terms) for terms in self.alternatives
            )
        )


def _exact(texts: tuple[str, ...], known: Collection[Any]) -> tuple[str, ...]:
    whole = texts[:1] if texts[0] in known else texts
    return tuple(glob.escape(text) if text in known else text for text in whole)


def parse_selection(expressions: Sequence[str]) -> Selection:
    """Parses expressions of `--select`.

    Raises:
        UserError: An expression is not `key=value`, a key is unknown, or a value can never be one of that key.
    """
    return Selection(
        tuple(
            tuple(_parse_term(term, expression) for term in _BETWEEN_TERMS.split(expression))
            for expression in expressions
        )
    )


def _parse_term(term: str, expression: str) -> tuple[str, tuple[str, ...]]:
    key, equals, text = (part.strip() for part in term.partition("="))
    shown = quoted(expression[:200])
    if not equals or not key or not text:
        raise UserError(f"selection {shown}: expected key=value[,key=value], got {quoted(term[:80])}")
    if key not in KEYS:
        hint = "; ".join(filter(None, [close_hint(key, KEYS), f"known keys: {', '.join(KEYS)}"]))
        raise UserError(f"selection {shown}: expected a known key, got {quoted(key[:80])}; {hint}")
    # a name may contain a bar or a star itself: the whole text is tried first
    parts = [part.strip() for part in text.split("|") if part.strip()]
    texts = tuple(dict.fromkeys(normal_name(part) for part in [text, *parts]))
    for part in texts[1:] or texts:
        _check_value(key, part, shown)
    return key, texts


def _check_value(key: str, text: str, shown: str) -> None:
    if name_problem(text):
        raise UserError(f"selection {shown}: {key}: expected {name_problem(text)}")
    if key not in SETTINGS or is_glob(text) or text in {"none", "all"}:
        return
    problems = Problems()
    SETTINGS[key].kind.read(typed(text), (key,), problems)
    for problem in problems.located({}):
        hint = f"; {problem.hint}" if problem.hint else ""
        raise UserError(
            f"selection {shown}: {path_text((key,))}: expected {problem.expected}, got {quoted(text)}{hint}"
        )


def typed(text: str) -> Any:
    """Reads a text from the command line as TOML, or returns it unchanged when it is no TOML value."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def _text_matches(actual: Any, texts: tuple[str, ...]) -> bool:
    values = actual if isinstance(actual, list | tuple) else (actual,)
    return any(_one_matches(value, text) for value in values for text in texts)


def _one_matches(value: Any, text: str) -> bool:
    if value is None:
        return text in {"none", "all", "false", "*"}
    if isinstance(value, bool):
        return fnmatch.fnmatchcase("true" if value else "false", text)
    if isinstance(value, str):
        return value == text or fnmatch.fnmatchcase(value, text)
    if isinstance(value, int | float):
        return _number_matches(value, text)
    return fnmatch.fnmatchcase(json.dumps(json_value(value), sort_keys=True), text)


def _number_matches(value: float, text: str) -> bool:
    if is_glob(text):
        return fnmatch.fnmatchcase(str(value), text)
    if text in {"true", "false"}:  # databases keep truth values as numbers
        return value == (text == "true")
    try:
        return float(text) == value
    except ValueError:
        return False
