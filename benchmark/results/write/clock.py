"""How moments are written: wall time is a label for people; durations come from monotonic clocks."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """The moment in ISO 8601 with milliseconds, such as `2026-03-04T05:06:07.089Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
