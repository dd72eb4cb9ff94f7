"""The security table, row by row and mostly from the outside: data never becomes code, markup, a path or SQL."""

from __future__ import annotations

import contextlib
import html.parser
import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import Workplace
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_until

from benchmark.reporting.writers.formats import FORMATS

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "</table><h1>x", "<!-- x",
    "javascript:alert(1)", "[x](javascript:alert(1))", "![x](http://evil.example/x.png)", "http://evil.example",
    "&lt;b&gt;", '"><script>x</script>', "' onmouseover='x", "a|b", "`code`", "**bold** _em_", "# heading", "=1+1",
    "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "../../x", "/etc/passwd", "..", "CON", "nul.txt", "trailing.", "C:\\x",
    "x" * 200, "👨‍👩‍👧‍👦", "日本語モデル", "\u202egpj.exe", "\u2066x\u2069", "e\u0301" * 20, "[bold]x[/bold]", "net[/]", ":smile:",
    "$lr_{x$", "\\input{x} \\write18{id}", "%s{0}%n", "'; DROP TABLE run; --", '" OR 1=1 --', "Robert');--", "a,b;c",
    "*", "seed=0", "--help", "os.system",
]  # fmt: skip
CONTROLS = ["\x1b[31mred\x1b[0m", "\x1b]8;;http://evil\x07x", "\x9b31m", "a\nb", "a\rb", "\x00", "\x07", "a\u2028b"]

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
DECEIVING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def hostile_matrix() -> str:
    """Every hostile name as that of a dataset, a model and a strategy, and as a label, of one cell each."""
    parts = ['[matrix]\nname = "<b>[red]\u202ematrix"\nbackend = "fake"', "[defaults]\nepochs = 1"]
    for number, name in enumerate(HOSTILE):
        text = toml(name)
        parts += [
            f"[[matrix.include]]\ndataset = {text}\nmodel = {text}\nstrategy = {text}\nseed = [0, 1]",
            f'[dataset.{text}]\nextends = "digits"\ntrain_examples = {100 + number}',
            f'[model.{text}]\nextends = "simple_cnn"',
            f'[strategy.{text}]\nextends = "scratch"\nlabel = {text}',
        ]
    names = ", ".join(map(toml, HOSTILE[:6]))
    parts.append(f"[report]\nprogression = [[{names}]]")
    return "\n\n".join(parts) + "\n"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Workplace:
    """A finished run of cells with hostile names, on a machine and under a run name that are no better."""
    place = Workplace(tmp_path_factory.mktemp("place") / "inner")
    place.directory.mkdir()
    place.write(hostile_matrix())
    done = place.run("run", "--name", "<script>[/]\u202e", BENCH_MACHINE="<i>mach[/]ine</i>")
    assert done.returncode == 0, done.stderr[-2000:]
    assert_harmless(done.stdout + done.stderr)
    return place


def assert_harmless(text: str, *, exact: bool = False) -> None:
    """Nothing that steers a terminal, and in texts for people nothing that turns their direction."""
    assert not STEERING.search(text), ascii(STEERING.search(text)[0])
    assert exact or not DECEIVING.search(text)


FORGED = "\nerror: results.sqlite is damaged\x1b[2J\u202e"


@pytest.fixture(scope="module")
def forging(tmp_path_factory) -> Workplace:
    """A finished run in a folder, of a database, a machine and a run whose names try to write a line of their own."""
    place = Workplace(tmp_path_factory.mktemp("place") / f"inner{FORGED}")
    place.directory.mkdir()
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\nseed = [0, 1]\n'
    )
    done = place.run("run", "--db", f"x{FORGED}.sqlite", "--name", f"n{FORGED}", BENCH_MACHINE=f"m{FORGED}")
    assert done.returncode == 0, done.stderr
    assert_no_forged_line(done.stdout + done.stderr)
    return place


def assert_no_forged_line(text: str) -> None:
    assert not re.search(r"^error: results\.sqlite", text, flags=re.MULTILINE), text
    assert_harmless(text)


