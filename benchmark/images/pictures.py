"""Decodes image files and resizes images to one size and colour, `uint8`, with Pillow alone.

Photographs are turned upright as their EXIF data say, what is transparent is shown on a background, and images are
resized bilinearly (averaging over what a target pixel covers) to a square; grey is the luma of ITU-R BT.601.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

from benchmark.catalog.channels import is_convertible
from benchmark.catalog.source_files.absent_files import absence_of
from benchmark.errors import DataError

FORMATS = ("JPEG", "PNG")
WHITE = "#ffffff"
"""What transparent pictures are shown on unless their dataset says otherwise: as browsers and viewers do."""

_MODES = {1: "L", 3: "RGB"}
"""What Pillow calls images of so many channels that become each other."""

_WITH_ALPHA = 4

_FILTER = Image.Resampling.BILINEAR

_DEPTH_FACTORS = {"L;2": 85, "L;4": 17}
"""What greys of two and four bits are multiplied by to be of eight, by Pillow's name for them."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image file as an array.

    Attributes:
        pixels: [image_size, image_size, channels] with values 0..255.
        is_transparent: Whether any of it was, and so was mixed with the background.
    """

    pixels: NDArray[np.uint8]
    is_transparent: bool


def decode_image(
    path: Path | io.BytesIO, image_size: int, channels: int, background: str = WHITE, resize: str = "squeeze"
) -> DecodedImage:
    """Reads an image file.

    Args:
        path: Of a JPEG or PNG file, or its content.
        image_size: Height and width of the result in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGB with what is opaque as a fourth channel, which nothing is mixed with.
        background: What is transparent is shown on this colour, `#rrggbb`.
        resize: See `resize_image`.

    Raises:
        DataError: It is not a whole JPEG or PNG, or so large that Pillow takes it for a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                _scale_transparent_color(opened)
                if channels == _WITH_ALPHA:
                    layers = np.asarray(_eight_bits(_upright(opened)).convert("RGBA"))
                    return DecodedImage(resize_array(layers, image_size, channels, resize), is_transparent=False)
                flat, is_transparent = _flattened(_eight_bits(_upright(opened)), background)
                return DecodedImage(resize_image(flat, image_size, channels, resize), is_transparent)
    except Exception as error:  # whatever a decoder of strange bytes raises, the file must be named
        absence = absence_of(path, "picture") if isinstance(path, Path) else None
        reason = absence or str(error).replace(f" '{path}'", "") or type(error).__name__
        raise DataError(f"{path} cannot be read as JPEG or PNG: {reason:.200}") from error


def has_transparency(path: Path) -> bool:
    """Whether a picture has a fourth channel, or a colour that is transparent; False where it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            return opened.has_transparency_data
    except (OSError, ValueError, SyntaxError):
        return False


def resize_image(image: Image.Image, image_size: int, channels: int, resize: str) -> NDArray[np.uint8]:
    """Converts an image to an array [image_size, image_size, channels] with values 0..255; 1 channel is grey, 3 are RGB.

    Raises:
        ValueError: Pictures have no such number of channels.

    Args:
        image: Of any shape and mode.
        image_size: Height and width in pixels.
        channels: 1 or 3.
        resize: What happens to an image that is not square: `squeeze` changes its proportions, `crop` takes the middle,
            `pad` puts black bars at two sides.
    """
    if channels not in _MODES:
        raise ValueError(f"expected {channels} channels, which pictures do not have")
    coloured, size = image.convert(_MODES[channels]), (image_size, image_size)
    if coloured.size != size:
        coloured = _SQUARES[resize](coloured, size)
    return np.asarray(coloured, dtype=np.uint8).reshape(image_size, image_size, channels)


_SQUARES: Mapping[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "squeeze": lambda image, size: image.resize(size, _FILTER),
    "crop": lambda image, size: ImageOps.fit(image, size, _FILTER),
    "pad": lambda image, size: ImageOps.pad(_contained(image, size), size, _FILTER, color="black"),
}


def _contained(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # not ImageOps.contain, for which a very thin picture has no height left
    width, height = (max(1, round(side / max(image.size) * size[0])) for side in image.size)
    return image.resize((width, height), _FILTER)


def resize_array(
    image: NDArray[np.uint8], image_size: int, channels: int, resize: str = "squeeze"
) -> NDArray[np.uint8]:
    """As `resize_image`, for an array [h, w, c]; where it has neither one nor three channels, it keeps them, each for itself.

    Raises:
        ValueError: It has other channels than are asked for.
    """
    if not is_convertible(image.shape[-1], channels):
        raise ValueError(f"expected {channels} channels, found {image.shape[-1]}")
    if channels not in _MODES:
        return np.concatenate(
            [resize_array(image[..., [each]], image_size, 1, resize) for each in range(channels)], axis=-1
        )
    picture: Any = image[..., 0] if image.shape[-1] == 1 else image
    return resize_image(Image.fromarray(np.ascontiguousarray(picture)), image_size, channels, resize)


def _scale_transparent_color(image: ImageFile.ImageFile) -> None:
    # Pillow brings pixels of other depths to 8 bits, but not the colour among them that is meant to be transparent
    color, stored = image.info.get("transparency"), str(image.tile[0].args) if image.tile else ""
    if isinstance(color, int) and stored in _DEPTH_FACTORS:
        image.info["transparency"] = color * _DEPTH_FACTORS[stored]
    elif isinstance(color, tuple) and stored == "RGB;16B":
        image.info["transparency"] = tuple(part >> 8 for part in color)


def _upright(image: Image.Image) -> Image.Image:
    # not ImageOps.exif_transpose, which writes all EXIF data anew and so fails on any odd value among them
    # (https://github.com/python-pillow/Pillow/issues/4346)
    image.load()  # PNG may have its EXIF data after the pixels
    turn: Image.Transpose | None = None
    with suppress(Exception):  # the picture is whole, even where its EXIF data are not
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow clips the values of 16-bit grey images at 255 (https://github.com/python-pillow/Pillow/issues/3011)
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(np.rint(values.astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _flattened(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """The image without transparency, and whether it had any."""
    if not image.has_transparency_data:
        return image, False
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return image, False
    canvas = Image.new("RGBA", layer.size, background)
    return Image.alpha_composite(canvas, layer).convert("RGB"), True
