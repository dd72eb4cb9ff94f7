"""Tables of rankings over datasets: mean ranks with Friedman's test, then every pair with Wilcoxon's and its wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from benchmark.reporting.comparing.verdict_sentences import sentence
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.statistics.families import holm
from benchmark.reporting.statistics.intervals import ALPHA, mean_of
from benchmark.reporting.statistics.mean_difference import BETTER, NOT_RESOLVED, WORSE
from benchmark.reporting.statistics.ranks import FEWEST_DATASETS, Ranking, alike, rank, signed_rank_p
from benchmark.reporting.table import Row, Table, TableColumn
from benchmark.reporting.tables.shown import Part, Shown


@dataclass(frozen=True, slots=True)
class RankedPlace:
    """Methods that were measured on the same datasets.

    Attributes:
        title: What is the same in all of them: the model, or the strategy where models are ranked.
        methods: Names of at least two strategies, or models.
        scores: The mean of the seeds on each dataset, in the order of the methods.
        incomplete: Datasets that are left out, for a method has no result there.
    """

    title: str
    methods: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]
    incomplete: tuple[str, ...]


def rankings(shown: Shown) -> Part:
    """Two tables for each model on several datasets: its strategies by mean rank, and their pairs."""
    metric = shown.comparisons.judging.main
    tables: list[Table] = []
    notes: list[str] = []
    places = ranked_places(shown.groups, metric, shown.varying)
    for place in places:
        if len(place.scores) > 1:
            margin = shown.comparisons.judging.margin
            tables += [_ranks(place, metric), _pairs(place, metric, margin, shown.baseline)]
    if few := [place.title for place in places if len(place.scores) < 2]:
        notes.append(f"Rankings of {', '.join(few)}: fewer than two datasets on which all methods have results.")
    if not tables and not notes:
        notes = ["Rankings: there are not two strategies, or models, with results on two datasets or more."]
    return tables, notes


def ranked_places(groups: Sequence[Group], metric: Metric, varying: Sequence[str]) -> list[RankedPlace]:
    """What can be ranked: the strategies of each model; where there is one strategy alone, the models."""
    by_model = len({group.strategy for group in groups}) > 1
    places: dict[str, dict[str, dict[str, float]]] = {}
    for group in groups:
        values = list(group.values(metric).values())
        if not values:
            continue
        own, other = (group.strategy, group.model) if by_model else (group.model, group.strategy)
        method = ", ".join([own, *group.describe(varying)])
        places.setdefault(other, {}).setdefault(group.dataset, {})[method] = mean_of(values)
    return [place for title, datasets in places.items() if (place := _place(title, datasets)) is not None]


def _place(title: str, datasets: Mapping[str, Mapping[str, float]]) -> RankedPlace | None:
    methods = tuple(dict.fromkeys(method for scores in datasets.values() for method in scores))
    if len(methods) < 2:
        return None
    whole = {
        name: tuple(scores[m] for m in methods) for name, scores in datasets.items() if len(scores) == len(methods)
    }
    return RankedPlace(title, methods, whole, tuple(name for name in datasets if name not in whole))


def ranking_of(place: RankedPlace, metric: Metric) -> Ranking:
    """The mean ranks of a place with at least two datasets."""
    return rank(list(place.scores.values()), higher_is_better=bool(metric.higher_is_better))


_RANKS = (
    TableColumn("strategy", "method", "text", identifies=True),
    TableColumn("mean_rank", "mean rank", "score"),
    TableColumn("datasets", "datasets", "count"),
    TableColumn("friedman_chi2", "Friedman chi2", "score"),
    TableColumn("iman_davenport_f", "Iman-Davenport F", "score"),
    TableColumn("p", "p", "p"),
    TableColumn("critical_difference", "critical difference", "score"),
)


def _ranks(place: RankedPlace, metric: Metric) -> Table:
    ranking = ranking_of(place, metric)
    of_all = {
        "datasets": len(place.scores),
        "friedman_chi2": ranking.chi2,
        "iman_davenport_f": ranking.f,
        "p": ranking.p,
        "critical_difference": ranking.critical_difference,
    }
    rows = [
        Row({"strategy": method, "mean_rank": mean, **of_all})
        for mean, method in sorted(zip(ranking.mean_ranks, place.methods, strict=True))
    ]
    return Table(
        "rankings",
        f"Ranks by {metric.title}: {place.title}",
        _RANKS,
        tuple(rows),
        {"of": place.title, "metric": metric.key},
        notes=tuple(_notes(place, ranking)),
        answer=_test(place, ranking, f" of {place.title}"),
    )


def _test(place: RankedPlace, ranking: Ranking, of: str = "") -> str:
    verdict = "differ" if ranking.p < ALPHA else "are not shown to differ"
    return f"over these {len(place.scores)} datasets the methods{of} {verdict} (Iman and Davenport's F, p = {ranking.p:.3g})"


def _notes(place: RankedPlace, ranking: Ranking) -> list[str]:
    count = len(place.scores)
    notes = [
        f"{sentence(_test(place, ranking))} Ranks are of the means over seeds, 1 is the best; ties share a rank and are not corrected for."
    ]
    if count < FEWEST_DATASETS:
        notes.append(f"This holds for these {count} datasets; so few say little about others.")
    if ranking.p < ALPHA:
        sets = [
            " and ".join(place.methods[index] for index in members)
            for members in alike(ranking.mean_ranks, ranking.critical_difference)
        ]
        apart = "; ".join(sets) if sets else "none"
        notes.append(
            f"Mean ranks that differ by more than {ranking.critical_difference:.2f} are resolved (Nemenyi). Not told apart: {apart}."
        )
    if place.incomplete:
        notes.append(f"Left out, because not all methods have a result there: {', '.join(place.incomplete)}.")
    return notes


_PAIRS = (
    TableColumn("first", "first", "text", identifies=True),
    TableColumn("second", "second", "text", identifies=True),
    TableColumn("wins", "wins", "count"),
    TableColumn("draws", "draws", "count"),
    TableColumn("losses", "losses", "count"),
    TableColumn("wilcoxon_p", "Wilcoxon p", "p"),
    TableColumn("adjusted_p", "Holm p", "p"),
    TableColumn("verdict", "second is", "verdict"),
)


def _pairs(place: RankedPlace, metric: Metric, margin: float | None, baseline: str | None) -> Table:
    """Each pair, or each method with the baseline: on how many datasets the second wins, and the signed-rank test."""
    pairs = list(combinations(range(len(place.methods)), 2))
    if baseline in place.methods:
        base = place.methods.index(baseline)
        pairs = [(base, other) for other in range(len(place.methods)) if other != base]
    sign = 1 if metric.higher_is_better else -1
    gains = [[sign * (scores[b] - scores[a]) for scores in place.scores.values()] for a, b in pairs]
    tested = [signed_rank_p([round(each, 12) for each in gain]) for gain in gains]
    adjusted = holm(tested)
    rows = []
    for (a, b), gain, p, holm_p in zip(pairs, gains, tested, adjusted, strict=True):
        draw = max(margin or 0.0, 1e-12)
        wins, losses = sum(each > draw for each in gain), sum(each < -draw for each in gain)
        verdict = None if holm_p is None else NOT_RESOLVED
        if holm_p is not None and holm_p < ALPHA:
            verdict = BETTER if wins > losses or (wins == losses and sum(gain) > 0) else WORSE
        rows.append(
            Row(
                {
                    "first": place.methods[a],
                    "second": place.methods[b],
                    "wins": wins,
                    "draws": len(gain) - wins - losses,
                    "losses": losses,
                    "wilcoxon_p": p,
                    "adjusted_p": holm_p,
                    "verdict": verdict,
                }
            )
        )
    family = sum(p is not None for p in tested)
    note = f"Datasets on which the second wins, draws{' (within the margin)' if margin else ''} and loses. "
    note += (
        f"Wilcoxon's signed-rank test of the datasets' means, Holm over {family}."
        if family
        else f"Below {FEWEST_DATASETS} datasets Wilcoxon's test cannot resolve anything and is left out."
    )
    about = {"of": place.title, "metric": metric.key}
    return Table("rankings", f"Wins, draws and losses: {place.title}", _PAIRS, tuple(rows), about, notes=(note,))
