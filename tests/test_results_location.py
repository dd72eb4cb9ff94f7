"""Where a database lies: names of files and servers, and file systems that machines share."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path

import pytest
from results_samples import begin, cell

from benchmark.errors import StorageError, UserError
from benchmark.results.store import journal_mode
from benchmark.results.store.backup import backup
from benchmark.results.store.database import open_database
from benchmark.results.store.location import locate, network_file_system


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.sqlite"


def files_of(folder) -> set[str]:
    return {entry.name for entry in Path(folder).iterdir()}


def test_hostile_file_names_are_only_names(tmp_path):
    for name in ("a?mode=memory&b#c.sqlite", "100%25.sqlite", "ünï' or 1=1;--.sqlite", "sp ace.sqlite"):
        place = tmp_path / name
        open_database(place, mode="write").close()
        assert place.exists()
        assert files_of(tmp_path) == {name}
        with open_database(place, mode="read") as database:
            copy = backup(database, tmp_path / f"copy {name}")
        copy.unlink()
        place.unlink()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mysql://root@localhost/x", "expected SQLite or PostgreSQL, got mysql"),
        ("sqlite://", "path of a file"),
        (":memory:", "path of a file"),
        ("://", "URL"),
        ("a\0b", "path of a file"),
        ("/", "path of a file"),
        ("host=127.0.0.1 password=canary", "the address of a server in another form"),
        ("host=127.0.0.1 dbname=x", "the address of a server in another form"),
        ("postgresql:/joe:canary@host/x", "the address of a server in another form"),
        ("postgresql://joe:can@ary@host/x", "in a password @ is written %40"),
    ],
)
def test_targets_that_are_neither_file_nor_server_are_the_users_mistake(target, said):
    with pytest.raises(UserError, match=said):
        open_database(target, mode="write")


def test_names_of_servers_show_no_secrets():
    location = locate("postgresql://joe:secret@host:5/db?sslpassword=canary")
    assert location.name == "postgresql://joe:***@host:5/db"


def test_the_short_form_of_a_servers_address_that_libpq_knows_is_the_same_address():
    assert locate("postgres://joe@host/db") == locate("postgresql://joe@host/db")


def test_a_server_that_does_not_answer_is_a_storage_error(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match="the server does not answer") as caught:
        open_database(f"postgresql://joe:secret@/db?host={tmp_path}", mode="write")
    assert "secret" not in str(caught.value)


PLACES = ("/mnt/données", "/mnt/Büro Server", "/mnt/数据", "/mnt/a\tb\\c", "/mnt/\\040", "/mnt/a\rb")


@pytest.mark.parametrize("place", PLACES)
def test_a_mount_point_may_have_any_letters(place, tmp_path):
    mounts = tmp_path / "mountinfo"
    escaped = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", place)
    mounts.write_bytes(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {escaped} rw shared:1 - nfs4 s:/x rw\n".encode())
    assert network_file_system(Path(place) / "results.sqlite", mounts) == "nfs4"
    assert network_file_system(Path(f"{place}2") / "results.sqlite", mounts) is None


def test_a_mount_point_that_is_no_text_is_read_too(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /mnt/b\xfcro rw - cifs x rw\nrubbish\n")
    assert network_file_system(Path(os.fsdecode(b"/mnt/b\xfcro/results.sqlite")), mounts) == "cifs"


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        *dict.fromkeys(["gpfs", "beegfs", "beegfs_nodev", "smb2", "smb3", "lustre", "panfs", "pvfs2", "ocfs2", "gfs2", "afs", "acfs", "snfs", "virtiofs", "9p"], True).items(),
        *dict.fromkeys(["fuse.glusterfs", "fuse.ceph-fuse", "fuse.sshfs", "fuse.rclone", "fuse.whatever", "fuse"], True).items(),
        *dict.fromkeys(["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "f2fs", "fuseblk", "fuse.mergerfs", "fuse.ntfs-3g"], False).items(),
    ],
)  # fmt: skip
def test_a_file_system_that_machines_share_is_known_by_its_type(kind, shared, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /data rw - ext4 x rw\n3 1 0:3 / /data rw - {kind} x rw\n")
    assert network_file_system(Path("/data/results.sqlite"), mounts) == (kind if shared else None)


def test_network_file_systems_are_told_by_their_type(tmp_path, path, monkeypatch, caplog):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /home/a\\040b rw shared:1 - nfs4 server:/x rw\n"
        "3 1 0:6 / /home/a\\040b/local rw - tmpfs tmpfs rw\n"
    )
    assert network_file_system(Path("/home/a b/c.sqlite"), mounts) == "nfs4"
    assert network_file_system(Path("/home/a b/local/c.sqlite"), mounts) is None
    assert network_file_system(Path("/srv/c.sqlite"), mounts) is None
    assert network_file_system(Path("/srv/c.sqlite"), tmp_path / "none") is None
    monkeypatch.setattr(journal_mode, "network_file_system", lambda _: "nfs4")
    with open_database(path, mode="write") as database:
        assert "network file system (nfs4)" in caplog.text
        with closing(database.engine.raw_connection()) as connection:
            assert connection.cursor().execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
        begin(database, [cell()])
    assert files_of(path.parent) == {"results.sqlite", "mounts"}
