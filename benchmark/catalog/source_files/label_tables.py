"""Reads the table of labels of a folder of images: which file has which label, in which split and group.

    file,label,split,patient
    scans/1.png,rose,train,p1
    scans/2.png,rose;tulip,test,p2

A CSV file in UTF-8 (tabs where its name ends with `.tsv`), with or without a byte order mark, with any line ends, quoted as
RFC 4180 says. Columns are known by their names, whatever their case and order. `file` is relative to the folder of images;
several labels stand between semicolons; `split` is `train`, `val` or `test`. No image is opened.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmark.catalog.source_files.image_folders import FoundFile, MissingFilesError, composed, some
from benchmark.catalog.source_files.split_names import TEST, TRAIN, VALIDATION, VALIDATION_FOLDERS, sets_of
from benchmark.files import sha256_of

FILE, LABELS, SPLIT = "file", ("label", "labels"), "split"
BETWEEN_LABELS = ";"
_SPLITS_BY_NAME = {TRAIN: TRAIN, **dict.fromkeys(VALIDATION_FOLDERS, VALIDATION), TEST: TEST}
_FIELD_LIMIT = 1 << 20


class LabelTableError(ValueError):
    """A table of labels is not as it should be; the message names file and line."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A table of labels, row by row.

    Attributes:
        path: Of the file.
        columns: As they are written.
        lines: Where each row begins in the file, from 1.
        files: Relative paths of the images.
        labels: Of each image, as they are written.
        splits: Of each image, one of `split_names.SPLITS`; empty where the table has no such column.
        groups: Of each image; empty where no column of groups was asked for.
    """

    path: Path
    columns: tuple[str, ...]
    lines: Sequence[int]
    files: Sequence[str]
    labels: Sequence[tuple[str, ...]]
    splits: Sequence[str]
    groups: Sequence[str]

    @property
    def class_names(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for each in self.labels for label in each})

    @property
    def has_several_labels(self) -> bool:
        """Whether any image has several labels."""
        return any(len(each) > 1 for each in self.labels)

    @property
    def sides(self) -> frozenset[str]:
        """Which of `split_names.SPLITS` there are; the test set is `test`, or `val` where there is none."""
        return sets_of(has_test=TEST in self.splits, has_validation=VALIDATION in self.splits)

    def place(self, row: int) -> str:
        """A row in a message."""
        return f"{self.path}, line {self.lines[row]}"

    def check_labels(self, known: Sequence[str] | None, *, multi_label: bool) -> None:
        """Checks that each label is known, and that each image has one, or as many as it likes.

        Raises:
            LabelTableError: One is not.
        """
        names = None if known is None else set(known)
        for row, labels in enumerate(self.labels):
            if not labels and not multi_label:
                raise LabelTableError(
                    f"{self.place(row)}: expected a label, found none; write one, leave the row out, or set "
                    "multi_label = true where images may have none"
                )
            if names is not None and (unknown := [label for label in labels if label not in names]):
                raise LabelTableError(
                    f"{self.place(row)}: expected labels of class_names ({some(names)}), found {unknown[0]!r}; correct it, or "
                    "add the name to class_names"
                )


def table_path(root: Path, labels_file: str) -> Path:
    """Where the table of labels of a folder lies.

    Raises:
        LabelTableError: The path is absolute.
    """
    if Path(labels_file).is_absolute():
        raise LabelTableError(f"labels_file: expected a path relative to {root}, found the absolute {labels_file}")
    return root / labels_file


def read_label_table(path: Path, group_column: str | None = None) -> LabelTable:
    """Reads a whole table.

    Args:
        path: Of the file.
        group_column: The column of groups to read; None for none.

    Raises:
        OSError: It is not there, or cannot be read.
        LabelTableError: It is no table of labels, or lacks the column of groups.
    """
    columns: tuple[str, ...] = ()
    lines: list[int] = []
    files: list[str] = []
    labels: list[tuple[str, ...]] = []
    splits: list[str] = []
    groups: list[str] = []
    group_place: int | None = None
    places: Mapping[str, int] = {}
    seen: dict[str, int] = {}
    for line, fields in _rows(path):
        if not places:
            columns, places = tuple(fields), _columns(path, fields)
            group_place = None if group_column is None else _group_place(path, fields, group_column)
            continue
        if len(fields) != len(columns):
            raise LabelTableError(
                f"{path}, line {line}: expected {len(columns)} fields, as the first line has, found {len(fields)}; quote fields "
                'that hold commas or quotes ("…")'
            )
        file = _checked_file(path, line, fields[places[FILE]])
        if file in seen:
            raise LabelTableError(
                f"{path}, line {line}: expected each file once, found {file} again (line {seen[file]}); several labels of an image "
                f"stand in one row, separated by {BETWEEN_LABELS}"
            )
        seen[file] = line
        lines.append(line)
        files.append(file)
        labels.append(_labels(fields[places["label"]]))
        if SPLIT in places:
            splits.append(_split(path, line, fields[places[SPLIT]]))
        if group_place is not None:
            groups.append(_group(path, line, fields[group_place], columns[group_place]))
    if not files:
        found = "only the line of column names" if places else "an empty file"
        raise LabelTableError(f"{path}: expected a row for each image, found {found}")
    return LabelTable(path, columns, lines, files, labels, splits, groups)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row that is not empty, the names of the columns first."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader, begin = csv.reader(file, delimiter=delimiter, strict=True), 1
            for fields in reader:
                stripped = [field.strip() for field in fields]
                if any(stripped):
                    yield begin, stripped
                begin = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise LabelTableError(
            f"{path}: expected text in UTF-8, found other bytes ({error.reason}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise LabelTableError(
            f"{path}, line {begin}: expected a row of a CSV file, found {error}; quote fields as RFC 4180 says"
        ) from error
    finally:
        csv.field_size_limit(before)


def _columns(path: Path, names: Sequence[str]) -> Mapping[str, int]:
    """Places of the columns that every table has, by `file`, `label` and, where it is there, `split`."""
    lower = [name.lower() for name in names]
    twice = [name for name, count in Counter(lower).items() if count > 1]
    places = {name: lower.index(name) for name in (FILE, SPLIT) if name in lower}
    labels = [name for name in LABELS if name in lower]
    missing = [name for name in (FILE,) if name not in places] + ([] if labels else ["label"])
    if twice or missing or len(labels) > 1:
        found = ", ".join(names)[:300]
        cure = ""
        if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
            cure = "; separate columns by commas"
        wrong = (
            f"{twice[0]} twice"
            if twice
            else "both label and labels"
            if len(labels) > 1
            else f"no {' and no '.join(missing)}"
        )
        raise LabelTableError(
            f"{path}, line 1: expected the columns file and label (or labels), and maybe split, found {wrong} among: {found}{cure}"
        )
    return {**places, "label": lower.index(labels[0])}


def _group_place(path: Path, names: Sequence[str], column: str) -> int:
    lower = [name.lower() for name in names]
    if column.lower() not in lower:
        raise LabelTableError(
            f"{path}, line 1: expected the column {column}, which `groups` names, found {', '.join(names)[:300]}"
        )
    return lower.index(column.lower())


def _checked_file(path: Path, line: int, file: str) -> str:
    if not file:
        raise LabelTableError(f"{path}, line {line}: expected the name of a file, found none")
    pure = PurePosixPath(file)
    if pure.is_absolute() or ".." in pure.parts or "\0" in file:
        raise LabelTableError(
            f"{path}, line {line}: expected a path below the folder of images, found {file[:200]!r}; absolute paths and `..` are "
            "refused"
        )
    return str(pure)


def _labels(text: str) -> tuple[str, ...]:
    parts = (composed(part.strip()) for part in text.split(BETWEEN_LABELS))
    return tuple(dict.fromkeys(part for part in parts if part))


def _split(path: Path, line: int, text: str) -> str:
    split = _SPLITS_BY_NAME.get(text.lower())
    if split is None:
        raise LabelTableError(f"{path}, line {line}: expected train, val or test as split, found {text[:100]!r}")
    return split


def _group(path: Path, line: int, text: str, column: str) -> str:
    if not text:
        raise LabelTableError(f"{path}, line {line}: expected a value of {column}, the column of groups, found none")
    return composed(text)


def listed_files(root: Path, table: LabelTable) -> list[FoundFile]:
    """The images of a table as they lie in the folder, in its order.

    Raises:
        MissingFilesError: Some are not there.
    """
    images: list[FoundFile] = []
    missing = []
    for row, file in enumerate(table.files):
        place = os.path.join(root, file)  # noqa: PTH118  a hundred thousand times
        try:
            status = os.stat(place)  # noqa: PTH116
            images.append(FoundFile(place, file, status.st_size, status.st_mtime_ns))
        except OSError as error:
            missing.append((row, file, error))
    if missing:
        row, file, problem = missing[0]
        more = f" ({len(missing) - 1:,} more are missing)" if len(missing) > 1 else ""
        raise MissingFilesError(
            f"{table.place(row)}: expected the image {file} in {root}, found {problem.strerror or 'nothing'}{_near(root, file)}; "
            f"bring it, or leave the row out{more}"
        )
    return images


def _near(root: Path, file: str) -> str:
    """A file there whose name differs in case alone, in a message."""
    place = root / file
    try:
        there = [name for name in os.listdir(place.parent) if name.lower() == place.name.lower()]  # noqa: PTH208
    except OSError:
        return ""
    return f"; there is {there[0]}" if there else ""


def table_state(root: Path, labels_file: str) -> str:
    """A digest of the content of the table, and of the sizes and times of the images that it lists; nothing is decoded.

    Raises:
        OSError: The table is missing, or cannot be read.
    """
    path = root / labels_file
    parts = [path.read_bytes()]
    try:
        files = read_label_table(path).files
    except LabelTableError:
        files = []  # it is said when the images are prepared
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))  # noqa: PTH116, PTH118
            parts.append(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            parts.append(b"absent\n")
    return sha256_of(b"".join(parts))
