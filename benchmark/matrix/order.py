"""The words of `order` in `[matrix]`; `scheduling/decisions/turns.py` says what each means."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Order: TypeAlias = Literal["longest", "interleaved", "random"]

ORDERS: tuple[Order, ...] = get_args(Order)
