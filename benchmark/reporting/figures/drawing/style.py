"""The look of all figures: width of a page's text, palette, title, subtitle and notes.

The palette is that of M. Okabe and K. Ito, "Color universal design" (2008), whose colours people with any of the common
kinds of colour blindness can tell apart. Yellow is left out: a thin yellow line on white is hard to see.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FuncFormatter
from matplotlib.transforms import Bbox

from benchmark.reporting.figures.drawing import text_fitting
from benchmark.text import plain

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY = "#595959"
MARKERS = "os^DvPX*<>ph"

SHEET_INCHES = 6.4
MARGIN_INCHES = 0.08
TITLE_POINTS, SUBTITLE_POINTS, LABEL_POINTS, SMALL_POINTS = 10.0, 8.5, 8.5, 7.5
DOTS_PER_INCH = 160

_PLACE_DIGITS = 6
"""Of places as parts of a figure, of about 1,000 pixels."""

_SHORT_NAME_INCHES = 1.5
"""Of names that left no room for what is drawn."""

_LINE_INCHES = 1.35 / 72
"""Height of a line of text, in inches for each point of its size."""

_Line: TypeAlias = tuple[str, float, bool]
"""A line of text, its size in points, and whether it is bold."""

_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": False,
    "axes.labelsize": LABEL_POINTS,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": LABEL_POINTS,
    "axes.unicode_minus": True,
    "figure.dpi": DOTS_PER_INCH,
    "figure.facecolor": "white",
    "font.size": LABEL_POINTS,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.interpolation": "nearest",
    "legend.fontsize": SMALL_POINTS,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "savefig.dpi": DOTS_PER_INCH,
    # text stays text in SVG: it can be searched, and is escaped by the writer
    "svg.fonttype": "none",
    # ids inside an SVG are hashes of this and of what is drawn: equal input, equal bytes
    "svg.hashsalt": "bench",
    # a `$` in a name is a dollar sign
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
}


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib up for our figures, whatever `matplotlibrc` the user has; restores the settings afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # a reader's machine without the first font takes one that looks like it
        mpl.rcParams["font.family"] = "sans-serif"
        mpl.rcParams["font.sans-serif"] = text_fitting.font_families()
        yield


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorator that runs a function inside `style`."""

    @wraps(draw)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with style():
            return draw(*args, **kwargs)

    return inside


def sheet(body_inches: float, title: str, subtitle: str, notes: Sequence[str] = ()) -> SubFigure:
    """Make a figure with its title and notes; returns its empty body, to draw on. `finish` gives the whole figure.

    Args:
        body_inches: Height of the body.
        title: What is shown of which cells.
        subtitle: What else a reader must know: n, and how it was measured.
        notes: Sentences at the foot.
    """
    room = SHEET_INCHES - 2 * MARGIN_INCHES
    head = _lines(title, TITLE_POINTS, room, 3, bold=True) + _lines(subtitle, SUBTITLE_POINTS, room, 3)
    foot = [line for note in notes for line in _lines(note, SMALL_POINTS, room, 6)]
    heights = (_height(head), body_inches, _height(foot))
    figure = Figure(figsize=(SHEET_INCHES, sum(heights)))
    figure.set_label(" ".join(_sentence(part) for part in (title, subtitle, *notes) if part))
    FigureCanvasAgg(figure)
    figure.set_layout_engine(
        ConstrainedLayoutEngine(w_pad=MARGIN_INCHES, h_pad=MARGIN_INCHES / 2, wspace=0.03, hspace=0.0)
    )
    _write(figure, head, sum(heights))
    _write(figure, foot, heights[2])
    used = [height for height in heights if height]
    return figure.add_subfigure(GridSpec(len(used), 1, figure, height_ratios=used)[1])


def _lines(text: str, points: float, room: float, most_lines: int, *, bold: bool = False) -> list[_Line]:
    lines = text_fitting.wrap(text, points, room, most_lines=most_lines, bold=bold)
    return [(line, points, bold) for line in lines]


def finish(body: SubFigure) -> Figure:
    """The whole figure, laid out once and then fixed, so that PNG and SVG have the same layout.

    Where names leave no room for what is drawn, they are shortened, and stand in full in the alternative text.
    """
    figure = body.get_figure(root=True)
    assert isinstance(figure, Figure)
    if not _lay_out(figure):
        full = [text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in _shorten(axis)]
        figure.set_label(" ".join([alternative_of(figure), *map(_sentence, full)]))
        _lay_out(figure)
    figure.set_layout_engine("none")
    _round_places(figure)
    return figure


def _round_places(figure: Figure) -> None:
    """Rounds where everything stands to a thousandth of a pixel, so that equal input gives equal bytes.

    The solver of the layout (kiwisolver) keeps its variables in the order of their addresses in memory, and adds in
    that order: the last digits differ from time to time, and with them the ids inside an SVG, which are hashes of
    places.
    """
    for part in figure.subfigs:
        box = part.bbox_relative
        box.p0, box.p1 = box.p0.round(_PLACE_DIGITS), box.p1.round(_PLACE_DIGITS)
    for axes in figure.axes:
        for which in ("original", "active"):
            place = axes.get_position(original=which == "original")
            axes.set_position(Bbox(place.get_points().round(_PLACE_DIGITS)), which)


def _lay_out(figure: Figure) -> bool:
    """Whether there is room for all; what matplotlib warns of, no user could change."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # images with square pixels find their place in the second pass
        for _ in range(2 if any(axes.get_aspect() != "auto" for axes in figure.axes) else 1):
            figure.draw_without_rendering()
    return not any("axes sizes collapsed" in str(each.message) for each in caught)


def _shorten(axis: Axis) -> list[str]:
    """Shortens the names along an axis; returns those that were too long."""
    if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
        return []
    full = [label.get_text() for label in axis.get_ticklabels()]
    short = text_fitting.cut_distinct(full, SMALL_POINTS, _SHORT_NAME_INCHES)
    axis.set_ticks(axis.get_ticklocs(), short)
    return [text for text, shown in zip(full, short, strict=True) if text != shown]


def _sentence(text: str) -> str:
    return plain(text).strip().rstrip(".") + "."


def alternative_of(figure: Figure) -> str:
    """What a figure of `sheet` shows, in words."""
    return str(figure.get_label())


def _height(lines: Sequence[_Line]) -> float:
    return sum(points * _LINE_INCHES for _, points, _ in lines) + (1.5 * MARGIN_INCHES if lines else 0)


def _write(figure: Figure, lines: Sequence[_Line], top_inches: float) -> None:
    top = top_inches - MARGIN_INCHES
    for line, points, bold in lines:
        figure.text(
            MARGIN_INCHES / SHEET_INCHES,
            top / figure.get_figheight(),
            line,
            fontsize=points,
            fontweight="bold" if bold else "normal",
            color="black" if bold else GREY,
            va="top",
        )
        top -= points * _LINE_INCHES


def hide_frame(axes: Axes) -> None:
    """Hide the lines and tick marks around axes; tick labels stay."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
