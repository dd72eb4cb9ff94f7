"""Parses `--db` into the location of a results database, and checks with `os.stat` whether it can be opened.

Nothing here opens a file: a plain `open(path).close()` on a SQLite database drops the POSIX locks that this process holds
on it, a second writer gets in, and committed rows are lost (https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import layout, machine
from benchmark.errors import BusyError, StorageError, UserError
from benchmark.text import one_line, without_passwords

if TYPE_CHECKING:
    import sqlalchemy as sa

log = logging.getLogger(__name__)

NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "acfs", "afs", "afsd", "auristorfs", "beegfs", "beegfs_nodev", "ceph", "cephfs", "cifs", "coda", "cvfs",
    "cxfs", "davfs", "davfs2", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs", "ibrix", "juicefs", "lustre", "mmfs",
    "moosefs", "ncp", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pnfs", "prl_fs", "pvfs",
    "pvfs2", "quobyte", "scoutfs", "smb", "smb2", "smb3", "smbfs", "snfs", "sshfs", "vboxsf", "virtiofs", "vmhgfs",
    "vxfs", "webdav", "wekafs", "xtreemfs",
})  # fmt: skip
"""File systems that several machines share, or a host with its guests: the shared memory of SQLite's WAL mode does not
reach over them (https://sqlite.org/wal.html, disadvantage 2)."""

LOCAL_FUSE = frozenset({
    "bindfs", "cryfs", "encfs", "exfat", "ext2", "ext4", "fuse-overlayfs", "fuse2fs", "gocryptfs", "lxcfs",
    "mergerfs", "ntfs", "ntfs-3g", "overlayfs", "securefs", "squashfuse", "unionfs", "unionfs-fuse", "zfs",
})  # fmt: skip
"""What `fuse.NAME` may be and still lie on this machine alone. Any other one counts as a network's,
such as sshfs, s3fs, gcsfuse, rclone: without WAL a run is a little slower, with it a database may be damaged."""

_KEYWORDS = re.compile(r"\s*(\w+\s*=\s*\S+\s+)*dbname\s*=|postgres(ql)?:")
"""How the address of a server begins in the other form that libpq knows, and where a slash was left out
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)."""

_MOUNT_POINT = 4
"""Which field of a line of `mountinfo` it is, from 0 (https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)."""


@dataclass(frozen=True, slots=True)
class Location:
    """The address of a results database.

    Attributes:
        path: The file, with symbolic links resolved; None for a server.
        url: Address of the server; None for a file.
        name: Its name in messages: the path as given, or the URL without password and query.
    """

    path: Path | None
    url: sa.URL | None
    name: str


def locate(target: str | os.PathLike[str]) -> Location:
    """Parses a path or URL as given with `--db`.

    Raises:
        UserError: The URL cannot be parsed, names another database than SQLite and PostgreSQL, or no file.
    """
    text = os.fspath(target)
    if "://" not in text:
        return _file(text)
    import sqlalchemy as sa

    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(
            "--db: expected a path or a URL such as postgresql://user@host/name; got a broken URL"
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        return _file(url.database or "")
    # the short form is one of libpq's own
    if kind not in {"postgresql", "postgres"}:
        raise UserError(f"--db: expected SQLite or PostgreSQL, got {kind}")
    if "@" in (url.host or ""):
        # the host, which messages show, would be the end of the password
        raise UserError(
            "--db: expected one @ in the address, before the host, got several; in a password @ is written %40"
        )
    plain = url.set(query={}, drivername="postgresql").render_as_string(hide_password=True)
    return Location(None, url.set(drivername="postgresql+psycopg"), plain)


def _file(text: str) -> Location:
    if not text or text == ":memory:" or "\0" in text:
        raise UserError(f"--db: expected the path of a file, got {text!r}")
    if without_passwords(text, whole=True) != text or _KEYWORDS.match(text):
        # a file of that name would be made, and anybody could read the password in it
        raise UserError(
            "--db: expected a path or a URL such as postgresql://user@host/name; got the address of a server in another form"
        )
    path = Path(os.path.realpath(text))
    if not path.name:
        raise UserError(f"--db: expected the path of a file, got the root folder {text!r}")
    return Location(path, None, one_line(text))


def inode_of(path: Path) -> tuple[int, int] | None:
    """Returns device and inode of the file; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def side_file(path: Path, ending: str) -> Path:
    """Returns the path of a file that SQLite keeps beside a database: `-wal`, `-shm` or `-journal`."""
    return path.with_name(path.name + ending)


def check_file(path: Path, name: str) -> bool:
    """Checks whether there is a regular, readable file to open.

    Returns:
        False when there is none, or an empty one, which SQLite takes for a new database.

    Raises:
        StorageError: It is no regular file, cannot be reached or read, or is empty although it has artifacts.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"{name}: cannot be reached: {error.strerror}. Give another path with --db") from error
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(
            f"{name}: expected a database file, got {kind_of(status.st_mode)}. Give another path with --db"
        )
    if not os.access(path, os.R_OK):
        raise StorageError(f"{name}: cannot be read. Change its permissions, or give another path with --db")
    if status.st_size == 0:
        artifacts = layout.artifacts_folder(path)
        if artifacts.is_dir() and any(not entry.name.startswith(".") for entry in artifacts.iterdir()):
            raise StorageError(
                f"{name}: the file is empty, but {artifacts.name} beside it is not: its results were lost, not never "
                f"made. Put a backup in its place, or move {artifacts.name} away to start afresh"
            )
    return status.st_size > 0


def kind_of(mode: int) -> str:
    """Names the kind of something that is no regular file, such as `a folder`."""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def check_absent(path: Path, name: str) -> None:
    """Keeps whatever stands where a new file is asked for.

    Raises:
        UserError: Something does, be it a link that leads nowhere.
    """
    if os.path.lexists(path):
        raise UserError(f"{name}: expected a path that does not exist, found a file. Give another path")


def check_writable(path: Path, name: str) -> None:
    """Fails at once where the first commit would fail after an hour of training.

    Raises:
        StorageError: The file or its folder is missing or cannot be written.
        BusyError: It has hard links, and another program has it open, perhaps under another name.
    """
    folder = path.parent
    if not folder.is_dir():
        raise StorageError(f"{name}: the folder {folder} does not exist. Make it with: mkdir -p '{folder}'")
    for place, what in ((path, "the file"), (folder, "its folder")):
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageError(
                f"{name}: {what} is read-only, and a run must write there. Change its permissions, or give another "
                f"path with --db; `bench report` and `bench query` work as it is"
            )
    if path.exists() and path.stat().st_nlink > 1:
        # the -wal file goes by the name: rows written under one name are not seen under another
        # (https://sqlite.org/howtocorrupt.html, 2.5)
        holders = machine.lock_holders([path], frozenset({"READ", "WRITE"}))
        if holders:
            raise BusyError(
                f"{name}: the file is open under another of its {path.stat().st_nlink} names: {', '.join(holders)}. "
                "Wait for that to end; keep one of the names, and make copies with: bench db backup"
            )
        log.warning("%s has %d hard links; runs under its other names are not kept apart", name, path.stat().st_nlink)


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Returns the type of network file system that the path is on; None when it is local or unknown."""
    try:
        lines = mounts.read_bytes().split(b"\n")
    except OSError:
        return None
    kind, longest = "", -1
    for line in lines:
        mount, _, tail = line.partition(b" - ")
        fields, kinds = mount.split(b" "), tail.split(b" ")
        if len(fields) < _MOUNT_POINT + 1 or not kinds[0]:
            continue
        point = Path(
            os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 0xFF]), fields[_MOUNT_POINT]))
        )
        # of two mounts on one place the later one hides the other
        if path.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = os.fsdecode(kinds[0]), len(point.parts)
    family, _, name = kind.lower().partition(".")
    is_network = name not in LOCAL_FUSE if family == "fuse" else family in NETWORK_FILE_SYSTEMS
    return kind if is_network else None
