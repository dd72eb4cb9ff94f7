"""The reference results of the default matrix, which come with bench; nothing ever writes to their file.

A copy of them lies as `results.sqlite` in the repository, so that everything can be tried before anything was trained.
The first run there begins that file anew: what it held is in the file here.
"""

from __future__ import annotations

from pathlib import Path

from benchmark import git_repository, layout
from benchmark.errors import UserError
from benchmark.results.store.location import Location, side_file

RESULTS = Path(__file__).parent.parent / layout.REFERENCE


def is_reference(path: Path | None) -> bool:
    """Whether a database file, which this process does not have open, holds the reference results to the byte."""
    try:
        # the size first: a database of hundreds of megabytes is not read for this
        return (
            path is not None
            and path.stat().st_size == RESULTS.stat().st_size
            and path.read_bytes() == RESULTS.read_bytes()
        )
    except OSError:
        return False


def begin_anew(location: Location) -> bool:
    """Make room for results of one's own where the untouched reference results are.

    Args:
        location: A database that the caller holds the lock of, and that nobody here has open.

    Returns:
        Whether the file held the reference results, and is gone.

    Side effects: where the file is committed, git takes no notice of what takes its place.
    """
    path = location.path
    # a journal beside it means that another program is in the middle of changing it
    if path is None or not is_reference(path) or any(side_file(path, end).exists() for end in ("-wal", "-journal")):
        return False
    git_repository.keep_from_git(path)
    path.unlink()
    return True


def refuse_to_write(location: Location) -> None:
    """Keep the file that comes with bench as it is.

    Raises:
        UserError: The database is that file.
    """
    if location.path is not None and location.path == RESULTS.resolve():
        raise UserError(f"{location.name}: the reference results stay as they are; give another path with --db")
