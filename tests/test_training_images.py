from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmark.errors import DataError
from benchmark.images.pictures import decode_image, resize_image


@pytest.fixture
def read(tmp_path):
    def of(picture: Image.Image, size: int, channels: int, name: str = "x.png", **options) -> np.ndarray:
        picture.save(tmp_path / name, **options)
        return decode_image(tmp_path / name, size, channels).pixels

    return of


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_picture_of_the_right_size_and_colour_is_left_as_it_is(read):
    colour, grey = noise(16, 16, 3), noise(16, 16)
    assert np.array_equal(read(Image.fromarray(colour), 16, 3), colour)
    assert np.array_equal(read(Image.fromarray(grey), 16, 1), grey[..., None])


def test_grey_becomes_three_equal_channels_and_colour_becomes_luma(read):
    grey = read(Image.fromarray(noise(8, 8)), 8, 3)
    assert np.array_equal(grey, np.repeat(noise(8, 8)[..., None], 3, axis=-1))
    colour = noise(8, 8, 3)
    luma = colour @ [0.299, 0.587, 0.114]
    assert np.abs(read(Image.fromarray(colour), 8, 1)[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("shape", [(100, 60, 3), (3, 5, 3)])
def test_other_sizes_become_squares(read, shape):
    found = read(Image.fromarray(noise(*shape)), 16, 3)
    assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
    assert abs(float(found.mean()) - float(noise(*shape).mean())) < 25


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(100, 60), (37, 53), (3, 5), (9, 31), (40, 40), (16, 16)])
def test_squares_are_those_of_pillow(shape, channels):
    image = Image.fromarray(noise(*shape, 3)).convert("L" if channels == 1 else "RGB")
    size, bilinear = (16, 16), Image.Resampling.BILINEAR
    squares = {
        "squeeze": image.resize(size, bilinear),
        "crop": ImageOps.fit(image, size, bilinear),
        "pad": ImageOps.pad(image, size, bilinear, color=0),
    }
    for how, expected in squares.items():
        assert np.array_equal(resize_image(image, 16, channels, how), np.asarray(expected).reshape(16, 16, channels))
        if shape[0] == shape[1]:
            assert np.array_equal(expected, squares["squeeze"])


def test_a_very_thin_picture_keeps_a_line_between_its_bars():
    line = resize_image(Image.new("RGB", (300, 2), "white"), 8, 3, "pad")
    assert (line == 255).all(axis=(1, 2)).sum() == 1
    assert (line == 0).all(axis=(1, 2)).sum() == 7


def test_sixteen_bits_are_scaled(read):
    deep = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    assert (read(deep, 8, 1) == 0x80).all()


def test_photographs_are_turned_as_their_camera_says(read):
    half = np.zeros((16, 16), np.uint8)
    half[:8] = 255
    turned = Image.Exif()
    turned[0x0112] = 6
    found = read(Image.fromarray(half), 16, 1, "x.jpg", exif=turned, quality=100)
    assert found[:, 8:].min() > 200
    assert found[:, :8].max() < 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "cannot be read as JPEG or PNG"),
        (b"GIF89a" + bytes(100), "cannot be read as JPEG or PNG"),
        (b"import os; os.system('x')", "cannot be read as JPEG or PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        decode_image(path, 8, 3)


def test_a_cut_picture_is_refused(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="cannot be read"):
        decode_image(path, 8, 3)


def test_a_bomb_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.fromarray(noise(64, 64, 3)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 40)
    with pytest.raises(DataError, match="cannot be read as JPEG or PNG: Image size"):
        decode_image(path, 8, 3)


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data with these entries (tag, type, count, value), as any camera may write them."""
    values, at, table = b"", 14 + 12 * len(entries), struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", at + len(values))
        table += struct.pack("<HHI", tag, kind, count) + place
        values += value if len(value) > 4 else b""
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + table + bytes(4) + values


TURNED = (274, 3, 1, struct.pack("<H", 6))


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
@pytest.mark.parametrize(
    "other",
    [
        (282, 10, 1, struct.pack("<ii", -1, 0)),
        (282, 5, 1, struct.pack("<II", 0, 0)),
        (33434, 5, 1, struct.pack("<II", 2**32 - 1, 1)),
        (271, 2, 300, b"cut"),
        (40962, 99, 1, b"\1\2\3\4"),
        (34665, 4, 1, struct.pack("<I", 2**31)),
        (34853, 3, 1, b"\7\0"),
    ],
)
def test_odd_exif_values_beside_the_orientation_change_nothing(read, name, other):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # as stored, the upper half is white; upright, the right one is
    upright = read(Image.fromarray(pixels), 16, 1, name, exif=exif(TURNED, other))[..., 0]
    assert upright[:, 9:].min() > 200
    assert upright[:, :7].max() < 50


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
@pytest.mark.parametrize(
    "damaged",
    [
        b"Exif\0\0no tiff header",
        b"Exif\0\0II*\0",
        b"Exif\0\0",
        exif(TURNED)[:20],
        exif((274, 3, 1, struct.pack("<H", 99))),
        exif((274, 2, 8, b"sideways")),
        exif((274, 5, 1, struct.pack("<II", 0, 0))),
    ],
)
def test_a_picture_is_whole_though_its_exif_is_not(read, name, damaged):
    assert read(Image.new("RGB", (9, 9), "white"), 9, 1, name, exif=damaged).min() == 255


@pytest.mark.parametrize("error", [struct.error("odd"), AttributeError(), MemoryError(), IndexError("range")])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(DataError, match=r"x\.png cannot be read as JPEG or PNG: \w"):
        decode_image(tmp_path / "x.png", 9, 1)


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b"/annex/objects/SHA256E-s31390--f50d.jpg\n", "git annex get"),
        (b"../../.git/annex/objects/Kj/0x/SHA256E-s31390--f50d.jpg", "git annex get"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    ],
)
def test_a_pointer_in_the_place_of_a_picture_is_told_as_what_it_is(tmp_path, content, cure):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.jpg cannot be read .* `{cure}` fetches it"):
        decode_image(tmp_path / "x.jpg", 9, 1)
