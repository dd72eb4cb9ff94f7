"""Makes a site of the pages in this folder: `make docs`. Why Sphinx: docs/decisions.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
DOOR = "docs/index"
PARTS = {
    "Begin": ["docs/tutorial"],
    "How to": [
        "docs/how-to/own-data",
        "docs/how-to/own-model",
        "docs/how-to/gpu",
        "docs/how-to/watch-a-run",
        "docs/how-to/ci",
        "docs/how-to/read-the-database",
        "docs/how-to/paper-table",
        "docs/how-to/cluster",
    ],
    "In full": [
        "docs/your-own",
        "docs/torch",
        "docs/script-cells",
        "docs/searching",
        "docs/figures",
        "docs/python",
        "docs/systems",
        "docs/cluster",
    ],
    "Reference": ["docs/commands/index", "docs/matrix", "docs/database", "docs/api"],
    "Background": [
        "docs/report",
        "docs/reliability",
        "docs/scaling",
        "docs/architecture",
        "docs/decisions",
        "CONTRIBUTING",
        "CHANGELOG",
        "perf/results",
    ],
}
"""What the side bar shows, below its headings. Pages know nothing of it, so that they read well where no site is built."""

project, version, release = "bench", __version__, __version__
extensions = ["myst_parser"]
# the repository is the source, for pages link to files outside of this folder
root_doc = DOOR
exclude_patterns = [
    path.name for path in ROOT.iterdir() if path.name not in {"docs", "perf", "CONTRIBUTING.md", "CHANGELOG.md"}
]
nitpicky = True
smartquotes = False  # `--select` is to stay what it is
myst_heading_anchors = 6

html_theme = "furo"
html_title = f"bench {__version__}"
html_copy_source = html_show_sourcelink = html_use_index = False
html_static_path = ["site"]
html_css_files = ["site.css"]


def add_contents(_: Sphinx, page: str, source: list[str]) -> None:
    """Give the pages with pages below them a table of contents, which the side bar shows."""
    if page == DOOR:
        source[0] += "".join(_contents(pages, title) for title, pages in PARTS.items())
    if page == "docs/commands/index":
        commands = sorted((ROOT / "docs" / "commands").glob("*.md"))
        source[0] += _contents([f"docs/commands/{path.stem}" for path in commands if path.stem != "index"])


def _contents(pages: list[str], title: str = "") -> str:
    options = [":hidden:", *([f":caption: {title}"] if title else [])]
    return "\n".join(["\n\n```{toctree}", *options, "", *(f"/{page}" for page in pages), "```"])


def write_door(app: Sphinx, error: Exception | None) -> None:
    """Lead whoever opens the folder of the site to its first page."""
    if error is None:
        text = f'<!doctype html><title>bench</title><meta http-equiv="refresh" content="0; url={DOOR}.html">\n'
        (app.outdir / "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Tell Sphinx of the functions above."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", write_door)
