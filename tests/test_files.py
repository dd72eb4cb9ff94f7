from __future__ import annotations

import hashlib

import pytest

from benchmark.files import appearing, is_partial, publish_folder, sha256_of, write_whole


def test_a_file_appears_whole(tmp_path):
    write_whole(tmp_path / "a", lambda file: file.write(b"content"))
    assert (tmp_path / "a").read_bytes() == b"content"
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_a_write_that_fails_changes_nothing(tmp_path):
    write_whole(tmp_path / "a", lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_whole(tmp_path / "a", fail, keep_previous=tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_previous_file_can_be_kept(tmp_path):
    for content in (b"1", b"2", b"3"):
        write_whole(tmp_path / "a", lambda file, content=content: file.write(content), keep_previous=tmp_path / "b")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"3", b"2")


def test_a_file_that_must_not_be_replaced_stays(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"other", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_what_is_written_aside_is_known_as_such_and_ends_as_asked(tmp_path):
    with appearing(tmp_path / "model.keras", ending=".keras") as aside:
        assert is_partial(aside.name)
        assert aside.suffix == ".keras"
        aside.write_bytes(b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert not is_partial("model.keras")


def test_a_folder_takes_the_place_of_another(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    publish_folder(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]


def test_new_files_have_the_rights_that_the_user_gives_files(tmp_path):
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode
