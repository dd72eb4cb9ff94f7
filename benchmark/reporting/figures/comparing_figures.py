"""The figures of a report that compare groups with each other: `plan_comparing` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure

from benchmark import units
from benchmark.reporting.comparing.differences import Comparisons
from benchmark.reporting.figures.drawing.figure_files import PlannedFigure, UndrawableError, file_stem
from benchmark.reporting.figures.figure_sources import FigureSources, drawable_curves, numbered
from benchmark.reporting.figures.groups.accuracy_by_time import MOST_POINTS, draw_accuracy_by_time, timed_groups
from benchmark.reporting.figures.groups.compared_curves import draw_compared_curves
from benchmark.reporting.figures.groups.critical_difference import draw_critical_difference
from benchmark.reporting.figures.groups.curves import SeedCurve
from benchmark.reporting.figures.groups.effect_sizes import MOST_ROWS as MOST_EFFECTS
from benchmark.reporting.figures.groups.effect_sizes import Effect, draw_effects
from benchmark.reporting.figures.groups.forecast_accuracy import RUN, draw_forecasts
from benchmark.reporting.figures.groups.group_lines import LEGEND_NAME_INCHES, MOST_TOLD_APART, GroupNames
from benchmark.reporting.figures.groups.heat_map import MOST_ROWS, draw_heat_map
from benchmark.reporting.figures.groups.time_by_phase import MOST_BARS, NAME_INCHES, draw_time_by_phase
from benchmark.reporting.figures.groups.transfer_curves import TransferSide, draw_transfer
from benchmark.reporting.rows.groups import Group, Pair, where
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, Metric
from benchmark.reporting.rows.phases import phases_of
from benchmark.reporting.rows.training_budget import LoadEpochs
from benchmark.reporting.statistics.intervals import mean_of
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.tables.pareto import pareto_front
from benchmark.reporting.tables.rankings import RankedPlace, ranked_places, ranking_of

_TOGETHER = 7
"""So many groups of a dataset share a picture of learning curves; more are drawn by model."""


def plan_comparing(sources: FigureSources, varying: Sequence[str]) -> Iterator[PlannedFigure]:
    """Figures of several groups each; a group alone, and a single point, is compared with nothing."""
    metric = sources.comparisons.judging.main
    yield from _heat_maps(sources.groups, varying, metric)
    yield from _effects(sources, varying, metric)
    yield from _compared_curves(sources, varying, metric)
    for pair in sources.transfers:
        if pair.scratch is not None and pair.scratch.completed and pair.fine_tuned.completed:
            yield _transfer(sources, pair.fine_tuned, pair.scratch, varying)
    yield from _accuracy_by_time(sources.groups, varying, metric)
    yield from _time_by_phase(sources, varying)
    yield from _forecasts(sources)
    yield from _rankings(sources.groups, varying, metric)


def _planned(
    kind: str, names: Iterable[str], title: str, groups: Iterable[Group], draw: partial[Figure]
) -> PlannedFigure:
    cells = tuple(dict.fromkeys(cell_id for group in groups for cell_id in cells_of(group)))
    return PlannedFigure(kind, file_stem(kind, *names), title, cells, draw)


def cells_of(group: Group) -> list[str]:
    """Ids of all cells of a group that were begun, those without a result too."""
    return [*group.cell_ids, *(each.row["cell_id"] for each in group.missing if each.row)]


def _named(metric: Metric) -> list[str]:
    """What the name of a file says of the metric: nothing where it is the usual one."""
    return [] if metric == TEST_ACCURACY else [metric.key]


def _by_dataset(groups: Iterable[Group]) -> dict[str, list[Group]]:
    parts: dict[str, list[Group]] = {}
    for group in groups:
        parts.setdefault(group.dataset, []).append(group)
    return parts


def _pages(groups: Sequence[Group], most: int) -> Mapping[tuple[str, ...], Sequence[Group]]:
    """All groups together where they are few, else by dataset, by the names that the picture then has."""
    if len(groups) <= most or len(parts := _by_dataset(groups)) == 1:
        return {(): groups}
    return {(dataset,): several for dataset, several in parts.items()}


def _heat_maps(groups: Sequence[Group], varying: Sequence[str], metric: Metric) -> Iterator[PlannedFigure]:
    strategies = len({group.strategy for group in groups}) or 1
    for names, several in _pages(groups, MOST_ROWS * strategies).items():
        if sum(bool(group.values(metric)) for group in several) > 1:
            what = names[0] if names else _common(several)
            title = f"{metric.title} of {what} by dataset, model and strategy"
            draw = partial(draw_heat_map, what, metric, several, varying)
            yield _planned("heat", [*names, *_named(metric)], title, several, draw)


def _common(groups: Sequence[Group]) -> str:
    """The dataset that all groups share, or how many there are."""
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    return datasets[0] if len(datasets) == 1 else units.plural(len(datasets), "dataset")


def _effects(sources: FigureSources, varying: Sequence[str], metric: Metric) -> Iterator[PlannedFigure]:
    judged = _judged(sources.comparisons)
    parts: dict[tuple[str, ...], list[Pair]] = {(): list(judged)}
    if len(judged) > MOST_EFFECTS:
        parts = {(name,): [] for name in dict.fromkeys(pair[1].dataset for pair in judged)}
        for pair in judged:
            parts[pair[1].dataset,].append(pair)
    for names, pairs in parts.items():
        if len(pairs) > 1:
            what, labels = _effect_labels(pairs, varying)
            effects = [Effect(label, judged[pair]) for pair, label in zip(pairs, labels, strict=True)]
            largest = sorted(effects, key=lambda each: -abs(each.difference.mean))[:MOST_EFFECTS]
            left_out = len(effects) - len(largest)
            notes = [f"Not shown: {units.plural(left_out, 'smaller difference')}."] if left_out else []
            draw = partial(draw_effects, what, metric, [each for each in effects if each in largest], notes)
            title = f"differences in {metric.title} with intervals, {what}"
            groups = [group for pair in pairs for group in pair]
            yield _planned("effects", [*names, *_named(metric)], title, groups, draw)


def _judged(comparisons: Comparisons) -> dict[Pair, Difference]:
    metric = comparisons.judging.main
    return {pair: each for (pair, key), each in comparisons.judged.items() if key == metric.key}


def judged_effects(comparisons: Comparisons, varying: Sequence[str]) -> tuple[str, list[Effect]]:
    """All differences that a report judges in its first metric, and what they have in common."""
    judged = _judged(comparisons)
    what, labels = _effect_labels(list(judged), varying) if judged else ("", [])
    return what, [Effect(label, each) for label, each in zip(labels, judged.values(), strict=True)]


def _effect_labels(pairs: Sequence[Pair], varying: Sequence[str]) -> tuple[str, list[str]]:
    """What all pairs have in common, and of each what else it shares and what is subtracted: `net: v2 - v1`."""
    sides = [[[*group.names, *group.describe(varying)] for group in pair] for pair in pairs]
    everywhere = [name for name in sides[0][0] if all(name in side for pair in sides for side in pair)]
    labels = []
    for first, second in sides:
        shared = [name for name in second if name in first and name not in everywhere]
        ours, theirs = (
            [name for name in side if name not in other] for side, other in ((second, first), (first, second))
        )
        difference = f"{', '.join(ours) or second[2]} - {', '.join(theirs) or first[2]}"
        labels.append(": ".join(filter(None, [", ".join(shared), difference])))
    return ", ".join(everywhere) or _common([pair[1] for pair in pairs]), labels


def _compared_curves(sources: FigureSources, varying: Sequence[str], metric: Metric) -> Iterator[PlannedFigure]:
    for dataset, of_dataset in _by_dataset(sources.groups).items():
        drawable = [group for group in of_dataset if any((row.get("epochs") or 0) > 1 for row in group.cells)]
        parts: dict[tuple[str, ...], list[Group]] = {(dataset,): drawable}
        if len(drawable) > _TOGETHER:
            parts = {}
            for group in drawable:
                parts.setdefault((dataset, group.model), []).append(group)
        for names, groups in parts.items():
            if len(groups) > 1:
                # what all have in common is named once
                what = ", ".join(name for place in range(3) if (name := _only(group.names[place] for group in groups)))
                draw = partial(_draw_compared_curves, sources.epochs, what, groups, varying, metric)
                yield _planned("comparison", names, f"learning curves of {what}", groups, draw)


def _only(names: Iterable[str]) -> str:
    """The name that there is; nothing where there are several."""
    known = set(names)
    return known.pop() if len(known) == 1 else ""


def _draw_compared_curves(
    load: LoadEpochs, title: str, groups: Sequence[Group], varying: Sequence[str], metric: Metric
) -> Figure:
    shown, notes = _best(groups, metric, MOST_TOLD_APART)
    names = GroupNames.of(groups, varying, inches=LEGEND_NAME_INCHES)
    labels = dict(zip(groups, names.labels, strict=True))
    curves: dict[str, list[SeedCurve]] = {}
    for group in shown:
        try:
            curves[labels[group]] = drawable_curves(load, numbered(group))
        except UndrawableError:
            notes.append(f"Not shown: {labels[group]}, of which less than two epochs are recorded.")
    if len(curves) < 2:
        raise UndrawableError("the epochs of less than two of its groups are recorded")
    return draw_compared_curves(title, curves, [*names.notes, *notes])


def _best(
    groups: Sequence[Group], metric: Metric, most: int, always: Sequence[Group] = ()
) -> tuple[list[Group], list[str]]:
    """As many groups as a picture can hold, the best in a metric, in their order, and a note on the others."""
    if len(groups) <= most:
        return list(groups), []
    sign = 1 if metric.higher_is_better else -1
    known = {group: measured for group in groups if (measured := group.measured(metric)[0])}
    best = [*always, *sorted(known, key=lambda group: -sign * known[group].mean)]
    kept = list(dict.fromkeys(best))[:most]
    note = f"The {len(kept)} best of {len(groups)} groups in {metric.title} are shown."
    return [group for group in groups if group in kept], [note]


def _transfer(sources: FigureSources, fine: Group, scratch: Group, varying: Sequence[str]) -> PlannedFigure:
    def side(group: Group) -> TransferSide:
        accuracies = list(group.values(TEST_ACCURACY).values())
        return TransferSide(group.strategy, drawable_curves(sources.epochs, numbered(group)), accuracies)

    place, cells = where(fine, varying), fine.cell_ids + scratch.cell_ids
    return PlannedFigure(
        "transfer",
        file_stem("transfer", *fine.names, f"against-{scratch.strategy}", settings=fine.describe(varying), distinction=cells[0][:8]),
        f"transfer of {place}, {fine.strategy} against {scratch.strategy}",
        cells,
        lambda: draw_transfer(place, side(fine), side(scratch)),
    )  # fmt: skip


def _accuracy_by_time(groups: Sequence[Group], varying: Sequence[str], metric: Metric) -> Iterator[PlannedFigure]:
    if metric.is_timing:
        return
    for dataset, several in _by_dataset(groups).items():
        tested = [group for group in several if group.completed]
        if len(timed_groups(tested, metric)) > 1:
            shown, notes = _best(tested, metric, MOST_POINTS, pareto_front(tested, metric, FIT_SECONDS))
            draw = partial(draw_accuracy_by_time, dataset, shown, varying, metric, notes)
            title = f"{metric.title} against time on {dataset}"
            yield _planned("time", [dataset, *_named(metric)], title, tested, draw)


def _time_by_phase(sources: FigureSources, varying: Sequence[str]) -> Iterator[PlannedFigure]:
    done = [group for several in _by_dataset(sources.groups).values() for group in several if group.completed]
    for names, groups in _pages(done, MOST_BARS).items():
        if len(groups) > 1:
            what = names[0] if names else _common(groups)
            draw = partial(_draw_phases, sources.epochs, what, groups, varying)
            yield _planned("phases", names, f"time by phase, {what}", groups, draw)


def _draw_phases(load: LoadEpochs, title: str, groups: Sequence[Group], varying: Sequence[str]) -> Figure:
    names = GroupNames.of(groups, varying, inches=NAME_INCHES)
    phases = mean_phases(load, groups, names.labels)
    if len(phases) < 2:
        raise UndrawableError("the epochs of less than two of its groups are recorded")
    longest = dict(sorted(phases.items(), key=lambda item: -sum(item[1].values()))[:MOST_BARS])
    left_out = len(phases) - len(longest)
    notes = [f"Not shown: {units.plural(left_out, 'group')} that took less time."] if left_out else []
    return draw_time_by_phase(
        title, {label: each for label, each in phases.items() if label in longest}, [*names.notes, *notes]
    )


def mean_phases(load: LoadEpochs, groups: Sequence[Group], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean seconds by phase over the cells of each group, by its label; groups without recorded epochs are left out."""
    means = {}
    for group, label in zip(groups, labels, strict=True):
        epochs = load(group.execution_ids)
        known = [phases_of(row, epochs.get(row["execution_id"], ())) for row in group.cells]
        if known := [phases for phases in known if phases]:
            means[label] = {name: mean_of([phases[name] for phases in known]) for name in known[0]}
    return means


