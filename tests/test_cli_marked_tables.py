"""Tables of reports within a Markdown file: written between markers, and held against the database."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cli_workplace import Workplace
from hypothesis import given, reject
from hypothesis import strategies as st

from benchmark.cli.reports import marked_tables, recorded_report
from benchmark.cli.reports.marked_tables import regions, with_regions
from benchmark.errors import UserError
from benchmark.results.store.reference import RESULTS

ROOT = Path(__file__).resolve().parent.parent

PAGE = """# A study

Text with a tab\tand blanks at its end.\x20\x20

## Results
<!-- bench: report --table summary --select model=resnet18 -->
<!-- end bench -->

More text, and an example, which is none:

```markdown
<!-- bench: report --table nonsense -->
```

   <!--bench: report --format json --table summary --select 'model=simple_cnn,seed=0|1'-->
of long ago
<!-- end bench -->
no line break at the end"""


class OnReference(Workplace):
    """Works on the machine that the reference results are of."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "BENCH_MACHINE": "reference"}

    def read(self) -> bytes:
        return (self.directory / "README.md").read_bytes()

    def asked(self, what: str, code: int = 0, *more: str) -> str:
        done = self.call("report", what, "README.md", *more)
        assert (done.exit_code, done.stdout) == (code, ""), done.stderr
        return done.stderr


@pytest.fixture
def place(tmp_path) -> OnReference:
    shutil.copy(RESULTS, tmp_path / "results.sqlite")
    place = OnReference(tmp_path)
    place.write(PAGE, "README.md")
    return place


def outside(content: bytes) -> bytes:
    """A page without what stands between its markers."""
    return re.sub(rb"(<!-- ?bench: report -.*?-->)(?!\r?\n```).*?(<!-- end)", rb"\1\2", content, flags=re.DOTALL)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_tables_are_written_between_the_markers_and_nowhere_else(ending, place):
    before = PAGE.replace("\n", ending).encode()
    (place.directory / "README.md").write_bytes(before)
    assert "README.md is out of date: 2 of 2 markers (lines 6, 15)" in place.asked("--check", 2)
    assert place.read() == before
    assert place.asked("--update") == "updated README.md: 2 of 2 markers (lines 6, 15)\n"
    after = place.read()
    assert outside(after) == outside(before)
    assert (after.count(b"\n"), after.count(b"\r\n")) == (after.count(b"\n"), after.count(b"\n") * (ending == "\r\n"))
    assert f"{ending}### Summary{ending}{ending}| dataset".encode() in after
    assert b"machine reference" in after
    assert b'"schema_version"' in after
    assert place.asked("--check") == place.asked("--update") == "README.md is up to date\n"
    assert place.read() == after


def test_a_number_that_was_changed_is_shown_as_a_diff_and_only_its_table_is_written_anew(place):
    place.asked("--update")
    right = place.read()
    number = "0.967 ± 0.021 |".encode()
    assert right.count(number) == 1
    wrong = right.replace(number, number.replace(b"67", b"97")).replace(b'"created_utc": "2', b'"created_utc": "1')
    (place.directory / "README.md").write_bytes(wrong)
    said = place.asked("--check", 2).splitlines()
    assert said[0].startswith("--- README.md")
    assert said[1].startswith("+++ README.md")
    assert said[2].startswith("@@ ")
    (gone,), (new,) = ([line for line in said[2:] if line.startswith(sign)] for sign in "-+")
    assert gone[1:].replace("0.997", "0.967") == new[1:]
    assert "1 of 2 markers (line 6); write it anew with: bench report --update README.md" in said[-1]
    place.asked("--update")
    assert place.read() == right.replace(b'"created_utc": "2', b'"created_utc": "1')


