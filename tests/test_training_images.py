from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmark.training.data.images import decode_image
from benchmark.training.process.failures import DataError


@pytest.fixture
def read(tmp_path):
    def of(picture: Image.Image, size: int, channels: int, name: str = "x.png", **options) -> np.ndarray:
        picture.save(tmp_path / name, **options)
        return decode_image(tmp_path / name, size, channels)

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
