"""Decodes image files and resizes images to one size and colour, `uint8`, with Pillow alone.

Photographs are turned upright as their EXIF data say, resized bilinearly (averaging over what a target pixel covers)
to a square without cropping, and grey is the luma of ITU-R BT.601. Transparency is dropped.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmark.training.process.failures import DataError

FORMATS = ("JPEG", "PNG")


def decode_image(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Reads an image file into an array [image_size, image_size, channels] with values 0..255.

    Raises:
        DataError: It is not a whole JPEG or PNG, or so large that Pillow takes it for a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                return resize_image(_eight_bits(ImageOps.exif_transpose(opened)), image_size, channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} cannot be read as JPEG or PNG: {error!s:.200}") from error


def resize_image(image: Image.Image, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Converts an image to an array [image_size, image_size, channels] with values 0..255; 1 channel is grey, 3 are RGB."""
    coloured = image.convert("L" if channels == 1 else "RGB")
    if coloured.size != (image_size, image_size):
        coloured = coloured.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(coloured, dtype=np.uint8).reshape(image_size, image_size, channels)


def resize_array(image: NDArray[np.uint8], image_size: int, channels: int) -> NDArray[np.uint8]:
    """As `resize_image`, for an array [h, w, c] of one or three channels."""
    picture: Any = image[..., 0] if image.shape[-1] == 1 else image
    return resize_image(Image.fromarray(np.ascontiguousarray(picture)), image_size, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow clips the values of 16-bit grey images at 255 (https://github.com/python-pillow/Pillow/issues/3011)
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.rint(np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