def test_paths_in_a_marker_start_at_the_file_and_what_it_leaves_open_is_said_beside_it(place):
    (place.directory / "docs").mkdir()
    (place.directory / "results.sqlite").rename(place.directory / "docs" / "other.sqlite")
    shutil.copy(ROOT / "matrix.toml", place.directory / "docs" / "mine.toml")
    marker = "<!-- bench: report --table transfer {}-->\n<!-- end bench -->\n"
    place.write(marker.format("--db other.sqlite --matrix mine.toml "), "docs/a.md")
    place.write(marker.format(""), "docs/b.md")
    assert place.call("report", "--update", "docs/a.md").exit_code == 0
    missing = place.call("report", "--update", "docs/b.md")
    assert (missing.exit_code, "docs/b.md:1: results.sqlite: expected a results database" in missing.stderr) == (
        2,
        True,
    )
    assert place.call("report", "--update", "docs/b.md", "--db", "docs/other.sqlite").exit_code == 0
    tables = [(place.directory / "docs" / name).read_text().splitlines()[1:] for name in ("a.md", "b.md")]
    assert tables[0] == tables[1]
    beside = place.call("report", "--check", "docs/b.md", "--db", "docs/other.sqlite", "--select", "seed=0")
    assert (beside.exit_code, "expected no --select" in beside.stderr) == (2, True)


def test_a_report_that_was_pasted_between_the_markers_is_right_and_stays(place):
    printed = place.call("report", "--format", "markdown", "--table", "transfer").stdout
    place.write(f"<!-- bench: report --table transfer -->\n{printed}<!-- end bench -->\n", "README.md")
    before = place.read()
    assert "up to date" in place.asked("--check")
    place.asked("--update")
    assert place.read() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--output x.md", "--output has no place in a marker"),
        ("--check x.md", "--check has no place in a marker"),
        ("--update x.md", "--update has no place in a marker"),
        ("--figures x", "--figures has no place in a marker"),
        ("--allow-plugins", "--allow-plugins has no place in a marker"),
        ("-q", "-q has no place in a marker"),
        ("--nonsense", "--nonsense"),
        ("--table nonsense", "nonsense"),
        ("--select model=resnet81", "did you mean 'resnet18'?"),
        ("--select 'model", "No closing quotation"),
        ("--at 5s --at-epoch 2", "two budgets"),
        ("--db gone.sqlite", "gone.sqlite"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_with_file_and_line_and_nothing_is_written(words, said, place):
    good = "<!-- bench: report --table transfer -->\n<!-- end bench -->\n"
    place.write(f"{good}\n<!-- bench: report {words} -->\n<!-- end bench -->\n", "README.md")
    before = place.read()
    stderr = place.asked("--update", 2)
    assert "README.md:4: " in stderr
    assert said in stderr
    assert place.read() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n<!-- bench: report -->\nb", r"f\.md:2: expected a line <!-- end bench --> below"),
        ("<!-- bench: report -->\n<!-- bench: report -->\n<!-- end bench -->", r"f\.md:2: .* of the marker in line 1"),
        ("a\n\n<!-- end bench -->\n", r"f\.md:3: expected <!-- bench: report --> before"),
        ("<!-- bench: compare a b -->\n<!-- end bench -->", r"f\.md:1: expected a line of its own such as"),
        ("<!-- bench: report\n-->\n<!-- end bench -->", r"f\.md:1: expected a line of its own such as"),
        ("```\n```\n<!-- bench: report -->", r"f\.md:3: "),
        ("```a`b\n<!-- bench: report -->", r"f\.md:2: "),
    ],
)
def test_broken_markers_are_refused_with_their_line(text, said):
    with pytest.raises(UserError, match=said):
        regions(Path("f.md"), text)


@pytest.mark.parametrize(
    "text",
    [
        "", "see `<!-- bench: report -->` there", "    <!-- bench: report -->\n", "~~~\n```\n<!-- end bench -->\n~~~",
        "````md\n```\n<!-- bench: report -->\n```\n````", "```\nnever closed\n<!-- bench: report -->",
    ],
)  # fmt: skip
def test_what_only_speaks_of_markers_is_none(text):
    assert regions(Path("f.md"), text) == []


