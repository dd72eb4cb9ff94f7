"""URLs as places for artifacts: which ones can be, and what the user can do when one cannot be used."""

from __future__ import annotations

import re

from benchmark.errors import UserError
from benchmark.text import one_line, without_passwords

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PACKAGES = {
    "s3": "'benchmark-matrix[s3]'",
    "s3a": "'benchmark-matrix[s3]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
}
_NO_PLACE = frozenset(
    {"memory", "reference", "zip", "tar", "libarchive", "git", "github", "data", "local", "http", "https"}
)
"""Of one process, or never written."""


def is_url(place: str) -> bool:
    """Whether a place for artifacts is a URL, and not the path of a folder."""
    return _URL.match(place) is not None


def checked_url(url: str) -> str:
    """The URL as it is used and recorded, without a slash at its end.

    Raises:
        UserError: Other computers could not read there, it holds a password, or the package for it is missing.
    """
    protocol, _, rest = url.partition("://")
    if "::" in url or "?" in url or not rest.strip("/"):
        # what follows a question mark may be a key
        shown = _shown(url.partition("?")[0])
        raise UserError(f"--artifacts: expected a folder or a URL such as s3://bucket/folder, alone, got {shown}")
    if "@" in rest.partition("/")[0] and protocol not in {"abfs", "abfss"} and ":" in rest.partition("@")[0]:
        raise UserError(
            f"--artifacts: expected a URL without a password, got {protocol}://…@{_shown(rest.partition('@')[2])}. Give the "
            "credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or in the files of the library"
        )
    if protocol in _NO_PLACE:
        raise UserError(
            f"--artifacts: expected a place that all processes of a run can write, got {_shown(url)}; name a folder, or "
            "a URL such as s3://bucket/folder"
        )
    try:
        import fsspec
    except ImportError as error:
        raise UserError(
            f"--artifacts {_shown(url)}: needs the package fsspec. Install it with: pip install "
            f"{_PACKAGES.get(protocol, 'fsspec')}"
        ) from error
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise UserError(
            f"--artifacts: expected a folder or a URL of a kind that fsspec knows, such as s3://bucket/folder; got {_shown(url)}"
        ) from None
    except ImportError as error:
        package = _PACKAGES.get(protocol, f"the package that fsspec names: {one_line(str(error))}")
        raise UserError(
            f"--artifacts {_shown(url)}: the package for {protocol}:// is not installed. Install it with: "
            f"pip install {package}"
        ) from error
    return url.rstrip("/")


def cure_for(error: Exception, url: str) -> str | None:
    """What the user can do where trying again would not help; None for what may pass."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, PermissionError) or "Credential" in kind or "Forbidden" in text or "AccessDenied" in text:
        return (
            "Give every computer of the run credentials that may list, read, write and delete there: for s3:// "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, or a role"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if "://" in url and "bucket" in text.lower():
            return f"Make the bucket {url.partition('://')[2].partition('/')[0]}, or name another one with --artifacts"
        return "What is not there may have been deleted, or cannot be made; name another place with --artifacts"
    if isinstance(error, NotImplementedError | ValueError | TypeError):
        return "Name a place with --artifacts that can be written"
    return None


def _shown(text: str) -> str:
    return one_line(without_passwords(text))[:200]
