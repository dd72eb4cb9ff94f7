"""Tells files whose content git-annex, Git LFS or DVC keeps elsewhere, until it is fetched."""

from __future__ import annotations

from pathlib import Path

DVC = ".dvc"
"""Ending of a file that stands beside, or in the place of, data which DVC keeps elsewhere (https://dvc.org)."""

_ANNEX = "/annex/objects/"
_POINTERS = {_ANNEX: ("git-annex", "git annex get"), "version https://git-lfs": ("Git LFS", "git lfs pull")}
"""What stands at the beginning of a small file that only says where its content is kept: by whom, and what fetches it."""


def absence_of(path: Path, what: str) -> str | None:
    """Says who keeps the content of a file that is not here, and what fetches it; None where that is not known.

    Args:
        path: Of the file, with links resolved; it need not exist.
        what: What the file should be, such as `picture`.
    """
    if not path.exists():
        if _ANNEX in str(path):
            return "git-annex keeps it elsewhere; `git annex get` fetches it"
        return "DVC keeps it elsewhere; `dvc pull` fetches it" if path.with_name(path.name + DVC).exists() else None
    try:
        with path.open("rb") as file:
            start = file.read(200).decode("latin-1")
    except OSError:
        return None
    keepers = (keeper for mark, keeper in _POINTERS.items() if mark in start)
    return next(
        (f"a pointer of {name} in the {what}'s place; `{command}` fetches it" for name, command in keepers), None
    )