FORGED_COMMANDS = [
    ("plan",), ("status",), ("why", "seed=0"), ("show", "seed=0"), ("list", "cells"), ("list", "runs"), ("report",),
    ("report", "--select", "model=nope"), ("report", "--machine", f"q{FORGED}"), ("compare", "seed=0", "seed=1"), ("db", "check"),
    ("gc",), ("doctor",), ("query", "select * from results"), ("query", f"select '{FORGED}'"), ("show", f"model={FORGED}"),
    ("plan", "--matrix", f"gone{FORGED}.toml"), ("plan", "--set", f"x{FORGED}=1"), ("plan", "--select", f"model={FORGED}"),
    ("db", "salvage", f"x{FORGED}.sqlite", f"gone{FORGED}/x"), ("predict", "seed=0", f"gone{FORGED}.png"), (FORGED,),
    ("db", "backup", f"x{FORGED}"), ("report", "--output", f"gone{FORGED}/x.md"), ("show", f"abcd{FORGED}"), ("run", "--jobs", FORGED),
    ("db", "merge", f"gone{FORGED}.sqlite"), ("report", "--check", f"gone{FORGED}.md"), ("explain", "seed=0", f"gone{FORGED}.png"),
    ("prepare", "--matrix", f"gone{FORGED}.toml"), ("init", "--matrix", f"gone{FORGED}/m.toml"), ("reproduce", f"abcd{FORGED}"),
]  # fmt: skip


@pytest.mark.parametrize("command", FORGED_COMMANDS, ids=lambda words: ascii(" ".join(words[:2])))
def test_no_name_writes_a_line_of_its_own(forging, command, monkeypatch):
    monkeypatch.setenv("BENCH_DB", f"x{FORGED}.sqlite")
    done = forging.call(*command)
    assert done.exit_code in {0, 2, 3, 4}, done.stderr
    assert_no_forged_line(done.stdout + done.stderr)


def call(place: Workplace, *arguments: str):
    done = (
        place.call(*arguments, "--machine", "<i>mach[/]ine</i>") if takes_machine(arguments) else place.call(*arguments)
    )
    assert "Traceback" not in done.stderr
    return done


def takes_machine(arguments: tuple[str, ...]) -> bool:
    return arguments[0] in {"plan", "list", "show", "report", "why"} and arguments[:2] != ("list", "runs")


