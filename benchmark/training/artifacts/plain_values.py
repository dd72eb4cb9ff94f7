"""Plain Python values as JSON and arrays, so that what a user's object holds can be kept in a state; nothing is pickled.

Numbers, texts, lists, tuples, sets, dictionaries and arrays, in each other; and functions that a module names.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEQUENCES: Mapping[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_MAKERS: Mapping[str, Callable[[list[Any]], Any]] = {name: kind for kind, name in _SEQUENCES.items()}


class NotPlainError(TypeError):
    """A value is of a kind that cannot be kept."""


def pack(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A value as strict JSON; its arrays are appended to `arrays`.

    Raises:
        NotPlainError: Something in it is not plain.
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU":
        arrays.append(np.array(value))
        return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
    if (name := _SEQUENCES.get(type(value))) is not None:
        # equal sets are written alike, whatever the order in which they were filled
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        most = {"most": value.maxlen} if isinstance(value, deque) else {}
        return {name: [pack(item, arrays) for item in items], **most}
    if type(value) is dict:
        return {"dict": [[pack(key, arrays), pack(item, arrays)] for key, item in value.items()]}
    if callable(value) and (reference := _reference(value)):
        return {"named": reference}
    raise NotPlainError(type(value).__name__)


def unpack(packed: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    """The value that `pack` has packed."""
    if not isinstance(packed, dict):
        return packed
    name, content = next(iter(packed.items()))
    if name == "float":
        return float(content)
    if name in {"scalar", "array"}:
        return arrays[content][()] if name == "scalar" else np.array(arrays[content])
    if name == "dict":
        return {unpack(key, arrays): unpack(item, arrays) for key, item in content}
    if name == "named":
        return attrgetter(content[1])(sys.modules[content[0]])
    items = [unpack(item, arrays) for item in content]
    return deque(items, packed["most"]) if name == "deque" else _MAKERS[name](items)


def _reference(function: Any) -> list[str] | None:
    """Module and name of a function by which the same one is found again; None of what has none, such as a lambda."""
    module, name = str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", ""))
    try:
        return [module, name] if attrgetter(name)(sys.modules[module]) is function else None
    except (AttributeError, KeyError, TypeError):
        return None
