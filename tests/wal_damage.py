"""What a power cut can do to the `-wal` file of a killed run, and which states of the database may come of it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
from pathlib import Path
from random import Random

from harness import Run

TABLES = ("run", "cell", "run_cell", "execution", "attempt", "epoch", "artifact")
_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
SECTOR_BYTES = 512


def content(database: Path) -> str:
    """Digest of every row of every table."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma quick_check").fetchall() == [("ok",)]
        assert connection.execute("pragma foreign_key_check").fetchall() == []
        rows = [sorted(map(repr, connection.execute(f"select * from {table}"))) for table in TABLES]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


class Casualty:
    """A run that was killed, of which copies with a damaged `-wal` file are made.

    Attributes:
        commits: The digest of the database after each of its transactions, from none to all.
    """

    def __init__(self, run: Run, scratch: Path) -> None:
        self._folder = run.folder
        self._scratch = scratch
        self.wal = wal_of(run.database).read_bytes()
        self.commits = [content(self._database(self.wal[:end])) for end in self._ends()]

    def _ends(self) -> list[int]:
        """Offsets at which the file ends with a whole transaction; source: the SQLite file format, section 4.1."""
        page_bytes = int.from_bytes(self.wal[8:12], "big")
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        frames = range(_HEADER_BYTES, len(self.wal) - frame_bytes + 1, frame_bytes)
        # the last frame of a transaction says how many pages the database has then; the others say 0
        commits = [frame for frame in frames if int.from_bytes(self.wal[frame + 4 : frame + 8], "big")]
        return [0, *(frame + frame_bytes for frame in commits)]

    def damaged(self, random: Random) -> tuple[str, bytes]:
        """The `-wal` file cut, zeroed, overwritten, or with one bit flipped, at a random place; and what was done."""
        wal, place = bytearray(self.wal), random.randrange(len(self.wal))
        kind = random.choice(["cut", "zeroed", "torn", "flipped"])
        sector = place - place % SECTOR_BYTES
        if kind == "cut":
            del wal[place:]
        elif kind == "zeroed":
            wal[place:] = bytes(len(wal) - place)
        elif kind == "torn":
            wal[sector : sector + SECTOR_BYTES] = random.randbytes(len(wal[sector : sector + SECTOR_BYTES]))
        else:
            wal[place] ^= 1 << random.randrange(8)
        return f"{kind} at {place} of {len(self.wal)}", bytes(wal)

    def survives(self, wal: bytes) -> int:
        """How many transactions are left with this `-wal` file; they must be the first ones, each whole."""
        return self.commits.index(content(self._database(wal)))

    def _database(self, wal: bytes) -> Path:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        shutil.copy(self._folder / "results.sqlite", self._scratch)
        copy = self._scratch / "results.sqlite"
        if wal:
            wal_of(copy).write_bytes(wal)
        return copy

    def revive(self, folder: Path, wal: bytes) -> Run:
        """A whole copy of the killed run, artifacts included, with this `-wal` file."""
        run = Run(folder)
        for place in ("results.sqlite", "results.artifacts"):
            source = self._folder / place
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / place)
        if wal:
            wal_of(run.database).write_bytes(wal)
        return run


def wal_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")
