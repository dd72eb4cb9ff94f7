"""`bench init` writes a file to start from, and never over another."""

from __future__ import annotations

import os
import stat

import pytest
from cli_workplace import Workplace


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def test_the_default_preset_is_a_valid_matrix(place):
    assert place.call("init").exit_code == 0
    done = place.call("plan")
    assert done.exit_code == 0, done.stderr


def test_an_existing_file_is_left_as_it_is(place):
    place.write("mine")
    done = place.call("init")
    assert done.exit_code == 2
    assert "exists" in done.stderr
    assert (place.directory / "matrix.toml").read_text() == "mine"
    assert [path.name for path in place.directory.iterdir()] == ["matrix.toml"]


def test_even_a_dangling_link_is_not_followed(place):
    (place.directory / "matrix.toml").symlink_to(place.directory / "elsewhere")
    assert place.call("init").exit_code == 2
    assert not (place.directory / "elsewhere").exists()


def test_the_file_has_the_usual_permissions(place):
    place.call("init", "--matrix", "other.toml")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((place.directory / "other.toml").stat().st_mode) == 0o666 & ~umask


def test_an_unknown_preset_is_answered_with_the_known_ones(place):
    done = place.call("init", "--preset", "defualt")
    assert done.exit_code == 2
    assert "did you mean 'default'" in done.stderr
    assert not list(place.directory.iterdir())


def test_a_missing_folder_is_named(place):
    done = place.call("init", "--matrix", "a/b.toml")
    assert done.exit_code == 2
    assert "make the folder a first" in done.stderr
