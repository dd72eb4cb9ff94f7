"""A folder with a matrix of the fake backend, and the command line in it: what tests of several commands share."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parent.parent

MATRIX = """
[matrix]
name = "rehearsal"
dataset = "digits"
model = ["simple_cnn", "net[/]"]
strategy = ["scratch", "regularized"]
seed = [0, 1, 2]
backend = "fake"

[defaults]
epochs = 4

[model."net[/]"]
extends = "simple_cnn"
filters = [8, 8]

[[matrix.include]]
dataset = "digits_high"
model = "simple_cnn"
strategy = "from_low_digits"
seed = 0

[[matrix.include]]
dataset = "digits"
model = "vgg16"
strategy = "scratch"
seed = 0

[report]
progression = [["scratch", "regularized"]]
"""


@dataclass
class Workplace:
    """A folder to work in; `run` starts a real process, `call` stays in this one."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "CLICOLOR"))}
        return {
            **kept,
            "BENCH_TESTING": "1",
            "BENCH_MACHINE": "tester",
            "BENCH_CACHE": str(self.directory / "cache"),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    def write(self, text: str, name: str = "matrix.toml") -> None:
        (self.directory / name).write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "benchmark", *arguments]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def call(self, *arguments: str, **variables: str) -> Result:
        from benchmark.cli.main import bench

        before, argv = Path.cwd(), sys.argv
        os.chdir(self.directory)
        sys.argv = ["bench", *arguments]
        try:
            return CliRunner(env={**self.environment, **variables}).invoke(bench, arguments, prog_name="bench")
        finally:
            os.chdir(before)
            sys.argv = argv

    def document(self, *arguments: str) -> Any:
        done = self.call(*arguments, "--format", "json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def children_seconds() -> float:
    """Processor time of the ended children of this process: as long as they take on an idle machine, whatever runs beside."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it said."""

    exit_code: int
    stdout: str
    stderr: str


_TYPED = """
import json, sys
from click.testing import CliRunner
from benchmark.cli.main import bench
answers = [CliRunner().invoke(bench, words, prog_name="bench") for words in json.loads(sys.argv[1])]
json.dump([[answer.exit_code, answer.stdout, answer.stderr] for answer in answers], sys.__stdout__)
"""


def typed(folder: Path, environment: dict[str, str], *commands: Sequence[str]) -> list[Answer]:
    """Gives commands one after the other to one process with this environment, which need not be of this version."""
    program = [sys.executable, "-c", _TYPED, json.dumps(commands)]
    done = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*parts) for parts in json.loads(done.stdout)]


def finished_place(folder: Path, matrix: str) -> Workplace:
    """A folder in which a matrix has been run."""
    place = Workplace(folder)
    place.write(matrix)
    done = place.call("run")
    assert done.exit_code == 0, done.stderr
    return place


def copied_place(finished: Workplace, folder: Path) -> Workplace:
    """The same in another folder, to be changed."""
    shutil.copytree(finished.directory, folder, dirs_exist_ok=True)
    return Workplace(folder)
