"""Forbids network connections: workers never download, and neither do programs run with `--offline`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmark.errors import DataError

_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_depth = 0


def forbid_network() -> None:
    """Makes connections to other hosts raise `DataError` in this process, for good."""
    global _depth  # noqa: PLW0603  an audit hook cannot be removed again, so it reads this counter
    _install()
    _depth += 1


@contextmanager
def forbidden_network() -> Iterator[None]:
    """Makes connections to other hosts raise `DataError` in this process until the block ends."""
    global _depth  # noqa: PLW0603  see above
    forbid_network()
    try:
        yield
    finally:
        _depth -= 1


@functools.cache
def _install() -> None:
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _depth:
        return
    if event == "socket.connect":
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    if isinstance(address, tuple) and address[0] not in _LOCAL_HOSTS:
        raise DataError(
            f"no network here: {address[0]!s:.100} is not asked; downloads are made by `bench prepare` only"
        )
