"""What a report is written for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What a text is written for.

    Attributes:
        width: Columns of the terminal.
        color: Whether the terminal shows colours.
        encoding: What the reader's stream can show; characters outside it are replaced.
    """

    width: int = 100
    color: bool = False
    encoding: str = "utf-8"
