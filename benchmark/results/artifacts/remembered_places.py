"""The places of artifacts that a database remembers: a folder of each computer, or one URL for all of them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from benchmark import machine
from benchmark.results.schema.tables import artifact_folder

EVERY_HOST = "*"
"""In the place of a host's name, where the artifacts of all lie below one URL."""


def remembered(connection: sa.Connection) -> dict[str, str]:
    """The places that a database has had, by host; a URL stands for `EVERY_HOST`."""
    rows = connection.execute(sa.select(artifact_folder.c.host, artifact_folder.c.path))
    return dict(tuple(row) for row in rows)


def remembered_folder(connection: sa.Connection) -> Path | None:
    """The folder that this computer has had for a server's database; None where it has none, or it is gone."""
    path = remembered(connection).get(machine.default_machine_name())
    return Path(path) if path is not None and Path(path).is_dir() else None


def remember(connection: sa.Connection, host: str, path: str) -> None:
    """Notes the place that a host, or every one, has from now on."""
    places = remembered(connection)
    if places.get(host) == path and (host == EVERY_HOST or EVERY_HOST not in places):
        return
    connection.execute(artifact_folder.delete().where(artifact_folder.c.host.in_([host, EVERY_HOST])))
    connection.execute(artifact_folder.insert().values(host=host, path=path))
