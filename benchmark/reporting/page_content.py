"""What a page shows beside the tables of a report, as data: `writers/html.py` makes markup of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Names with what stands behind them."""

Chart: TypeAlias = tuple[str, tuple[tuple[str, tuple[float | None, ...]], ...]]
"""What a small chart measures, and its curves: what each is of, and its values by epoch."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the table of cells.

    Attributes:
        key: Column of the view `results`, or the name of a setting.
        title: Its heading.
        is_number: Whether it holds numbers.
        screen_only: Whether paper has no room for it; the parts of cells tell it, too.
    """

    key: str
    title: str
    is_number: bool = True
    screen_only: bool = False


@dataclass(frozen=True, slots=True)
class CellSetting:
    """A setting of a cell.

    Attributes:
        name, value: As a matrix has them.
        default: What it would be if nobody had set it; empty where the dataset or the model decides.
        is_changed: Whether it is another than that.
    """

    name: str
    value: str
    default: str = ""
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of a cell.

    Attributes:
        columns: Key and heading of each column of numbers.
        rows: Their texts.
        kept: Index of the row of the kept epoch; None where it is not shown.
        left_out: How many epochs are not shown.
        charts: Of all epochs.
        best: Index of the kept epoch among all of them.
    """

    columns: Pairs = ()
    rows: tuple[tuple[str, ...], ...] = ()
    kept: int | None = None
    left_out: int = 0
    charts: tuple[Chart, ...] = ()
    best: int | None = None


@dataclass(frozen=True, slots=True)
class MistakenImage:
    """A test image that was taken for another class.

    Attributes:
        index: Its place in the prepared test set.
        true, predicted: Names of classes.
        confidence: How sure the network was, in words.
        picture: The image as a PNG in a `data:` URL; empty where it is not at hand.
    """

    index: int
    true: str
    predicted: str
    confidence: str
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What a cell got wrong on the test images.

    Attributes:
        wrong, images: How many of how many.
        confusions: True class, the class it was taken for, how often; the most frequent first.
        surest: The most confident mistakes.
    """

    wrong: int
    images: int
    confusions: tuple[tuple[str, str, int], ...] = ()
    surest: tuple[MistakenImage, ...] = ()


@dataclass(frozen=True, slots=True)
class CellPart:
    """One cell of a report, in its newest execution.

    Attributes:
        cell_id: Its id.
        names: Dataset, model, strategy.
        seed: The seed, and what else is repeated, in words.
        status: One of `status.Status`.
        outcome: That with its cause, in words.
        values: Raw value and text of each column of the table of cells; None is missing.
        settings: All settings.
        epochs: Its history.
        environment: Versions, hardware, run.
        log: The end of what the worker printed.
        traceback: Of the exception that ended it.
        mistakes: None where no predictions are stored.
    """

    cell_id: str
    names: tuple[str, str, str]
    seed: str
    status: str
    outcome: str
    values: tuple[tuple[float | str | None, str], ...] = ()
    settings: tuple[CellSetting, ...] = ()
    epochs: Epochs = field(default_factory=Epochs)
    environment: Pairs = ()
    log: str = ""
    traceback: str = ""
    mistakes: Mistakes | None = None


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A figure within the page.

    Attributes:
        kind, title: As of `figures.drawing.figure_files.PlannedFigure`.
        svg: Its markup, which `figures.drawing.inline_svg` made harmless.
    """

    kind: str
    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class PageContent:
    """All that a page shows beside the tables.

    Attributes:
        name: Of the matrix; empty without one.
        facts: Machine, dates, versions, counts.
        columns: Of the table of cells.
        cells: In the order of the report.
        pictures: Its figures, those that compare first.
        undrawn: Titles of figures that are not shown, with the reason.
    """

    name: str = ""
    facts: Pairs = ()
    columns: tuple[Measure, ...] = ()
    cells: tuple[CellPart, ...] = ()
    pictures: tuple[PagePicture, ...] = ()
    undrawn: Pairs = ()
