from __future__ import annotations

import hashlib

import pytest

from benchmark.training.whole_files import sha256_of, write_whole


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
