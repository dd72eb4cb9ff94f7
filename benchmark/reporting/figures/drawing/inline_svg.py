"""A figure as SVG that can stand within a page of HTML, beside others."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from benchmark.reporting.figures.drawing.figure_files import DrawnFigure, encode

_SVG = "{http://www.w3.org/2000/svg}"
_REFERENCE = r"(?:^|(?<=url\())#([\w.-]+)"
"""A link, or a place in a style; colours, which begin alike, stand elsewhere."""


def inline_svg(drawn: DrawnFigure) -> str:
    """The figure as one `svg` element, without scripts, style sheets and links to elsewhere, as wide as its place.

    What it shows is its `title` and `desc`. Ids begin with the name of the figure, which no other figure of a report has.
    """
    root = ET.fromstring(encode(drawn.figure, "svg"))  # noqa: S314  written by matplotlib a moment ago
    for place in [place for place in root.iter() if place.find(f"{_SVG}style") is not None]:
        place.remove(place.find(f"{_SVG}style"))  # type: ignore[arg-type] # it was found
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    _rename(root, drawn.plan.name)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    label, words = f"{drawn.plan.name}--title", f"{drawn.plan.name}--desc"
    # what the style sheet of matplotlib says of all elements, they inherit
    root.attrib.update({
        "class": "figure", "role": "img", "aria-labelledby": f"{label} {words}",
        "stroke-linejoin": "round", "stroke-linecap": "butt",
    })  # fmt: skip
    for number, (tag, name, text) in enumerate(
        [("title", label, drawn.plan.title), ("desc", words, drawn.alternative)]
    ):
        element = ET.Element(f"{_SVG}{tag}", id=name)
        element.text = text
        root.insert(number, element)
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ET.tostring(root, encoding="unicode")


def _rename(root: ET.Element, name: str) -> None:
    """Begin all ids that something refers to with the name, and drop the others."""
    wanted = {
        found for each in root.iter() for value in each.attrib.values() for found in re.findall(_REFERENCE, value)
    }
    for each in root.iter():
        for key, value in list(each.attrib.items()):
            if key != "id":
                each.set(key, re.sub(_REFERENCE, lambda found: f"#{name}--{found[1]}", value))
            elif value in wanted:
                each.set(key, f"{name}--{value}")
            else:
                del each.attrib[key]
