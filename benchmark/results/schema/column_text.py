"""Text that both databases can keep, whatever a worker printed or a file was called."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates, which no database keeps, replaced by U+FFFD and `?`."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class CleanText(sa.TypeDecorator[str]):
    """`TEXT` whose values pass through `clean_text` on their way in."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        return value if value is None else clean_text(value)
