"""A matplotlib figure as markup within a page whose policy allows no style beside the page's own.

Styles become attributes, which the policy does not concern; ids are made distinct, and the text for readers who cannot
see the figure is added as `title` and `desc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from benchmark.reporting.figures.drawing.figure_files import DrawnFigure, encode
from benchmark.text import plain

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_ELEMENTS = frozenset({
    "svg", "g", "defs", "clipPath", "rect", "path", "use", "text", "tspan", "image", "line", "polyline", "polygon", "circle",
    "ellipse", "linearGradient", "radialGradient", "stop", "pattern", "mask",
})  # fmt: skip
"""What matplotlib draws with; everything else, scripts among it, is left out."""
_PROPERTIES = frozenset({
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linejoin", "stroke-linecap",
    "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "opacity", "text-anchor", "font-size", "font-family",
    "font-weight", "font-style", "clip-path", "clip-rule", "stop-color", "stop-opacity", "image-rendering", "visibility",
})  # fmt: skip
"""Properties that are attributes too (https://www.w3.org/TR/SVG2/styling.html#PresentationAttributes)."""
_ATTRIBUTES = frozenset({
    "id", "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "viewBox", "transform",
    "points", "offset", "clipPathUnits", "gradientUnits", "gradientTransform", "patternUnits", "preserveAspectRatio",
})  # fmt: skip
_FONT = re.compile(r"(?:(?P<style>italic|oblique) )?(?:(?P<weight>bold|[1-9]00) )?(?P<size>[\d.]+)px (?P<family>.+)")
_LOCAL = re.compile(r"(?:url\()?#([\w.-]+)\)?")
_DECIMALS = re.compile(r"(-?\d+\.\d\d)\d+")


def inline_svg(drawn: DrawnFigure) -> str:
    """The figure as one `svg` element, as wide as its place, without what a page must not have.

    What it shows is its `title` and `desc`. Ids begin with the name of the figure, which no other figure of a report has.
    """
    root = ET.fromstring(encode(drawn.figure, "svg"))  # noqa: S314  written by matplotlib a moment ago
    used = {match.group(1) for element in root.iter() for match in _references(element)}
    prefix = f"{drawn.plan.name}--"
    figure = _cleaned(root, used, prefix)
    figure.attrib.update({
        "class": "figure", "role": "img", "aria-labelledby": f"{prefix}title {prefix}desc",
        # what the style sheet of matplotlib says of all elements, they inherit
        "stroke-linejoin": "round", "stroke-linecap": "butt",
    })  # fmt: skip
    for position, (name, words) in enumerate((("title", drawn.plan.title), ("desc", drawn.alternative))):
        element = ET.Element(name, {"id": prefix + name})
        element.text = plain(words)
        figure.insert(position, element)
    return ET.tostring(figure, encoding="unicode", short_empty_elements=False)


def _references(element: ET.Element) -> Iterator[re.Match[str]]:
    for value in element.attrib.values():
        if "#" in value:
            yield from _LOCAL.finditer(value)


def _cleaned(element: ET.Element, used: set[str], prefix: str) -> ET.Element:
    """The element without what a page must not have, and with its ids made distinct; names without a namespace."""
    new = ET.Element(_local(element.tag), dict(_attributes(element, used, prefix)))
    new.text = element.text if new.tag in {"text", "tspan"} else None
    for child in element:
        if isinstance(child.tag, str) and child.tag.startswith(f"{{{_SVG}}}") and _local(child.tag) in _ELEMENTS:
            part = _cleaned(child, used, prefix)
            if part.tag not in {"g", "defs"} or len(part):
                part.tail = child.tail if new.tag in {"text", "tspan"} else None
                new.append(part)
    return new


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attributes(element: ET.Element, used: set[str], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name == "style":
            for each in value.split(";"):
                key, _, what = each.partition(":")
                yield from _presentation(key.strip(), what.strip(), prefix)
        elif name in {f"{{{_XLINK}}}href", "href"}:
            if value.startswith("#"):
                yield "href", f"#{prefix}{value[1:]}"
            elif value.startswith("data:image/png;base64,"):
                yield "href", re.sub(r"\s+", "", value)
        elif name == "id":
            if value in used:
                yield "id", prefix + value
        elif name in _PROPERTIES:
            yield from _presentation(name, value, prefix)
        elif name in _ATTRIBUTES:
            # a hundredth of a point cannot be seen
            yield name, re.sub(r"\s+", " ", _DECIMALS.sub(r"\1", value)).strip() if name in {"d", "points"} else value


def _presentation(name: str, value: str, prefix: str) -> Iterator[tuple[str, str]]:
    if name == "font" and (font := _FONT.fullmatch(value)):
        for part in ("style", "weight", "size", "family"):
            if font[part]:
                yield from _presentation(f"font-{part}", font[part], prefix)
    elif name == "font-family":
        # wherever a reader has not got the font, one as wide
        yield name, f"{value}, Verdana, sans-serif"
    elif name in _PROPERTIES:
        yield name, re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", value)
