"""What git says of the repository around a folder; it is only read but for one mark in its index."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_state(directory: Path, *, apart_from: Path | None = None) -> tuple[str | None, bool | None]:
    """The commit of the repository around `directory`, and whether tracked files differ from it; None outside of one.

    Args:
        directory: Some folder, in a repository or not.
        apart_from: A file that may differ: the database of a run is no code, also when it was committed.

    Side effects: runs `git` twice, read-only; no network.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return None, None
    paths = [":/"]
    if apart_from is not None and apart_from.is_relative_to(directory.resolve()):
        paths.append(f":(exclude,literal){apart_from.relative_to(directory.resolve())}")
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no", "--", *paths)
    return commit, None if changes is None else bool(changes)


def commits_between(directory: Path, first: str, last: str) -> list[str]:
    """The first lines of the commits that `last` has and `first` has not, newest first; none where git does not know both.

    Side effects: runs `git`, read-only; no network.
    """
    listed = _git(directory, "log", "--format=%h %s", "--end-of-options", f"{first}..{last}", "--")
    return listed.splitlines() if listed else []


def keep_from_git(path: Path) -> None:
    """Has git take no notice of what becomes of a committed file here; nothing happens where it is none.

    Side effects: runs `git`, which sets the mark `skip-worktree` in the index of the repository.
    """
    _git(path.parent, "update-index", "--skip-worktree", "--", path.name)


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
