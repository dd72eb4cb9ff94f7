"""Reads the rows of a damaged SQLite file from its pages, without SQLite, which stops at the first damage.

The format is documented at https://sqlite.org/fileformat2.html: pages form b-trees, one for each table and index; a leaf
holds records. Trees are walked from their roots as far as possible. Where one is damaged, leaves that no tree leads to
are read one by one, and `salvage.py` recognizes the table of their records by the columns.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.results.store.location import side_file

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
DEFAULT_PAGE_BYTES = 4096
"""The page size of files that bench makes; assumed where neither the file nor its `-wal` file says it."""

_INTERIOR_INDEX, _INTERIOR_TABLE, _LEAF_INDEX, _LEAF_TABLE = 2, 5, 10, 13
_ENCODINGS = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}
_LARGEST_RECORD_BYTES = 1 << 30
_WAL_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class DamagedError(Exception):
    """A page or a record violates the file format."""


class Record(NamedTuple):
    """A row as it is stored.

    Attributes:
        rowid: The row id; None in a WITHOUT ROWID table, and in an index.
        values: In the stored order of the columns.
    """

    rowid: int | None
    values: tuple[Any, ...]


@dataclass(slots=True)
class PageFile:
    """The pages of a database file, those in its `-wal` file before those in the file itself.

    Attributes:
        header: The first 100 bytes, as they are.
        bad_pages: Pages that a tree led to and that hold something else.
        bad_records: Records of sound pages that could not be read.
        visited: Pages that were made use of, or belong to an index or the free list.
    """

    content: Any
    newer: dict[int, bytes]
    page_bytes: int
    usable: int
    encoding: str
    header: bytes
    bad_pages: set[int] = field(default_factory=set)
    bad_records: int = 0
    visited: set[int] = field(default_factory=set)
    _catalogue: list[tuple[str, str, int]] | None = None

    @property
    def pages(self) -> int:
        return max(-(-len(self.content) // self.page_bytes), max(self.newer, default=0))

    @property
    def application_id(self) -> int:
        return int.from_bytes(self.header[68:72])

    @property
    def user_version(self) -> int:
        return int.from_bytes(self.header[60:64])

    def page(self, number: int) -> bytes:
        """A page by its number, from 1.

        Raises:
            DamagedError: The file ends before.
        """
        if number in self.newer:
            return self.newer[number]
        start = (number - 1) * self.page_bytes
        page = bytes(self.content[start : start + self.page_bytes]) if number > 0 else b""
        if len(page) < self.page_bytes:
            raise DamagedError
        return page

    def catalogue(self) -> list[tuple[str, str, int]]:
        """Kind (`table` or `index`), name and root page of each entry of the schema table that can still be read.

        See https://sqlite.org/schematab.html.
        """
        if self._catalogue is None:
            self._catalogue = []
            for record in self.tree(1):
                with suppress(ValueError, TypeError):
                    kind, name, _, root, _ = record.values
                    if kind in {"table", "index"} and isinstance(name, str) and int(root) > 1:
                        self._catalogue.append((kind, name, int(root)))
        return self._catalogue

    def tree(self, root: int) -> Iterator[Record]:
        """Every record of a tree that can still be read, in its order."""
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number in self.visited:
                continue
            self.visited.add(number)
            try:
                page = self.page(number)
                records, children = self._read(number, page)
            except (DamagedError, IndexError):
                self.bad_pages.add(number)
                continue
            yield from records
            waiting += reversed(children)

    def walk(self) -> None:
        """Follows every tree to its end, so that all its bad pages are known."""
        for *_, root in self.catalogue():
            for _ in self.tree(root):
                pass

    def lost_records(self) -> Iterator[Record]:
        """The records of leaves that no tree led to, in the order of the pages."""
        self._visit_free_pages()
        for number in range(1, self.pages + 1):
            if number not in self.visited:
                before = self.bad_records
                with suppress(DamagedError, IndexError):
                    yield from self._read(number, self.page(number))[0]
                # content of pages that are no leaves looks like broken records; it is not counted as such
                self.bad_records = before

    def _read(self, number: int, page: bytes) -> tuple[list[Record], list[int]]:
        """The records of a page of a tree, and the pages below it."""
        start = HEADER_BYTES if number == 1 else 0
        kind = page[start]
        if kind not in {_INTERIOR_INDEX, _INTERIOR_TABLE, _LEAF_INDEX, _LEAF_TABLE}:
            raise DamagedError
        interior = kind in {_INTERIOR_INDEX, _INTERIOR_TABLE}
        count = int.from_bytes(page[start + 3 : start + 5])
        first = start + (12 if interior else 8)
        if first + 2 * count > self.usable:
            raise DamagedError
        places = struct.unpack_from(f">{count}H", page, first)
        records, children = [], []
        for place in places:
            if interior:
                children.append(int.from_bytes(page[place : place + 4]))
            if kind != _INTERIOR_TABLE:
                try:
                    records.append(self._record(page, place + 4 * interior, table=kind == _LEAF_TABLE))
                except (DamagedError, IndexError, struct.error, ValueError, OverflowError):
                    self.bad_records += 1
        if interior:
            children.append(int.from_bytes(page[start + 8 : start + 12]))
        return records, children

    def _record(self, page: bytes, place: int, *, table: bool) -> Record:
        size, place = varint(page, place)
        rowid = None
        if table:
            rowid, place = varint(page, place)
        if not 0 < size <= min(_LARGEST_RECORD_BYTES, self.pages * self.page_bytes):
            raise DamagedError
        return Record(rowid, _values(self._payload(page, place, size, table=table), self.encoding))

    def _payload(self, page: bytes, place: int, size: int, *, table: bool) -> bytes:
        """The bytes of a record: those on its own page, and those on the pages that go on with it."""
        least = (self.usable - 12) * 32 // 255 - 23
        most = self.usable - 35 if table else (self.usable - 12) * 64 // 255 - 23
        if size <= most:
            return _slice(page, place, size)
        local = least + (size - least) % (self.usable - 4)
        local = local if local <= most else least
        parts = [_slice(page, place, local)]
        following = int.from_bytes(_slice(page, place + local, 4))
        missing = size - local
        chain = set()
        while missing > 0:
            if following in chain:
                raise DamagedError
            chain.add(following)
            more = self.page(following)
            parts.append(more[4 : 4 + min(missing, self.usable - 4)])
            following, missing = int.from_bytes(more[:4]), missing - (self.usable - 4)
        self.visited |= chain
        return b"".join(parts)

    def _visit_free_pages(self) -> None:
        """Marks the pages of the free list as visited: they may hold deleted rows, which must not be salvaged."""
        trunk, seen = int.from_bytes(self.header[32:36]), set[int]()
        while trunk and trunk not in seen:
            seen.add(trunk)
            try:
                page = self.page(trunk)
            except DamagedError:
                break
            count = min(int.from_bytes(page[4:8]), self.usable // 4 - 2)
            seen.update(struct.unpack_from(f">{count}I", page, 8))
            trunk = int.from_bytes(page[:4])
        self.visited |= seen


@contextmanager
def page_file(path: Path) -> Iterator[PageFile]:
    """The pages of a file, and those that its `-wal` file holds of whole transactions.

    SQLite must not have the file open in this process: closing it here would drop its locks.

    Raises:
        OSError: The file cannot be read.
        DamagedError: It is empty.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        try:
            content = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as error:
            raise DamagedError from error
        wal = side_file(path, "-wal")
        log = wal.read_bytes() if wal.is_file() else b""
        page_bytes = _page_bytes(content, log)
        newer = _newer_pages(log, page_bytes)
        header = newer.get(1, bytes(content[:page_bytes]))[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
        sound = header.startswith(MAGIC)
        reserved = header[20] if sound and header[20] < page_bytes - 480 else 0
        encoding = _ENCODINGS.get(int.from_bytes(header[56:60]) if sound else 1, "utf-8")
        yield PageFile(content, newer, page_bytes, page_bytes - reserved, encoding, header if sound else b"\0" * 100)


def _page_bytes(content: Any, log: bytes) -> int:
    if content[: len(MAGIC)] == MAGIC:
        said = int.from_bytes(content[16:18])
        said = 65536 if said == 1 else said
        if said in PAGE_SIZES:
            return said
    if int.from_bytes(log[:4]) in _WAL_MAGIC and int.from_bytes(log[8:12]) in PAGE_SIZES:
        return int.from_bytes(log[8:12])
    return DEFAULT_PAGE_BYTES


def _newer_pages(log: bytes, page_bytes: int) -> dict[int, bytes]:
    """The newest version of each page in a write-ahead log, up to its last whole transaction."""
    order = _WAL_MAGIC.get(int.from_bytes(log[:4]))
    if order is None or len(log) < 32 or int.from_bytes(log[8:12]) != page_bytes:
        return {}
    sums = _checksum(log[:24], order, (0, 0))
    if sums != struct.unpack(">2I", log[24:32]):
        return {}
    salts = log[16:24]
    pages: dict[int, bytes] = {}
    transaction: dict[int, bytes] = {}
    for start in range(32, len(log) - 24 - page_bytes + 1, 24 + page_bytes):
        frame = log[start : start + 24]
        page = log[start + 24 : start + 24 + page_bytes]
        sums = _checksum(page, order, _checksum(frame[:8], order, sums))
        if frame[8:16] != salts or sums != struct.unpack(">2I", frame[16:24]):
            break
        transaction[int.from_bytes(frame[:4])] = page
        if int.from_bytes(frame[4:8]):
            pages.update(transaction)
            transaction = {}
    return pages


def _checksum(content: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    # https://sqlite.org/fileformat2.html, 4.2
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def varint(content: bytes, place: int) -> tuple[int, int]:
    """Decodes SQLite's variable-length integer of one to nine bytes; returns it signed, and the position after it."""
    value = 0
    for length in range(8):
        byte = content[place + length]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + length + 1
    value = value << 8 | content[place + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, place + 9


def _slice(content: bytes, place: int, size: int) -> bytes:
    part = content[place : place + size]
    if len(part) < size:
        raise DamagedError
    return part


def _values(payload: bytes, encoding: str) -> tuple[Any, ...]:
    end, place = varint(payload, 0)
    if not place <= end <= len(payload):
        raise DamagedError
    kinds = []
    while place < end:
        kind, place = varint(payload, place)
        kinds.append(kind)
    values, body = [], end
    for kind in kinds:
        value, body = _value(payload, body, kind, encoding)
        values.append(value)
    if body != len(payload):
        raise DamagedError
    return tuple(values)


def _value(payload: bytes, place: int, kind: int, encoding: str) -> tuple[Any, int]:
    if kind in {0, 8, 9}:
        return (None if kind == 0 else kind - 8), place
    if kind in _INTEGER_BYTES:
        size = _INTEGER_BYTES[kind]
        return int.from_bytes(_slice(payload, place, size), signed=True), place + size
    if kind == 7:
        return struct.unpack(">d", _slice(payload, place, 8))[0], place + 8
    if kind < 12:
        raise DamagedError
    size = (kind - 12) // 2
    content = _slice(payload, place, size)
    return (content.decode(encoding) if kind % 2 else content), place + size