LINES = st.sampled_from(
    ["text", "", " ", "# one", "### three", "```", "~~~", "a\tb\x0c\u2028c", "é±", "<!-- other -->"]
)
BETWEEN = st.lists(st.sampled_from(["", "old", "# old", "```", "right"]))
MARKED = BETWEEN.map(lambda lines: ["<!-- bench: report -->", *lines, "<!-- end bench -->"])


@given(st.lists(st.one_of(LINES.map(lambda line: [line]), MARKED)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_a_page_holds_only_regions_change_and_only_once(parts, ending, ends):
    text = ending.join(line for part in parts for line in part) + ending * ends
    try:
        found = regions(Path("f.md"), text)
    except UserError:
        # a fence that nothing closes took one of two markers for an example
        reject()
    new, changed = with_regions(text, [(region, ["right\n"]) for region in found])
    again = regions(Path("f.md"), new)
    assert (len(again), with_regions(new, [(region, ["right\n"]) for region in again])) == (len(found), (new, []))
    assert [region.level for region in again] == [region.level for region in found]
    before, after = (
        [line for number, line in enumerate(page.split("\n")) if not any(r.line <= number < r.end for r in marked)]
        for page, marked in ((text, found), (new, again))
    )
    assert before == after
    assert new.count("\n") == new.count(ending)
    assert len(changed) <= len(found)


def test_a_page_without_markers_is_compared_whole_and_cannot_be_updated(place):
    place.call("report", "--output", "README.md")
    assert "up to date" in place.asked("--check")
    said = place.asked("--update", 2)
    assert "<!-- bench: report -->" in said
    assert "bench report --output README.md" in said
    place.write("of long ago\n", "README.md")
    assert "\n-of long ago\n+# Report: machine reference\n" in place.asked("--check", 2)
    for other in (["--check", "README.md"], ["--output", "x.md"], ["--figures", "x"]):
        assert place.call("report", "--update", "README.md", *other).exit_code == 2


def test_a_file_behind_a_link_keeps_its_place_and_permissions_and_what_others_wrote_meanwhile(place, monkeypatch):
    page, link = place.directory / "page.md", place.directory / "README.md"
    link.rename(page)
    page.chmod(0o640)
    link.symlink_to(page)
    place.asked("--update")
    assert link.is_symlink()
    assert page.stat().st_mode & 0o777 == 0o640
    right = page.read_bytes()
    page.write_bytes(right.replace(b"0.967 ", b"0.997 "))
    meanwhile = right + b"by somebody else"
    monkeypatch.setattr(marked_tables.shutil, "copymode", lambda path, _: path.write_bytes(meanwhile))
    assert "it was changed meanwhile" in place.asked("--update", 2)
    assert page.read_bytes() == meanwhile
    assert not [path for path in place.directory.iterdir() if ".partial" in path.name]


@pytest.mark.parametrize(("marker", "option"), [("", ["--strict"]), (" --strict", [])])
def test_strict_in_a_marker_or_beside_it_names_what_was_not_made_alike(marker, option, place, monkeypatch):
    build = recorded_report.recorded_report

    def suspicious(*arguments, **options):
        return replace(build(*arguments, **options), suspects=("v1 and v2",))

    monkeypatch.setattr(recorded_report, "recorded_report", suspicious)
    place.write(f"<!-- bench: report --table transfer{marker} -->\n<!-- end bench -->\n", "README.md")
    assert "out of date" in place.asked("--check", 2, *option)
    for what in ("--update", "--check"):
        assert "not made alike: v1 and v2" in place.asked(what, 3, *option)
    assert b"| metric" in place.read()


def test_the_readme_shows_the_reference_results():
    done = OnReference(ROOT).call("report", "--check", "README.md")
    assert done.exit_code == 0, f"run: bench report --update README.md\n{done.stderr}"
    assert "better" in (ROOT / "README.md").read_text(encoding="utf-8")