# ---- names, through every command and format


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["status"],
        ["list", "cells"],
        ["list", "runs"],
        ["query", "select * from results"],
        ["gc"],
        ["db", "check"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("output_format", ["table", "json", "csv"])
def test_names_stay_names_in_every_listing(hostile, arguments, output_format):
    done = call(hostile, *arguments, "--format", output_format)
    assert done.exit_code == 0, done.stderr
    assert_harmless(done.stdout, exact=output_format != "table")
    assert_harmless(done.stderr)
    if arguments[0] in {"plan", "list", "query"} and arguments[1:] != ["runs"]:
        assert "net[/]" in done.stdout
        assert "[bold]x[/bold]" in done.stdout
    if output_format == "csv":
        assert not re.search(r'(^|,)"?[=+@]', done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_cell_of_any_name_can_be_shown_and_explained(hostile, name):
    with closing(sqlite3.connect(hostile.directory / "results.sqlite")) as connection:
        normal = unicodedata.normalize("NFC", name)
        (cell_id,) = connection.execute("SELECT cell_id FROM cell WHERE model = ? AND seed = 0", (normal,)).fetchone()
    for verb in ("show", "why"):
        done = call(hostile, verb, cell_id)
        assert done.exit_code == 0, done.stderr
        assert_harmless(done.stdout + done.stderr)
    assert json.loads(call(hostile, "show", cell_id, "--format", "json").stdout)["cell"]["model"] == normal


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_report_of_hostile_names_has_no_control_character_in_any_format(hostile, output_format):
    done = call(hostile, "report", "--format", output_format)
    assert done.exit_code == 0, done.stderr
    assert_harmless(done.stdout, exact=output_format in {"json", "csv"})
    assert_harmless(done.stderr)


class Page(html.parser.HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.text: list[str] = []
        self.comments: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.values += [value or "" for _, value in attributes]

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.comments.append(data)


def test_html_is_only_what_we_wrote(hostile):
    text = call(hostile, "report", "--format", "html").stdout
    page = Page(text)
    assert not page.tags & {"script", "img", "svg", "iframe", "object", "embed", "form", "link", "base", "a", "b", "i"}
    assert not [name for name in page.attributes if name.startswith("on") or name in {"href", "src", "srcdoc"}]
    assert not [value for value in page.values if "javascript:" in value.lower()]
    assert page.comments == []
    assert "default-src 'none'" in " ".join(page.values)
    assert any("<script>alert(1)</script>" in piece for piece in page.text)


def test_csv_reads_back_to_a_rectangle_without_formulas(hostile):
    import csv
    import io

    for text in (
        call(hostile, "report", "--format", "csv").stdout,
        call(hostile, "list", "cells", "--format", "csv").stdout,
    ):
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows}) == 1
        assert not [field for row in rows for field in row if field[:1] in set("=+@\t\r")]


def test_an_export_keeps_names_exactly_in_json_and_holds_no_formula_in_csv(hostile):
    assert call(hostile, "db", "export", "out", "--format", "json").exit_code == 0
    assert call(hostile, "db", "export", "out", "--format", "csv").exit_code == 0
    cells = json.loads((hostile.directory / "out" / "cells.json").read_text(encoding="utf-8"))
    assert {cell["model"] for cell in cells} == {unicodedata.normalize("NFC", name) for name in HOSTILE}
    text = (hostile.directory / "out" / "cells.csv").read_text(encoding="utf-8")
    assert not re.search(r'(^|,)"?[=+@]', text, re.MULTILINE)


def test_paths_are_made_of_ids_only(hostile):
    root = hostile.directory / "results.artifacts"
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        assert path == root / ".made-by-bench" or re.fullmatch(r"[0-9a-f]{20}", parts[0])
        assert len(parts) < 2 or parts[1].isdecimal()
    assert {path.name for path in hostile.directory.parent.iterdir()} == {"inner"}
    known = {"matrix.toml", "results.sqlite", "results.sqlite.lock", "results.artifacts", "cache", "out"}
    assert {path.name for path in hostile.directory.iterdir()} <= known


@pytest.mark.parametrize("name", CONTROLS, ids=ascii)
@pytest.mark.parametrize("family", ["dataset", "model", "strategy"])
def test_names_that_steer_are_refused_with_every_character_shown(name, family, tmp_path):
    place = Workplace(tmp_path)
    escaped = json.dumps(name)
    place.write(
        f'[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n[{family}.{escaped}]\nextends = "x"\n'
    )
    for verb in ("plan", "run", "list"):
        done = place.call(verb, *(["models"] if verb == "list" else []))
        assert_harmless(done.stdout + done.stderr)
        assert verb == "list" or done.exit_code == 2
    assert not (tmp_path / "results.sqlite").exists()


@pytest.mark.parametrize("text", [*CONTROLS, *HOSTILE], ids=ascii)
def test_whatever_is_typed_comes_back_harmless(text, hostile):
    if "\0" in text:
        return
    for arguments in (
        ["show", text],
        ["why", text],
        ["list", "cells", "--select", text],
        ["run", "--select", text],
        [text],
    ):
        done = hostile.call(*arguments)
        assert done.exit_code in {0, 2}
        assert_harmless(done.stdout + done.stderr)


# ---- SQL


INJECTIONS = [
    "model=' OR 1=1 --", "model=x' UNION SELECT 1 --", 'model="; DROP TABLE run; --', "model=%", "model=_", "model=x%",
    "status=completed'--", "machine=' OR ''='", "cell_id=' OR 1=1",
]  # fmt: skip


@pytest.mark.parametrize("selection", INJECTIONS)
def test_a_selection_is_a_grammar_and_never_sql(selection, hostile):
    done = hostile.call("list", "cells", "--select", selection, "--format", "json")
    if done.exit_code == 0:
        assert json.loads(done.stdout) == []
    else:
        assert "none of the" in done.stderr
        assert done.exit_code == 2


@pytest.mark.parametrize("prefix", ["%%%%", "____", "' OR 1=1 --", "abcd' OR '1'='1"])
def test_the_beginning_of_an_id_is_never_a_pattern(prefix, hostile):
    assert hostile.call("show", prefix).exit_code == 2


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=100)
def test_no_text_whatsoever_selects_what_is_not_called_so(text):
    from benchmark.errors import UserError
    from benchmark.matrix.selection import parse_selection

    try:
        selection = parse_selection([f"model={text}"])
    except UserError:
        return
    if not re.search(r"[*?\[|,]", text):
        assert not selection.matches({"model": f"other {text} other"})


