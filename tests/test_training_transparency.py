"""What is transparent in a picture is shown on the background, whatever way of PNG holds the transparency."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmark.images.pictures import decode_image
from benchmark.training.programs.prepare import prepare


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(depth: int, color: int, rows: list[bytes], width: int, *more: bytes) -> bytes:
    """A PNG file written by hand, for what Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
# each picture has a left column that is transparent black and a right one that is opaque black (or nearly so)
KINDS = {
    "RGBA, 8 bits": png(8, RGBA, [bytes([0, 0, 0, 0, 0, 0, 0, 255])] * 2, 2),
    "RGBA, 16 bits": png(16, RGBA, [bytes(8) + bytes(6) + b"\xff\xff"] * 2, 2),
    "grey with alpha, 8 bits": png(8, GREY_ALPHA, [bytes([0, 0, 0, 255])] * 2, 2),
    "grey with alpha, 16 bits": png(16, GREY_ALPHA, [bytes(4) + bytes(2) + b"\xff\xff"] * 2, 2),
    "a palette": png(8, PALETTE, [bytes([0, 1])] * 2, 2, chunk(b"PLTE", bytes(6)), chunk(b"tRNS", bytes([0, 255]))),
    "a transparent colour, 8 bits": png(8, RGB, [bytes([9, 9, 9, 0, 0, 0])] * 2, 2, chunk(b"tRNS", bytes([0, 9] * 3))),
    "a transparent colour, 16 bits": png(
        16, RGB, [bytes([9, 0] * 3) + bytes(6)] * 2, 2, chunk(b"tRNS", bytes([9, 0] * 3))
    ),
    "a transparent grey, 1 bit": png(1, GREY, [bytes([0b10000000])] * 2, 2, chunk(b"tRNS", bytes([0, 1]))),
    "a transparent grey, 2 bits": png(2, GREY, [bytes([0b01000000])] * 2, 2, chunk(b"tRNS", bytes([0, 1]))),
    "a transparent grey, 4 bits": png(4, GREY, [bytes([0x30])] * 2, 2, chunk(b"tRNS", bytes([0, 3]))),
    "a transparent grey, 8 bits": png(8, GREY, [bytes([9, 0])] * 2, 2, chunk(b"tRNS", bytes([0, 9]))),
    "a transparent grey, 16 bits": png(16, GREY, [bytes([9, 0, 0, 0])] * 2, 2, chunk(b"tRNS", bytes([9, 0]))),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_transparent_is_shown_on_white_and_the_rest_as_it_is(tmp_path, kind, channels):
    (tmp_path / "x.png").write_bytes(KINDS[kind])
    image = decode_image(tmp_path / "x.png", 2, channels)
    assert image.is_transparent
    assert image.pixels[:, 0].tolist() == [[255] * channels] * 2
    assert image.pixels[:, 1].tolist() == [[0] * channels] * 2


@pytest.mark.parametrize(("channels", "expected"), [(3, [[[255, 0, 0], [0, 0, 0]]] * 2), (1, [[[76], [0]]] * 2)])
def test_the_background_is_the_users(tmp_path, channels, expected):
    (tmp_path / "x.png").write_bytes(KINDS["RGBA, 8 bits"])
    assert decode_image(tmp_path / "x.png", 2, channels, "#ff0000").pixels.tolist() == expected


def test_half_transparent_pixels_are_mixed_and_opaque_ones_are_exact(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    opaque = np.dstack([noise, np.full((8, 8), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    image = decode_image(tmp_path / "opaque.png", 8, 3)
    assert not image.is_transparent
    assert np.array_equal(image.pixels, noise)
    Image.new("RGBA", (8, 8), (0, 0, 0, 51)).save(tmp_path / "faint.png")
    assert set(np.unique(decode_image(tmp_path / "faint.png", 8, 3).pixels)) == {204}


def test_icons_whose_shape_is_in_their_transparency_stay_apart_and_it_is_said(tmp_path):
    for name in ("disc", "square"):
        (tmp_path / "icons" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if name == "disc" else draw.rectangle)((2 + number, 2, 13, 13), fill=(0, 0, 0, 255))
            picture.save(tmp_path / "icons" / name / f"{number}.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "icons" / "disc" / "opaque.png")

    def prepared(**changes: str) -> Path:
        return prepare("folder:icons", 16, "grey", tmp_path, location=str(tmp_path / "icons"), **changes)

    images = np.load(prepared() / "train_images.npy")
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    notes = json.loads((prepared() / "meta.json").read_text())["notes"]
    assert notes == [
        "folder:icons: 8 of 9 images are transparent: shown on white (#ffffff), unless the dataset has a `background`"
    ]
    assert prepared(background="#808080") != prepared()
    assert "shown on #808080" in (prepared(background="#808080") / "meta.json").read_text()
