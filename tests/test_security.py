"""The security table, row by row and mostly from the outside: data never becomes markup or SQL, and steers no terminal."""

from __future__ import annotations

import html.parser
import json
import re
import sqlite3
import unicodedata
from contextlib import closing

import pytest
from cli_workplace import Workplace
from hypothesis import given
from hypothesis import strategies as st

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


MACHINE = "<i>mach[/]ine</i>"


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
    done = place.call("run", "--name", "<script>[/]\u202e", BENCH_MACHINE=MACHINE)
    assert done.exit_code == 0, done.stderr[-2000:]
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
    done = place.call("run", "--db", f"x{FORGED}.sqlite", "--name", f"n{FORGED}", BENCH_MACHINE=f"m{FORGED}")
    assert done.exit_code == 0, done.stderr
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
    # with its pictures the page is opened in a browser: tests/test_report_browser.py
    without = ["--no-pictures"] if output_format == "html" else []
    done = call(hostile, "report", "--format", output_format, *without)
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
    text = call(hostile, "report", "--format", "html", "--no-pictures").stdout
    page = Page(text)
    assert not page.tags & {"iframe", "object", "embed", "form", "link", "base", "marquee"}
    assert text.count("<script>") == 1
    assert not [name for name in page.attributes if name.startswith("on") or name in {"style", "srcdoc"}]
    assert not [value for value in page.values if "javascript:" in value.lower()]
    assert all(
        link.startswith("#") for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("data:image/png")
    )
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r' src="([^"]*)"', text))
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
    done = hostile.call("list", "cells", "--select", selection, "--format", "json", BENCH_MACHINE=MACHINE)
    if done.exit_code == 0:
        assert json.loads(done.stdout) == []
    else:
        assert "none of the" in done.stderr
        assert done.exit_code == 2


@pytest.mark.parametrize("prefix", ["%%%%", "____", "' OR 1=1 --", "abcd' OR '1'='1"])
def test_the_beginning_of_an_id_is_never_a_pattern(prefix, hostile):
    assert hostile.call("show", prefix).exit_code == 2


@given(st.text(min_size=1, max_size=30))
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