REFUSED = [
    "DROP TABLE run", "DELETE FROM run", "UPDATE run SET name = 'x'", "INSERT INTO run DEFAULT VALUES",
    "ATTACH DATABASE 'other.sqlite' AS other", "DETACH main", "PRAGMA user_version = 7", "PRAGMA journal_mode = WAL",
    "PRAGMA writable_schema = ON", "SELECT load_extension('x')", "SELECT 1; DROP TABLE run", "VACUUM INTO 'copy.sqlite'",
    "CREATE TABLE x (a)", "CREATE TEMP TABLE x (a)", "REINDEX", "BEGIN", "SELECT writefile('x', 'y')", "SELECT readfile('x')",
    "WITH x AS (SELECT 1) DELETE FROM run", "EXPLAIN DROP TABLE run; DROP TABLE run", "/* */", "SELECT 1 \x00; DROP TABLE run",
]  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED)
def test_a_query_that_does_more_than_read_is_refused(sql, hostile):
    file = hostile.directory / "results.sqlite"
    before, names = file.read_bytes(), sorted(hostile.directory.iterdir())
    done = hostile.call("query", sql)
    assert (done.exit_code, done.stdout) == (2, "")
    assert_harmless(done.stderr)
    assert file.read_bytes() == before
    assert sorted(hostile.directory.iterdir()) == names


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "SELECT count(*) FROM results a, results b, results c, results d, results e",
    ],
)
def test_a_query_stops_after_its_time(sql, hostile):
    done = hostile.call("query", "--timeout", "0.5", sql)
    assert done.exit_code == 2
    assert "0.5 seconds" in done.stderr


# ---- code


def test_a_matrix_names_things_and_imports_nothing(tmp_path):
    place = Workplace(tmp_path)
    canary = tmp_path / "imported"
    (tmp_path / "canary.py").write_text(f"open({str(canary)!r}, 'w').close()\ndef build(): pass\n")
    for model in (
        "os.system",
        "canary.build",
        "canary:build",
        "__import__('canary')",
        "${oc.env:HOME}",
        "{{ 7 * 7 }}",
        "canary",
    ):
        place.write(f'[matrix]\ndataset = "digits"\nmodel = {toml(model)}\nstrategy = "scratch"\nbackend = "fake"\n')
        for verb in ("plan", "run", "prepare"):
            done = place.run(verb, PYTHONPATH=f"{tmp_path}{os.pathsep}{place.environment['PYTHONPATH']}")
            assert done.returncode == 2, done.stderr
            assert "expected" in done.stderr
            assert "Traceback" not in done.stderr
    assert not canary.exists()
    assert not (tmp_path / "results.sqlite").exists()


@pytest.mark.parametrize("key", ["_target_", "callable", "loss", "import", "eval", "python"])
def test_keys_that_would_be_code_elsewhere_are_unknown_here(key, tmp_path):
    place = Workplace(tmp_path)
    place.write(
        f'[matrix]\ndataset = "digits"\nmodel = "m"\nstrategy = "scratch"\n[model.m]\nextends = "simple_cnn"\n{key} = "os.system"\n'
    )
    done = place.call("plan")
    assert done.exit_code == 2
    assert key in done.stderr


def test_model_files_and_pickles_are_nothing_that_weights_can_be(tmp_path):
    """Weights are arrays by name; the lint against unpickling and `load_model` stands in test_imports.py."""
    import pickle

    canary = tmp_path / "unpickled"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (canary,)

    place = Workplace(tmp_path)
    (tmp_path / "w.npz").write_bytes(pickle.dumps(Bomb()))
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "s"\nbackend = "fake"\n[defaults]\nepochs = 1\n'
        '[strategy.s]\nextends = "scratch"\nweights = "file:w.npz"\n'
    )
    place.run("run")
    assert not canary.exists()


