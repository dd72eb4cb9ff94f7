"""The page of a folder of figures: `index.html`, which shows all of them with their titles, by kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

from benchmark.errors import StorageError
from benchmark.files import write_whole
from benchmark.reporting.figures.drawing.text_fitting import is_drawable
from benchmark.reporting.table import FigureFile, MissingFigure
from benchmark.text import plain

PAGE = "index.html"

HEADINGS = {
    "heat": "All groups at a glance",
    "effects": "Differences",
    "comparison": "Learning curves of several groups",
    "transfer": "Fine-tuned against from scratch",
    "time": "Accuracy against time",
    "phases": "Time by phase",
    "forecast": "Forecast against actual time",
    "ranks": "Ranks over datasets",
    "curves": "Learning curves of each group",
    "confusion": "Confusion matrices",
    "mistakes": "Mistakes",
    "diff": "Changed answers",
    "explanation": "Explanations",
    "samples": "Training images",
    "labels": "Examples of each class",
}
"""The kinds of figures in the order of the page, each with its heading."""

_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0; }
.sheet { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(32rem, 100%), 1fr)); }
figure { margin: 0; break-inside: avoid; } figcaption { font-size: .9rem; overflow-wrap: anywhere; }
img { background: white; border: 1px solid #8884; height: auto; max-width: 100%; }
"""


def write_page(folder: Path, figures: Iterable[FigureFile], missing: Sequence[MissingFigure]) -> Path:
    """Write the page of a folder, whole or not at all; gives its path.

    Args:
        folder: Where the files lie.
        figures: Files in this folder; those of one name are one figure.
        missing: Figures that could not be drawn, with the reason.

    Raises:
        StorageError: The disk is full, or writing is not allowed.
    """
    path = folder / PAGE
    try:
        write_whole(path, _page(list(figures), missing).encode())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; give another folder") from error
    return path


def _page(figures: Sequence[FigureFile], missing: Sequence[MissingFigure]) -> str:
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    ET.SubElement(head, "title").text = "Figures"
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    ET.SubElement(body, "h1").text = "Figures"
    by_kind: dict[str, dict[str, list[FigureFile]]] = {kind: {} for kind in HEADINGS}
    for figure in sorted(figures, key=lambda each: (each.title, each.path.name)):
        by_kind.setdefault(figure.kind, {}).setdefault(figure.path.stem, []).append(figure)
    by_kind = {kind: named for kind, named in by_kind.items() if named}
    links = ET.SubElement(ET.SubElement(body, "nav", {"aria-label": "Kinds of figures"}), "ul")
    for kind, named in by_kind.items():
        link = ET.SubElement(ET.SubElement(links, "li"), "a", href=f"#{kind}")
        link.text = f"{HEADINGS.get(kind, kind)} ({len(named)})"
    if not all(is_drawable(f"{each.title}{each.alternative}") for each in figures):
        ET.SubElement(body, "p").text = (
            "Characters that no font here has are written as numbers in the PNG files, such as \\u65e5; the SVG files have "
            "them as they are."
        )
    main = ET.SubElement(body, "main")
    for kind, named in by_kind.items():
        section = ET.SubElement(main, "section", id=kind)
        ET.SubElement(section, "h2").text = HEADINGS.get(kind, kind)
        sheet = ET.SubElement(section, "div", {"class": "sheet"})
        for files in named.values():
            _add_figure(sheet, files)
    if missing:
        section = ET.SubElement(main, "section", id="missing")
        ET.SubElement(section, "h2").text = "Not drawn"
        listed = ET.SubElement(section, "ul")
        for each in missing:
            ET.SubElement(listed, "li").text = plain(f"{each.title}: {each.reason}")
    return "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def _add_figure(sheet: ET.Element, files: Sequence[FigureFile]) -> None:
    by_ending = {each.path.suffix: each for each in files}
    shown = by_ending.get(".svg") or files[0]
    figure = ET.SubElement(sheet, "figure", id=shown.path.stem)
    link = ET.SubElement(figure, "a", href=quote(shown.path.name))
    words = plain(shown.alternative or shown.title)
    ET.SubElement(link, "img", src=quote((by_ending.get(".png") or shown).path.name), alt=words, loading="lazy")
    caption = ET.SubElement(figure, "figcaption")
    caption.text = f"{plain(shown.title)} ("
    for number, (ending, each) in enumerate(sorted(by_ending.items())):
        link = ET.SubElement(caption, "a", href=quote(each.path.name))
        link.text = ending.removeprefix(".").upper()
        link.tail = ", " if number + 1 < len(by_ending) else ")"
