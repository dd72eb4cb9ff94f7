"""Text that both databases can keep, whatever a worker printed or a file was called."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.text import storable


class CleanText(sa.TypeDecorator[str]):
    """`TEXT` whose values pass through `storable` on their way in."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        return value if value is None else storable(value)