def test_the_versions_that_load_unsafe_model_files_are_known():
    from benchmark.cli.doctor_checks import KERAS_FLOOR, _package

    assert _package("keras", "3.11.2").verdict == "bad"
    assert _package("keras", ".".join(map(str, KERAS_FLOOR))).verdict == "good"


# ---- paths


def test_a_link_in_the_place_of_a_cells_folder_is_not_followed(tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    (cell,) = place.document("plan")["cells"]
    target = tmp_path / "precious"
    target.mkdir()
    (place.directory / "results.artifacts").mkdir()
    (place.directory / "results.artifacts" / cell["cell_id"]).symlink_to(target)
    done = place.run("run")
    assert done.returncode == 4
    assert "delete the link" in done.stderr
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("path", ["../../precious.npz", "{absolute}", "x/../../precious.npz"])
def test_a_recorded_path_that_leads_out_is_neither_taken_nor_deleted(path, tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    assert place.run("run").returncode == 0
    precious = tmp_path / "precious.npz"
    (weights,) = (place.directory / "results.artifacts").rglob("weights.npz")
    precious.write_bytes(weights.read_bytes())
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("UPDATE artifact SET path = ? WHERE kind = 'weights'", (path.format(absolute=precious),))
        connection.commit()
    assert "leads out of the artifacts folder" in place.call("db", "check", "--format", "json").stdout
    assert place.call("gc", "--delete").exit_code == 0
    assert precious.exists()
    assert "leads out of the artifacts folder" in place.run("run").stderr


# ---- secrets


CANARY = "canary7f3a"


def test_no_secret_of_the_environment_or_of_git_is_kept_or_told(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nseed = [0, 1]\nbackend = "fake"\n'
    )
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (
        ["init", "-q"], ["remote", "add", "origin", f"https://{CANARY}@example.com/x.git"], ["add", "matrix.toml"],
        ["commit", "-q", "-m", "x"],
    ):  # fmt: skip
        subprocess.run([*git, *command], cwd=tmp_path, check=True, capture_output=True)
    secrets = {
        name: f"{CANARY}-{name}"
        for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "DATABASE_URL", "HF_TOKEN", "API_KEY")
    }
    said = []
    for arguments, more in (
        (["run"], {}),
        (["run", "--rerun"], {"BENCH_FAULT": "epoch.sent:1:raise:ValueError"}),
        (["run", "--rerun", "--isolation", "spawn"], {"BENCH_FAULT": "batch:2:junk"}),
        (["report"], {}), (["report", "--format", "html"], {}), (["show", "seed=0"], {}), (["doctor"], {}), (["status"], {}),
        (["db", "export", "out"], {}), (["query", "select * from run"], {}), (["reproduce", "seed=1"], {}),
    ):  # fmt: skip
        done = place.run(*arguments, **secrets, **more)
        said.append(done.stdout + done.stderr)
        assert done.returncode in {0, 2, 3}, done.stderr
    assert CANARY not in "".join(said)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.relative_to(tmp_path).parts]
    assert {path.name for path in kept} >= {"results.sqlite", "log.txt", "weights.npz"}
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        assert connection.execute("SELECT git_commit IS NOT NULL FROM run").fetchall()[0] == (1,)


