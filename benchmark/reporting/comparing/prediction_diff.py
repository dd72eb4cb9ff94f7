"""Compares two selections image by image, from stored predictions alone, for `bench diff A B`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmark.errors import NotFoundError, UserError
from benchmark.reporting.comparing.audit import audit
from benchmark.reporting.comparing.matching import Matched, match_selections, named, notes_on
from benchmark.reporting.predictions.answers import Answers, most_named, read_answers
from benchmark.reporting.predictions.image_changes import ChangedImage, PredictionDiff, SuspectImage
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow, has_several_labels
from benchmark.reporting.statistics.churn import NOT_ASKED, Stratum, consistency, disagreement, flips_by_seeds
from benchmark.reporting.statistics.label_doubts import doubt_labels
from benchmark.reporting.statistics.mean_difference import pairs_by_seed
from benchmark.reporting.table import Advised

if TYPE_CHECKING:
    from numpy.typing import NDArray

Side: TypeAlias = Mapping[int, Sequence[int]]
"""Of one side of a pair the rows of `Answers.said` by seed."""


def diff_selections(
    first: Sequence[ResultRow],
    second: Sequence[ResultRow],
    load: LoadPredictions,
    *,
    split: str = "test",
    machine: str | None = None,
) -> PredictionDiff:
    """Set selection B against selection A, image by image.

    Groups are matched as `compare_selections` does, and paired by seed. The cells of several matched pairs count together.

    Args:
        first: Rows of A, as for `report.build_report`.
        second: Rows of B.
        load: Reads the stored predictions of the split.
        split: `test` or `validation`.
        machine: As for `compare_selections`.

    Raises:
        NotFoundError: A selection matches nothing, nothing can be matched, or there are no predictions.
        UserError: The two sides were not asked about the same images, or their labels differ.
    """
    matched = match_selections(first, second, machine)
    _check(matched)
    answers = read_answers(dict.fromkeys(group for pair in matched.pairs for group in pair), load, split)
    dealt = [_sides(pair, answers) for pair in matched.pairs]
    a, b = ([row for pair in dealt for row in _rows(pair[side])] for side in (0, 1))
    if not a or not b:
        raise NotFoundError(_unrecorded(matched, 1 if a else 0, split))
    said, right = answers.said, answers.right
    within = [rows for pair in dealt for side in pair for rows in itertools.combinations(_rows(side), 2)]
    across = [rows for pair in dealt for rows in itertools.product(*map(_rows, pair))]
    by_seeds = [each for each in (flips_by_seeds(right[a]), flips_by_seeds(right[b])) if each is not None]
    strata = _strata(dealt, right)
    return PredictionDiff(
        pairs=tuple(matched.pairs),
        split=split,
        class_names=answers.class_names,
        images=int((_asked(right[a]) & _asked(right[b])).sum()),
        seeds=(len(a), len(b)),
        fixed=_changed(answers, a, b, fixed=True),
        broken=_changed(answers, a, b, fixed=False),
        churn=disagreement((said[one], said[other]) for one, other in within),
        churn_between=disagreement((said[one], said[other]) for one, other in across),
        by_seeds=sum(by_seeds) / len(by_seeds) if by_seeds else None,
        consistency=consistency(right, strata) if strata else None,
        missed_by_all=_missed(answers),
        doubted_labels=_doubted(answers),
        notes=(*_on_cells(matched, dealt, answers, split), *answers.notes, *Advised.shown(notes_on(matched))),
    )


def _check(matched: Matched) -> None:
    for a, b in matched.pairs:
        if prevents := audit(a, b).prevents:
            raise UserError(
                f"A ({named(a)}) and B ({named(b)}) are not comparable: other {'; '.join(prevents)}; their images can be "
                "set against each other only where both have the same data"
            )
    datasets = sorted({group.dataset for pair in matched.pairs for group in pair})
    if len(datasets) > 1:
        raise UserError(
            f"A and B: expected the images of one dataset, found {' and '.join(datasets)}; add for example "
            f"dataset={datasets[0]} to both"
        )


def _unrecorded(matched: Matched, side: int, split: str) -> str:
    group = matched.pairs[0][side]
    if has_several_labels(group.cells[0]):
        return f"A and B: expected one class an image, found several labels an image in {group.dataset}; compare the cells with: bench compare"
    selection = f"dataset={group.dataset},model={group.model},strategy={group.strategy}"
    what = f"no {split} predictions of {'AB'[side]} ({named(group)}) are recorded"
    return f"{what}; record them with: bench run --rerun --select {selection}"


def _sides(pair: tuple[Group, Group], answers: Answers) -> tuple[Side, Side]:
    """The rows of the seeds that have predictions; where most pair, of the seeds that both have."""
    a, b = ({seed: rows for seed in group.completed if (rows := answers.rows_of(group, seed))} for group in pair)
    common = pairs_by_seed(a, b)
    return ({seed: a[seed] for seed in common}, {seed: b[seed] for seed in common}) if common else (a, b)


def _rows(side: Side) -> list[int]:
    return [row for rows in side.values() for row in rows]


def _asked(right: NDArray[Any]) -> NDArray[Any]:
    """Whether any cell was asked about an image, [images]."""
    asked: NDArray[Any] = (right != NOT_ASKED).any(axis=0)
    return asked


def _strata(dealt: Sequence[tuple[Side, Side]], right: NDArray[Any]) -> list[Stratum]:
    """Within what seeds may be dealt out anew; empty where cells were asked about images in a way that allows none."""
    asked = right != NOT_ASKED
    strata: list[Stratum] = []
    for a, b in dealt:
        all_rows = [*_rows(a), *_rows(b)]
        if len(set(all_rows)) < len(all_rows):  # the same cells on both sides
            return []
        is_one = (asked[all_rows] == asked[all_rows[0]]).all()
        some = [(_rows(a), _rows(b))] if is_one else [([x], [y]) for x, y in zip(_rows(a), _rows(b), strict=False)]
        if not is_one and (a.keys() != b.keys() or any((asked[x] != asked[y]).any() for x, y in some)):
            return []
        strata += some
    return strata


def _changed(answers: Answers, a: Sequence[int], b: Sequence[int], *, fixed: bool) -> tuple[ChangedImage, ...]:
    """The images that most cells of one side got wrong and most of the other right, the clearest first."""
    import numpy as np

    right = answers.right
    asked = [(right[rows] != NOT_ASKED).sum(axis=0) for rows in (a, b)]
    counts = [(right[rows] == 1).sum(axis=0) for rows in (a, b)]
    was, becomes = (0, 1) if fixed else (1, 0)
    changed = (2 * (asked[was] - counts[was]) > asked[was]) & (2 * counts[becomes] > asked[becomes])
    places = np.flatnonzero(changed).tolist()
    sure = counts[becomes] / np.maximum(asked[becomes], 1) - counts[was] / np.maximum(asked[was], 1)
    changes = []
    for place in sorted(places, key=lambda place: (-sure[place], place)):
        label = int(answers.labels[place])
        wrong = most_named(answers.said[[a, b][was], place], but=label)
        changes.append(
            ChangedImage(
                image=int(answers.images[place]),
                label=label,
                a_right=int(counts[0][place]),
                b_right=int(counts[1][place]),
                a_n=int(asked[0][place]),
                b_n=int(asked[1][place]),
                a_says=wrong if fixed else label,
                b_says=label if fixed else wrong,
            )
        )
    return tuple(changes)


def _missed(answers: Answers) -> tuple[SuspectImage, ...]:
    """The images that every cell got wrong, those first whose label was least probable."""
    import numpy as np

    right = answers.right
    missed = np.flatnonzero((right != 1).all(axis=0) & _asked(right))
    suspects = [_suspect(answers, place, most_named(answers.said[:, place])) for place in missed.tolist()]
    return tuple(sorted(suspects, key=lambda each: (each.probability, each.image)))


def _doubted(answers: Answers) -> tuple[SuspectImage, ...]:
    """The images whose label every model doubts, and one is sure of another class; the most doubtful first."""
    import numpy as np

    doubted, is_sure = _asked(answers.right), np.zeros(len(answers.images), dtype=bool)
    for places, probabilities in answers.by_group:
        doubts, sure = doubt_labels(probabilities, answers.labels[places])
        doubted[places] &= doubts
        is_sure[places] |= doubts & sure
    suspects = []
    for place in np.flatnonzero(doubted & is_sure).tolist():
        mean = answers.mean_probabilities(place)
        says = int(np.where(np.arange(len(mean)) == answers.labels[place], -1.0, mean).argmax())
        suspects.append((float(mean[answers.labels[place]] - mean[says]), _suspect(answers, place, says)))
    return tuple(each for _, each in sorted(suspects, key=lambda pair: (pair[0], pair[1].image)))


def _suspect(answers: Answers, place: int, says: int) -> SuspectImage:
    label = int(answers.labels[place])
    return SuspectImage(
        image=int(answers.images[place]),
        label=label,
        says=says,
        n=int((answers.said[:, place] != NOT_ASKED).sum()),
        probability=float(answers.mean_probabilities(place)[label]),
    )


def _on_cells(matched: Matched, dealt: Sequence[tuple[Side, Side]], answers: Answers, split: str) -> Iterator[str]:
    """Which cells take no part, and why."""
    for pair, sides in zip(matched.pairs, dealt, strict=True):
        for side, group, rows in zip("AB", pair, sides, strict=True):
            have = {seed for seed in group.completed if answers.rows_of(group, seed)}
            if without := sorted(group.completed.keys() - have):
                seeds = ", ".join(map(str, without))
                yield f"{side}: no {split} predictions of seed {seeds} of {named(group)} are recorded."
            if alone := sorted(have - rows.keys()):
                seeds = ", ".join(map(str, alone))
                yield f"{side}: without a partner: seed {seeds} of {named(group)}."
