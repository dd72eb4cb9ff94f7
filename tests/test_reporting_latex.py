"""LaTeX compiles with what the documentation says, fits papers of one and of two columns, and prints every name as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.reporting.report import build_report
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.table import Report, Row, Table, TableColumn
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import render
from benchmark.reporting.writers.latex.latex import PREAMBLE
from benchmark.reporting.writers.latex.latex_text import escape
from tests.reporting_samples import SPEC, row, tour
from tests.test_reporting_writers import HOSTILE, report_with

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = [
    *HOSTILE, "x" * 10_000, "y z " * 3000, "*star", "a--b''``c,,d", "\u00e9 \u00fc \u00f1 \u0151 \u0142 \u00df \u03a9 \u03b1 \u1ebf \u00bd \u20ac \u2122",
    'a "quoted" name \N{MULTIPLICATION SIGN} \u2192 \u2264', "_under_" * 20, "few_high_digits_with_a_rather_long_name",
]  # fmt: skip
PAPERS = ("10pt", "12pt", "10pt,twocolumn", "11pt,a4paper,twocolumn")
NO_LATEX = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX is installed")


def cells_of(text):
    """The cells of every row between the rules of all tables."""
    rows = re.findall(r"^ {4}(?:\\quad )?(.* & .*) \\\\$", text, re.MULTILINE)
    return [line.split(" & ") for line in rows]


def compiled(text, options, folder, *, shrinks=True):
    """The log of pdflatex; without `shrinks` what is too wide for its column shows in the log."""
    keeps = "" if shrinks else "\\renewcommand\\resizebox[3]{#3}\n"
    head = f"\\documentclass[{options}]{{article}}\n" + "\n".join(PREAMBLE)
    (folder / "paper.tex").write_text(f"{head}\n{keeps}\\begin{{document}}\n{text}\\end{{document}}\n", "ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=240)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull \\hbox" not in log, log
    assert "Float too large" not in log, log
    assert "multiply defined" not in log, log
    return log


def forty(baseline=None):
    rows = [
        row(f"strategy_{number}", seed, 0.3 + 0.01 * number + 0.001 * seed, changes={"dropout": number / 100})
        for number in range(40)
        for seed in range(3)
    ]
    return build_report(rows, [], None, ReportOptions(baseline=baseline))


def named(name):
    return build_report(
        [row(name, seed, model=f"{name} {number}") for number in range(4) for seed in range(3)], [], None
    )


@NO_LATEX
def test_latex_compiles_in_two_columns_with_names_of_every_kind(tmp_path):
    rows, cells = tour()
    hostile = [report_with(name) for name in NAMES[::4]]
    tables = (*build_report(rows, cells, SPEC).tables, *(table for each in hostile for table in each.tables))
    compiled(render(Report(tables), "latex"), "10pt,twocolumn", tmp_path)


@NO_LATEX
@pytest.mark.exhaustive  # every name, paper and table; one paper is above
@pytest.mark.parametrize("options", PAPERS)
def test_latex_fits_every_paper_without_being_made_smaller(options, tmp_path):
    rows, cells = tour()
    names = Report(tuple(table for name in NAMES for table in named(name).tables))
    for report in (build_report(rows, cells, SPEC), forty(), forty("strategy_0"), names):
        compiled(render(report, "latex"), options, tmp_path)
    compiled(render(build_report(rows, cells, SPEC), "latex"), options, tmp_path, shrinks=False)
    compiled(render(forty("strategy_0"), "latex"), options, tmp_path, shrinks=False)


@NO_LATEX
@pytest.mark.exhaustive
@pytest.mark.parametrize("options", PAPERS)
@pytest.mark.parametrize(
    "arguments",
    [
        "report --reference",
        *(
            f"report --reference --table {name}"
            for name in ("classes", "confusion", "pareto", "time", "history", "calibration")
        ),
    ],
)
def test_the_reference_results_fit_every_paper_without_being_made_smaller(arguments, options, tmp_path):
    command = [sys.executable, "-m", "benchmark", *arguments.split(), "--format", "latex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True)
    compiled(done.stdout, options, tmp_path, shrinks=False)


@given(st.sampled_from(NAMES) | st.text(max_size=40))
def test_latex_is_ascii_with_balanced_braces_and_as_many_cells_in_every_row(name):
    text = render(report_with(name), "latex")
    assert text.isascii()
    bare = re.sub(r"\\[\\{}%&#$_]", "", re.sub("^%.*$", "", text, flags=re.MULTILINE))
    assert bare.count("{") == bare.count("}")
    assert len({len(cells) for cells in cells_of(text)}) == 1
    # what is left of these marks an accent or a power
    assert not re.search(r"(?<![\\$])[#^~]", bare)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_b%c&d#e", r"a\_b\%c\&d\#e"),
        ("\\{}~^$", r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\$"),
        ("caf\u00e9 na\u00efve", r"caf\'{e} na\"{\i}ve"),
        ("\u03bb \u03a9", r"$\lambda$ $\Omega$"),
        ("\u65e5\u672c", r"\textbackslash{}u65e5\textbackslash{}u672c"),
        ("\U0001f600", r"\textbackslash{}U0001f600"),
        ("a--b", "a-{}-b"),
        ('the "best"', r"the \textquotedblleft{}best\textquotedblright{}"),
    ],
)
def test_latex_prints_a_name_as_it_is(name, expected):
    assert escape(name) == expected


def test_every_table_has_a_caption_and_a_label_of_its_own():
    rows, cells = tour()
    text = render(build_report(rows, cells, SPEC), "latex")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == ["tab:summary", "tab:transfer-digits-high-simple-cnn-from-low-digits-scratch",
                      "tab:progression-digits-simple-cnn"]  # fmt: skip
    assert text.count("\\caption{") == text.count("\\label{") == text.count("\\begin{tabular}") == 3


def test_what_all_rows_share_stands_in_the_caption():
    text = render(forty(), "latex")
    assert r"\caption{Summary, part 1 of 2 (dataset digits, model simple\_cnn, n = 3, " in text
    assert "dataset &" not in text


def test_a_long_table_is_divided_with_its_headings_on_each_part():
    text = render(forty(), "latex")
    assert text.count("strategy & ") == 2
    assert [cells[0] for cells in cells_of(text) if cells[0] != "strategy"] == [rf"strategy\_{n}" for n in range(40)]


def test_a_word_that_is_wider_than_the_narrowest_column_can_be_broken_however_few_letters_it_has():
    assert r"\allowbreak" in escape('"><script>x</script>', wraps=True)
    assert r"\allowbreak" in escape("W" * 10, wraps=True)
    assert r"\allowbreak" not in escape("illustrative", wraps=True)


def test_columns_for_which_there_is_no_room_are_named_and_the_judged_metric_never_is():
    rows, cells = tour()
    text = render(build_report(rows, cells, SPEC, ReportOptions(metrics=("images_per_second",))), "latex")
    left_out = re.search("% No room for: (.*)", text)[1]
    assert "kept epoch" in left_out
    assert "images/s" not in left_out
    assert "test accuracy" not in left_out


def test_numbers_stand_below_each_other_at_their_decimal_points():
    columns = (
        TableColumn("x", "x", "text", identifies=True),
        TableColumn("y", "y", "seconds"),
        TableColumn("z", "z", "count"),
    )
    rows = (
        Row({"x": "a", "y": measure([17.0, 18.0]), "z": 11_184_970}),
        Row({"x": "b", "y": measure([-0.5, -0.6]), "z": 53_002}),
    )
    cells = cells_of(render(Report((Table("t", "t", columns, rows),)), "latex"))
    assert cells[1][1:] == [r"$\phantom{+}17.5 \pm 6.4$", "11,184,970"]
    assert cells[2][1:] == [r"$\phantom{1}{-}0.55 \pm 0.64$", "53,002"]


def test_the_best_is_bold_only_where_it_is_resolved():
    def bold(**tests):
        rows = [
            row(name, seed, test + 0.001 * (seed % 2), changes={"dropout": number / 10})
            for number, (name, test) in enumerate(tests.items())
            for seed in range(5)
        ]
        text = render(build_report(rows, [], None, ReportOptions(tables=("summary",), baseline="a")), "latex")
        return [cells[0] for cells in cells_of(text) if "boldmath" in " ".join(cells)]

    assert bold(a=0.8, b=0.9) == ["b"]
    assert bold(a=0.9, b=0.8) == ["a"]
    # the two better ones were never compared
    assert bold(a=0.8, b=0.9, c=0.95) == []
    assert bold(a=0.9, b=0.8, c=0.85) == ["a"]
    assert bold(a=0.9, b=0.9) == []


def test_notes_name_the_footnotes_of_shown_columns_alone():
    columns = (
        TableColumn("x", "x", "text", identifies=True),
        TableColumn("y", "y" * 40, "text", rank=1),
        TableColumn("z", "z" * 40, "text"),
    )
    cells = {"x": "a", "y": "one", "z": "two"}
    rows = (Row(cells, {"y": (0,), "z": (1,)}), Row({**cells, "x": "b", "y": "three", "z": "four"}))
    text = render(Report((Table("t", "t", columns, rows, footnotes=("why one", "why two")),)), "latex")
    assert r"\textsuperscript{a} why two" in text
    assert "why one" not in text


def test_a_single_table_is_one_float_with_the_answer_as_comments():
    report = forty("strategy_0")
    text = render(replace(report, tables=report.tables[:1]), "latex")
    comments, _, rest = text.partition("\n\n")
    assert all(line.startswith("% ") for line in comments.splitlines())
    assert comments.startswith("% 120 cells")
    rows, _ = tour()
    text = render(build_report(rows[:3], [], None), "latex").split("\n\n", 1)[1]
    assert text.startswith("\\begin{table")
    assert re.search(r"\\end\{table\*?\}\n$", text)
    assert rest.startswith("\\begin{table")
    assert "t interval" in text


def test_no_advice_for_a_terminal_reaches_a_paper():
    rows, cells = tour()
    for report in (build_report(rows, cells, SPEC), build_report([], [], None), replace(forty(), machine="x")):
        assert not re.search(r"bench |--[a-z]|-\{\}-[a-z]", render(report, "latex").replace(r"-{}-", "--"))


def test_the_documentation_says_the_whole_preamble():
    text = (DOCS / "report.md").read_text("utf-8")
    for line in PREAMBLE:
        assert f"\n{line}\n" in text
