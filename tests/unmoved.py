"""What must stay when files move: the commands whose answers `test_unmoved.py` holds, and how they are asked.

Everything goes through the command line, many commands in one process of their own to save its start. That process
sees no GPU but invented ones, every backend, no cache, no home folder, and a terminal of a given width.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import lzma
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reporting_samples import without_code
from unmoved_matrices import COUNT, ON_GPUS, PLUGIN, Matrix

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).with_name("fixtures") / "unmoved"
DATABASE = GOLDEN / "results.sqlite.xz"
"""The reference results as they were committed when these tests were begun, by the first schema; never made again."""

CELL = "aac72af960609ea75820"
VIEWS = ("results", "history", "predictions", "looks")


@dataclass(frozen=True)
class Answer:
    code: int
    stdout: str
    stderr: str


def environment(folder: Path, gpus: str = "") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "CLICOLOR"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "backends")]),
        "BENCH_TESTING": "1",
        "BENCH_TEST_GPUS": gpus,
        "BENCH_MACHINE": "reference",
        "BENCH_CACHE": str(folder / "cache"),
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


def ask(folder: Path, commands: Sequence[Sequence[str]], *, columns: int = 100, gpus: str = "") -> list[Answer]:
    """The answers of commands that one process is given one after the other, in this folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        input=json.dumps([list(command) for command in commands]),
        cwd=folder,
        env={**environment(folder, gpus), "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(**answer) for answer in json.loads(done.stdout)]


def answer_all() -> None:
    """The process of `ask`."""
    from click.testing import CliRunner

    from benchmark.cli.main import bench

    assert Path(str(sys.modules["benchmark"].__file__)).is_relative_to(ROOT), "another checkout is asked"
    answers = []
    for command in json.load(sys.stdin):
        done = CliRunner().invoke(bench, command, prog_name="bench")
        answers.append(asdict(Answer(done.exit_code, done.stdout, done.stderr)))
    json.dump(answers, sys.stdout)


def furnish(folder: Path) -> Path:
    """A folder with the matrix, the reference results, and modules by which every backend counts as installed."""
    for name in ("jax", "torch"):
        (folder / "backends" / name).mkdir(parents=True)
        (folder / "backends" / name / "__init__.py").touch()
    shutil.copy(ROOT / "matrix.toml", folder)
    database = folder / "results.sqlite"
    database.write_bytes(lzma.decompress(DATABASE.read_bytes()))
    from benchmark.results.store.upgrade import upgrade_database

    kept = upgrade_database(database).backup
    if kept is not None:
        kept.unlink()
    return folder


def digest(text: str, digits: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def steady(text: str, folder: Path) -> str:
    """A text without the place where it came about, and without the last digits of what other libraries computed."""
    text = text.replace(str(folder.resolve()), "FOLDER").replace(str(folder), "FOLDER")
    text = re.sub(r'"created_utc": "[^"]*"', '"created_utc": "NOW"', text)
    text = without_code(re.sub(r"<time .*</time>", "<time>NOW</time>", text))
    return re.sub(r"\d+\.\d{12,}(e[-+]?\d+)?", lambda found: f"{float(found[0]):.12g}", text)


_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)")
_LONG = 11
"""Characters from which on a number is a result of floating point, written out."""


def in_digits_of(text: str, expected: str) -> str:
    """A text with the numbers of another where they differ in their last digits alone.

    Those digits follow from the instructions that libraries find on a processor, and rounding cannot take them away: some
    number always lies where it rounds to either side.
    """
    words = _NUMBER.split(text)
    for at, (ours, theirs) in enumerate(zip(words, _NUMBER.split(expected), strict=False)):
        is_long = at % 2 == 1 and max(len(ours), len(theirs)) >= _LONG
        if is_long and math.isclose(float(ours), float(theirs), rel_tol=1e-10, abs_tol=1e-12):
            words[at] = theirs
    return "".join(words)


# ---- cells


def random_plans(folder: Path) -> dict[str, dict[str, Any]]:
    """What each of the random matrices comes to."""
    (folder / "my_models.py").write_text(PLUGIN)
    commands, texts = {}, {}
    for number in range(COUNT):
        matrix = Matrix(number)
        (folder / f"{number}.toml").write_text(matrix.text, encoding="utf-8")
        texts[number] = matrix.text + "".join(matrix.options)
        commands[number] = ["--matrix", f"{number}.toml", *matrix.options]
    found = {}
    for numbers, gpus in ((range(ON_GPUS), ""), (range(ON_GPUS, COUNT), "First,Second")):
        asked = [_plan(*commands[number]) for number in numbers]
        for number, answer in zip(numbers, ask(folder, asked, gpus=gpus), strict=True):
            found[str(number)] = {"text": digest(texts[number], 12), **_planned(answer)}
    return found


LATER_PRESETS = {"resnet18-transfer-lightning"}
"""Presets that came after these tests were begun."""


def named_plans(folder: Path) -> dict[str, dict[str, Any]]:
    """What the committed matrix and every preset come to."""
    (listed,) = ask(folder, [["list", "presets", "--format", "json"]])
    presets = [row["name"] for row in json.loads(listed.stdout) if row["name"] not in LATER_PRESETS]
    written = ask(folder, [["init", "--preset", name, "--matrix", f"{name}.toml"] for name in presets])
    assert {answer.code for answer in written} == {0}
    files = {"matrix.toml": "matrix.toml", **{name: f"{name}.toml" for name in presets}}
    answers = ask(folder, [_plan("--matrix", file) for file in files.values()])
    return {
        name: {"text": digest((folder / files[name]).read_text(encoding="utf-8"), 12), **_planned(answer)}
        for name, answer in zip(files, answers, strict=True)
    }


def _plan(*options: str) -> list[str]:
    return ["plan", "--format", "json", "--db", "none.sqlite", *options]


DECIDED = ("will_run", "decision", "reason")
"""What becomes of a cell is said in other words than when these tests were begun; `test_decisions.py` holds it."""


def _planned(answer: Answer) -> dict[str, Any]:
    """Cells and how many were left out; `plan` stands for all else that was said of them."""
    if answer.code:
        return {"code": answer.code, "plan": digest(answer.stderr)}
    document = json.loads(answer.stdout)
    cells = [
        {key: value for key, value in cell.items() if not key.startswith("forecast") and key not in DECIDED}
        for cell in document["cells"]
    ]
    notes = [note for note in document["notes"] if "this machine's" not in note]
    said = [document["name"], document["counts"], cells, document["left_out"], notes]
    return {
        "cells": [cell["cell_id"] for cell in cells],
        "left_out": len(document["left_out"]),
        "plan": digest(json.dumps(said, sort_keys=True)),
    }


# ---- what is said of the reference results

OUTPUTS: dict[str, list[str]] = {
    "report.txt": ["report"],
    "report.md": ["report", "--format", "markdown"],
    "report.html": ["report", "--format", "html", "--table", "summary", "--table", "transfer"],
    "report.csv": ["report", "--format", "csv"],
    "report.json": ["report", "--format", "json"],
    "report.tex": ["report", "--format", "latex"],
    "report_classes.txt": ["report", "--table", "classes", "--table", "confusion", "--select", "model=simple_cnn"],
    "report_selected.txt": ["report", "--select", "model=resnet*", "--exclude", "seed=2", "--table", "summary"],
    "compare.txt": ["compare", "strategy=scratch", "strategy=regularized"],
    "compare.json": ["compare", "strategy=v2", "strategy=v4", "--format", "json"],
    "list_runs.txt": ["list", "runs"],
    "list_runs.json": ["list", "runs", "--format", "json"],
    "list_cells.txt": ["list", "cells"],
    "list_cells.csv": ["list", "cells", "--format", "csv", "--select", "strategy=v*,seed=0"],
    "list_datasets.txt": ["list", "datasets"],
    "list_models.json": ["list", "models", "--format", "json"],
    "list_presets.txt": ["list", "presets"],
    "list_strategies.json": ["list", "strategies", "--format", "json"],
    "show.csv": ["show", CELL, "--format", "csv"],
    "status.txt": ["status"],
    "status.json": ["status", "--format", "json"],
    "query.txt": ["query", "select model, count(*), avg(test_accuracy) as accuracy from results group by model"],
    "query.csv": [
        "query",
        "--format",
        "csv",
        "select * from results where seed = 0 and strategy = 'scratch' order by cell_id",
    ],
    "query.json": ["query", "--format", "json", f"select * from history where cell_id = '{CELL}' order by epoch"],
}
REHEARSAL = """\
[matrix]
dataset = "digits_high"
model = "simple_cnn"
strategy = ["scratch", "from_low_digits", "two_steps"]
seed = [0, 1]
backend = "fake"

[defaults]
epochs = 3

[strategy.two_steps]
[[strategy.two_steps.stage]]
train = "head"
[[strategy.two_steps.stage]]
epochs = 2
"""
WIDE = {
    "show.txt": ["show", CELL],
    "show.json": ["show", "strategy=v4,seed=1", "--format", "json"],
}
"""Answers with paths in them, which nothing may wrap."""


def outputs(folder: Path) -> dict[str, str]:
    found = {}
    for commands, columns in ((OUTPUTS, 100), (WIDE, 1000)):
        for name, answer in zip(commands, ask(folder, list(commands.values()), columns=columns), strict=True):
            assert answer.code == 0, f"{name}: {answer.stderr}"
            found[name] = steady(answer.stdout, folder)
    return found


def rehearsed(folder: Path) -> str:
    """Every epoch that a run records of cells that train nothing: the scheduler and its processes, without Keras."""
    (folder / "rehearsal.toml").write_text(REHEARSAL)
    columns = "cell_id, strategy, seed, stage, epoch, train_loss, train_accuracy, val_loss, val_accuracy"
    question = f"select {columns} from history order by cell_id, epoch"
    run = ["run", "--matrix", "rehearsal.toml", "--db", "rehearsal.sqlite"]
    answers = ask(folder, [run, ["query", question, "--db", "rehearsal.sqlite", "--format", "csv"]])
    assert [answer.code for answer in answers] == [0, 0], answers[0].stderr
    return steady(answers[-1].stdout, folder)


def views(database: Path) -> dict[str, dict[str, Any]]:
    """Columns and rows of the views that are the contract, read as their users read them."""
    found = {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for view in VIEWS:
            cursor = connection.execute(f"select * from {view}")
            rows = sorted(map(repr, cursor.fetchall()))
            columns = [column for column, *_ in cursor.description]
            found[view] = {"columns": columns, "rows": len(rows), "sha256": digest("\n".join(rows), 64)}
    return found


def schema(database: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return sorted(connection.execute("select type, name, coalesce(sql, '') from sqlite_schema"))


# ---- how commands end

MISTAKES: dict[str, list[str]] = {
    "all good": ["report"],
    "help": ["--help"],
    "version": ["--version"],
    "nothing asked": [],
    "an unknown command": ["rum"],
    "an unknown option": ["plan", "--formt", "json"],
    "an unknown choice": ["report", "--format", "pdf"],
    "an unknown table": ["report", "--table", "summery"],
    "a matrix with typos": ["plan", "--matrix", "typo.toml"],
    "a matrix that is no TOML": ["plan", "--matrix", "torn.toml"],
    "a matrix that is not there": ["plan", "--matrix", "none.toml"],
    "a matrix of which nothing is left": ["plan", "--exclude", "seed=0|1|2"],
    "a matrix that may not leave out": ["plan", "--matrix", "strict.toml"],
    "an unknown setting in --set": ["plan", "--set", "epocs=3"],
    "an unknown key in --select": ["plan", "--select", "modl=x"],
    "a plug-in without consent": ["run", "--matrix", "plugin.toml", "--db", "none.sqlite"],
    "init over a file": ["init"],
    "an unknown preset": ["init", "--preset", "defualt", "--matrix", "new.toml"],
    "report without a database": ["report", "--db", "none.sqlite"],
    "status without a database": ["status", "--db", "none.sqlite"],
    "a report of nothing": ["report", "--select", "seed=99"],
    "a report of another machine": ["report", "--machine", "elsewhere"],
    "a report over the database": ["report", "--output", "results.sqlite"],
    "a run that is not there": ["status", "--run", "99"],
    "an unknown cell": ["show", "ffff"],
    "a cell of several": ["show", "strategy=scratch"],
    "why of an unknown cell": ["why", "ffff"],
    "comparing with nothing": ["compare", "strategy=scratch", "strategy=nothing"],
    "a comparison that fails a build": ["compare", "strategy=v2", "strategy=scratch", "--fail-if", "worse"],
    "a comparison that fails no build": ["compare", "strategy=scratch", "strategy=v2", "--fail-if", "worse"],
    "a query that writes": ["query", "delete from epoch"],
    "two queries": ["query", "select 1; select 2"],
    "a query with a typo": ["query", "selec 1"],
    "a query for nothing": ["query", "select * from results where seed = 99"],
    "a text for a database": ["report", "--db", "text.sqlite"],
    "a plan beside a text for a database": ["plan", "--db", "text.sqlite"],
    "half a database": ["report", "--db", "half.sqlite"],
    "checking half a database": ["db", "check", "--db", "half.sqlite"],
    "a newer schema": ["report", "--db", "newer.sqlite"],
    "running with a newer schema": ["run", "--matrix", "fake.toml", "--db", "newer.sqlite"],
    "upgrading a newer schema": ["db", "upgrade", "--db", "newer.sqlite"],
    "nothing to upgrade": ["db", "upgrade"],
    "a check without its artifacts": ["db", "check", "--db", "reference.sqlite"],
    "a backup over a file": ["db", "backup", "text.sqlite"],
    "merging what is not there": ["db", "merge", "new.sqlite", "none.sqlite"],
    "salvaging what is not there": ["db", "salvage", "none.sqlite", "new.sqlite"],
}
HELD: dict[str, list[str]] = {
    "running while another run holds the database": ["run", "--matrix", "fake.toml"],
    "upgrading while another run holds the database": ["db", "upgrade"],
    "reading while another run holds the database": ["report"],
}
FAKE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n'
TYPO = """\
[matrix]
dataset = "digit"
model = ["simple_cnn", "resnet81"]
strategy = "scratch"
epoch = 3

[defaults]
optimizer = "adm"
"""
STRICT = '[matrix]\non_invalid = "error"\ndataset = "mnist"\nmodel = "vgg16"\nstrategy = "scratch"\n'
OWN = """\
[matrix]
dataset = "digits"
model = "my_net"
strategy = "scratch"

[plugins]
models = ["my_models.py"]

[model.my_net]
architecture = "plugin:my_net"
"""


def ends(folder: Path) -> dict[str, dict[str, Any]]:
    """The exit code of each of `MISTAKES`, and what is said on stderr."""
    (folder / "my_models.py").write_text(PLUGIN)
    texts = {"typo.toml": TYPO, "torn.toml": "[matrix\n", "strict.toml": STRICT, "plugin.toml": OWN, "fake.toml": FAKE}
    for name, text in {**texts, "text.sqlite": "not a database, and long enough to be one\n" * 20}.items():
        (folder / name).write_text(text)
    shutil.copy(ROOT / "benchmark" / "results" / "reference.sqlite", folder)
    whole = (folder / "results.sqlite").read_bytes()
    (folder / "half.sqlite").write_bytes(whole[: len(whole) // 2])
    (folder / "newer.sqlite").write_bytes(whole)
    with contextlib.closing(sqlite3.connect(folder / "newer.sqlite")) as connection:
        connection.execute("pragma user_version = 99")
    answers = ask(folder, list(MISTAKES.values()), columns=1000)
    found = {
        name: {"code": answer.code, "stderr": steady(answer.stderr, folder).splitlines()}
        for name, answer in zip(MISTAKES, answers, strict=True)
    }
    with (folder / "results.sqlite.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answers = ask(folder, list(HELD.values()))
    return found | {name: {"code": answer.code} for name, answer in zip(HELD, answers, strict=True)}


# ---- the golden files


def dump(records: Mapping[str, Mapping[str, Any]], keys: Iterable[str] = ()) -> str:
    """JSON with a line for each record, of which only these keys are kept."""
    wanted = set(keys)
    lines = (
        f"{json.dumps(name, ensure_ascii=False)}: "
        + json.dumps(
            {key: value for key, value in record.items() if not wanted or key in wanted},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for name, record in records.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    answer_all()