def _forecasts(sources: FigureSources) -> Iterator[PlannedFigure]:
    forecasts = sources.forecasts()
    runs = sum(each.basis == RUN for each in forecasts)
    # a run of one cell says what the cell does
    if max(runs, len(forecasts) - runs) > 1:
        what = _common(sources.groups)
        yield _planned(
            "forecast", [], "forecast against actual time", sources.groups, partial(draw_forecasts, what, forecasts)
        )


def _rankings(groups: Sequence[Group], varying: Sequence[str], metric: Metric) -> Iterator[PlannedFigure]:
    """The critical-difference diagram of each model, or strategy, whose methods were measured on several datasets."""
    for place in ranked_places(groups, metric, varying):
        if len(place.scores) > 1:
            cells = tuple(cell_id for group in groups if place.title in group.names for cell_id in group.cell_ids)
            name = file_stem("ranks", place.title, *_named(metric), distinction=cells[0][:8])
            title = f"ranks of the methods of {place.title}"
            yield PlannedFigure("ranks", name, title, cells, partial(_draw_ranking, place, metric))


def _draw_ranking(place: RankedPlace, metric: Metric) -> Figure:
    ranking = ranking_of(place, metric)
    return draw_critical_difference(f"{place.title}, {metric.title}", place.methods, ranking, len(place.scores))
