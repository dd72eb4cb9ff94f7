"""The site of the documentation: every page is in its side bar, every link leads somewhere, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import itertools
import re
import subprocess
import sys
import textwrap
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from pygments.lexers import get_lexer_by_name

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [*DOCS.rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?(?=\))")
FENCE = re.compile(r"^\s*```.*?^\s*```$", re.DOTALL | re.MULTILINE)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {f"{slug}-{number}" if number else slug for slug, times in found.items() for number in range(times)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_their_anchors_lead_somewhere(path):
    dead = []
    for link in LINK.finditer(prose(path)):
        target = path.parent / link["path"] if link["path"] else path
        if not re.match(r"[a-z]+:", link["path"]):
            there = target.exists() and (not link["anchor"] or link["anchor"] in anchors(target))
            dead += [] if there else [link[0]]
    assert not dead


CODE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_in_a_page_that_the_site_warns_of(path):
    """What is left of a strict build beside links: levels of headings that are left out, and code that has no colours."""
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose(path), re.MULTILINE)]
    assert levels[0] == 1
    assert not [pair for pair in itertools.pairwise(levels) if pair[1] > pair[0] + 1]
    for indent, language, code in CODE.findall(path.read_text(encoding="utf-8")):
        lexer = get_lexer_by_name(language)
        lexer.add_filter("raiseonerror")
        list(lexer.get_tokens(textwrap.dedent(code) if indent else code))


def test_every_page_is_in_the_side_bar_once():
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    listed = [ROOT / f"{page}.md" for pages in conf.PARTS.values() for page in pages]
    commands = {path for path in (DOCS / "commands").glob("*.md") if path.stem != "index"}
    assert len(listed) == len(set(listed))
    # the README is for the repository; the door of the site is docs/index.md
    assert set(listed) | commands == {*PAGES, ROOT / "perf" / "results.md"} - {DOCS / "index.md", ROOT / "README.md"}


class Links(HTMLParser):
    """What a page refers to, and what in it can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets, self.loaded, self.ids = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag == "a":
            self.targets.add(given.get("href") or "")
        elif tag in {"script", "img", "link"}:
            self.loaded.add(given.get("src") or given.get("href") or "")


def dead_links(site: Path) -> list[str]:
    """The links within a built site that lead nowhere, and what it would fetch from elsewhere."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, links in pages.items():
        for target in links.targets | links.loaded:
            name, _, anchor = unquote(target).partition("#")
            if re.match(r"[a-z]+:|//", name):
                dead += [f"{path.name}: {target} is fetched"] * (target in links.loaded)
                continue
            page = (path.parent / name.partition("?")[0]).resolve() if name else path
            if not page.is_file() or (anchor and page in pages and anchor not in pages[page].ids):
                dead.append(f"{path.name}: {target}")
    return dead


@pytest.mark.exhaustive
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs pip install '.[docs]'")
def test_the_site_builds_without_a_warning_and_has_no_dead_link(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", DOCS, "-d", tmp_path / "trees"]
    done = subprocess.run([*command, ROOT, tmp_path / "site"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert dead_links(tmp_path / "site") == []
    assert len(list((tmp_path / "site").rglob("*.html"))) > len(PAGES)
    assert "tutorial" in (tmp_path / "site" / "docs" / "index.html").read_text(encoding="utf-8")


def test_a_dead_link_of_a_site_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#there"></a><a href="b.html#gone"></a><a href="c.html"></a>')
    (tmp_path / "b.html").write_text('<p id="there"><img src="https://example.org/x.png">')
    assert len(dead_links(tmp_path)) == 3
