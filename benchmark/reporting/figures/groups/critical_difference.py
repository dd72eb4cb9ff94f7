"""Draws the critical-difference diagram: methods by their mean rank over datasets, those not told apart joined by a bar.

Source: J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.statistics.ranks import Ranking, alike

_LINE_INCHES = 0.22


@style.styled
def draw_critical_difference(title: str, methods: Sequence[str], ranking: Ranking, datasets: int) -> Figure:
    """One point for each method at its mean rank, 1 (the best) on the left.

    Args:
        title: What the methods have in common, and the metric.
        methods: Their names, in the order of the ranks.
        ranking: Their ranks over the datasets.
        datasets: How many there are.
    """
    order = sorted(range(len(methods)), key=lambda method: ranking.mean_ranks[method])
    bars = alike(ranking.mean_ranks, ranking.critical_difference)
    rows = len(order) + len(bars)
    body = style.sheet(
        0.7 + _LINE_INCHES * rows,
        f"{title}: ranks over {datasets} datasets",
        f"mean rank, 1 is the best; critical difference {ranking.critical_difference:.2f} (Nemenyi, 5 %), "
        f"Iman and Davenport's p = {ranking.p:.3g}",
        ["A bar joins methods that are not told apart."] if bars else ["All methods are told apart."],
    )
    axes = body.add_subplot()
    for row, method in enumerate(order):
        axes.plot(ranking.mean_ranks[method], row, marker="o", color=style.BLUE, markersize=5)
    for row, members in enumerate(bars, len(order)):
        ranks = [ranking.mean_ranks[method] for method in members]
        axes.plot([min(ranks), max(ranks)], [row, row], color=style.GREY, linewidth=3)
    room = style.SHEET_INCHES / 3
    labels = [text_fitting.cut(methods[method], style.SMALL_POINTS, room) for method in order]
    axes.set_yticks(range(len(order)), labels)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0.9, len(methods) + 0.1)
    axes.set_xlabel("mean rank")
    axes.grid(visible=True, axis="x")
    return style.finish(body)