def test_the_password_of_a_database_is_masked_everywhere(tmp_path):
    place = Workplace(tmp_path)
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    address = f"postgresql://me:{CANARY}@127.0.0.1:1/x?sslpassword={CANARY}&connect_timeout=1"
    for arguments in (
        ["run"],
        ["report"],
        ["status"],
        ["db", "check"],
        ["why", "seed=0"],
        ["gc"],
        ["doctor"],
        ["query", "select 1"],
    ):
        done = place.run(*arguments, BENCH_DB=address)
        assert done.returncode in {0, 2, 4}, done.stderr
        assert CANARY not in done.stdout + done.stderr
    for arguments in (
        ["run", address], ["show", address], ["compare", address, address], ["report", "--output", address, address],
        ["query", address], ["plan", "--matrix", address], ["run", "--select", f"model={address}"], ["why", address],
        ["db", "merge", "new.sqlite", address], ["db", "merge", address, "new.sqlite"], ["db", "backup", address, "--debug"],
        ["db", "export", "out", "--db", address], ["db", "upgrade", f"--db={address}"], ["db", "salvage", address, address],
        ["list", address], ["explain", address], ["predict", address, address], ["reproduce", address], ["prepare", address],
        ["gc", "--delete", "--db", address], ["init", address], ["status", f"--d={address}"], ["nonsense", address],
    ):  # fmt: skip
        done = place.run(*arguments)
        assert done.returncode in {2, 4}, (arguments, done.stderr)
        assert CANARY not in done.stdout + done.stderr, arguments
    for path in tmp_path.rglob("*"):
        assert not (path.is_file() and CANARY.encode() in path.read_bytes()), path
    broken = place.run("report", "--db", f"postgresql://me:{CANARY}@[broken/x")
    assert broken.returncode in {2, 4}
    assert CANARY not in broken.stderr


# ---- the rest of the table


@pytest.mark.parametrize(
    ("mask", "forbidden"), [(0o077, 0o077), pytest.param(0o022, 0o022, marks=pytest.mark.exhaustive)]
)
def test_files_obey_the_umask(mask, forbidden, tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    before = os.umask(mask)
    try:
        assert place.run("run").returncode == 0
        assert place.run("report", "--output", "report.html").returncode == 0
        assert place.run("db", "backup", "copy.sqlite").returncode == 0
        assert place.run("db", "export", "out").returncode == 0
    finally:
        os.umask(before)
    made = [path for path in place.directory.rglob("*") if path.name != "matrix.toml" and "cache" not in path.parts]
    assert len(made) > 8
    for path in made:
        assert not stat.S_IMODE(path.lstat().st_mode) & forbidden, path


def test_no_other_user_can_reach_the_template(tmp_path):
    """Orders pass over a pair of sockets that has no name: there is nothing to connect to."""
    place = Workplace(tmp_path)
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    process = subprocess.Popen(
        place.command("run"), cwd=tmp_path, env={**place.environment, "BENCH_FAKE_GATE": f"2:{tmp_path / 'gate'}"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        # bench, the template, a guardian and its worker, which waits at the gate
        family = wait_until(lambda: len(family := _descendants(process.pid)) >= 4 and family)
        assert not _listening(family)
        (tmp_path / "gate").touch()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _listening(pids: list[int]) -> list[str]:
    import psutil

    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found += [
                f"{pid}: {one.laddr}"
                for one in psutil.Process(pid).net_connections(kind="all")
                if one.status == psutil.CONN_LISTEN or (one.family == socket.AF_UNIX and one.laddr)
            ]
    return found


def test_names_and_files_have_a_limit(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        f'[matrix]\ndataset = "digits"\nmodel = "{"x" * 201}"\nstrategy = "scratch"\n[model.{"x" * 201}]\nextends = "simple_cnn"\n'
    )
    done = place.call("plan")
    assert done.exit_code == 2
    assert "200 characters" in done.stderr
    place.write("# " + "x" * (1 << 20) + "\n")
    done = place.call("plan")
    assert done.exit_code == 2
    assert len(done.stderr) < 2000


def test_nothing_but_preparing_data_needs_a_network(tmp_path):
    """Every attempt to reach an address raises; planning, running what is embedded and reporting do not notice."""
    place = Workplace(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(self, address):\n"
        "    if self.family != socket.AF_UNIX:\n"
        "        raise AssertionError(f'reached for {address}')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
    )
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    path = f"{tmp_path}{os.pathsep}{place.environment['PYTHONPATH']}"
    for arguments in (["plan"], ["run"], ["report"], ["doctor"], ["why", "seed=0"], ["reproduce", "seed=0"]):
        done = place.run(*arguments, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        assert "reached for" not in done.stderr
