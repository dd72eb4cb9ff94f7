"""How many channels images have, in one word: `grey` for 1, `rgb` for 3, and `4-channel` and the like for any other number."""

from __future__ import annotations

MOST_CHANNELS = 1024
_WORDS = {1: "grey", 3: "rgb"}
_ENDING = "-channel"


def color_of(channels: int) -> str:
    """The word for so many channels, the value of the setting `color`."""
    return _WORDS.get(channels, f"{channels}{_ENDING}")


def channels_of(color: str) -> int:
    """How many channels images of this `color` have."""
    return {word: number for number, word in _WORDS.items()}.get(color) or int(color.removesuffix(_ENDING))


def color_named(value: object) -> str | None:
    """The normal form of a `color` as a user writes it: a word, or a number of channels; None where it is neither."""
    if isinstance(value, str):
        number = value.removesuffix(_ENDING)
        if value in _WORDS.values() or not (value.endswith(_ENDING) and number.isascii() and number.isdecimal()):
            return value if value in _WORDS.values() else None
        value = int(number[:9])
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CHANNELS:
        return None
    return color_of(value)


def are_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an array of images is [n, c, h, w], as far as its shape tells, and not [n, h, w, c]."""
    _, first, second, last = shape if len(shape) == 4 else (0, 0, 0, 1)
    return last not in _WORDS and (first in _WORDS or first < second == last)


def is_convertible(channels: int, wanted: int) -> bool:
    """Whether images of so many channels become such of `wanted` ones: grey and colour become each other, others stay."""
    return channels == wanted or {channels, wanted} <= _WORDS.keys()
