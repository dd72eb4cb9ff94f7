"""What `bench diff` says of planted changes, planted luck and planted mistakes in labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from reporting_samples import row

from benchmark.errors import NotFoundError, UserError
from benchmark.reporting.comparing.prediction_diff import diff_selections
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.statistics.churn import DRAWS, NOT_ASKED, consistency, disagreement, flips_by_seeds
from benchmark.reporting.statistics.label_doubts import doubt_labels

NAMES = tuple(f"class {number}" for number in range(10))
LABELS = np.arange(40) % 10


def said(right: Sequence[int] | np.ndarray, *, labels=LABELS, images=None, names=NAMES) -> Predictions:
    """The answers of a cell that is 90 % sure of all of them, right where `right` is 1 and else one class too high."""
    predicted = np.where(np.asarray(right) == 1, labels, (labels + 1) % len(names))
    probabilities = np.full((len(labels), len(names)), 0.1 / (len(names) - 1), np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.9
    return Predictions(
        indices=np.arange(len(labels)) if images is None else np.asarray(images),
        labels=np.asarray(labels),
        predicted=predicted,
        probabilities=probabilities,
        class_names=names,
    )


def diff(a: dict[int, Predictions | None], b: dict[int, Predictions | None], *, split="test", changes=None, **columns):
    """The difference of the cells of two strategies, by seed; None has no predictions. `columns` are of B's rows."""
    stored = {}
    sides = []
    for strategy, cells, more in (("scratch", a, {}), ("regularized", b, columns)):
        rows = []
        for seed, answers in cells.items():
            number = len(stored) + 1
            stored[number] = answers
            common = {"data_fingerprint": "f" * 64, "test_examples": len(LABELS), "execution_id": number}
            rows.append(row(strategy, seed, changes=changes if strategy == "regularized" else None, **common | more))
        sides.append(rows)
    load = lambda ids: {key: stored[key] for key in ids if stored.get(key) is not None}  # noqa: E731
    return diff_selections(*sides, load, split=split)


def pattern(**places: Sequence[int]) -> list[np.ndarray]:
    """For three seeds what is right: all but the given places, at which the seeds named by the keyword are wrong."""
    right = np.ones((3, len(LABELS)), int)
    for seeds, images in places.items():
        for seed in seeds.removeprefix("wrong_in_"):
            right[int(seed), list(images)] = 0
    return list(right)


def by_seed(patterns: Sequence[np.ndarray], **more) -> dict[int, Predictions]:
    return {seed: said(right, **more) for seed, right in enumerate(patterns)}


def test_an_image_is_fixed_where_most_seeds_of_a_are_wrong_and_most_of_b_right():
    a = pattern(wrong_in_012=[1, 2, 30], wrong_in_01=[3], wrong_in_2=[4])
    b = pattern(wrong_in_012=[2, 7], wrong_in_0=[1], wrong_in_12=[30])
    found = diff(by_seed(a), by_seed(b))
    assert {(each.image, each.a_right, each.b_right, each.b_n) for each in found.fixed} == {(1, 0, 2, 3), (3, 1, 3, 3)}
    assert [(each.image, each.a_right, each.b_right) for each in found.broken] == [(7, 3, 0)]
    assert [(each.label, each.a_says, each.b_says) for each in found.broken] == [(7, 7, 8)]
    assert [each.image for each in found.missed_by_all] == [2]
    assert found.images == 40


def test_half_of_the_seeds_are_not_most():
    two = [np.ones(40, int), np.where(LABELS == 3, 0, 1)]
    found = diff(by_seed(two), by_seed([np.ones(40, int)] * 2))
    assert found.fixed == found.broken == ()


def test_churn_is_the_share_of_images_on_which_two_seeds_disagree():
    a = pattern(wrong_in_0=[0, 1, 2, 3])  # 4 of 40 between seed 0 and each of the others
    found = diff(by_seed(a), by_seed(pattern()))
    assert found.churn == pytest.approx((0.1 + 0.1 + 0 + 0 + 0 + 0) / 6)
    assert found.churn_between == pytest.approx(3 * 0.1 / 9)
    one = diff({0: said(a[0])}, {0: said(a[1])})
    assert (one.churn, one.by_seeds, one.consistency) == (None, None, None)
    assert "cannot tell" in one.sentence


def test_seeds_without_a_partner_or_predictions_are_named_and_take_no_part():
    everything = [np.ones(40, int)] * 4
    cells = by_seed(everything)
    found = diff({**cells, 7: None}, {seed: cells[seed] for seed in (0, 1, 2)})
    assert found.seeds == (3, 3)
    assert any("no test predictions of seed 7" in note for note in found.notes)
    assert any("without a partner: seed 3" in note for note in found.notes)


def test_seeds_that_do_not_pair_are_all_used():
    right = [np.ones(40, int)] * 3
    found = diff(by_seed(right), {seed + 10: each for seed, each in by_seed([np.zeros(40, int)] * 2).items()})
    assert found.seeds == (3, 2)
    assert len(found.broken) == 40
    assert found.consistency is not None


def test_other_data_other_labels_and_other_images_are_refused():
    cells = by_seed(pattern())
    with pytest.raises(UserError, match="not comparable: other data_fingerprint"):
        diff(cells, cells, data_fingerprint="e" * 64)
    with pytest.raises(UserError, match="labels of the stored predictions"):
        diff(cells, by_seed(pattern(), labels=(LABELS + 1) % 10))
    with pytest.raises(UserError, match="labels of the stored predictions"):
        diff(cells, by_seed(pattern(), names=tuple("abcdefghij")))
    with pytest.raises(UserError, match="other images"):
        diff(cells, by_seed(pattern(), images=np.arange(40) + 5))
    with pytest.raises(NotFoundError, match=r"no test predictions of B .* are recorded"):
        diff(cells, dict.fromkeys(range(3)))


def test_other_sizes_of_the_same_images_can_be_compared():
    cells = by_seed(pattern())
    found = diff(cells, cells, changes={"image_size": 32}, data_fingerprint="e" * 64)
    assert found.images == 40


def test_validation_images_are_compared_though_each_seed_has_others():
    places = [np.arange(20), np.arange(10, 30), np.arange(20, 40)]
    labels = [LABELS[each] for each in places]
    a = {s: said(np.where(places[s] == 12, 0, 1), labels=labels[s], images=places[s]) for s in range(3)}
    b = {s: said(np.where(places[s] == 39, 0, 1), labels=labels[s], images=places[s]) for s in range(3)}
    found = diff(a, b, split="validation")
    assert [(each.image, each.a_n, each.b_right) for each in found.fixed] == [(12, 2, 2)]
    assert [(each.image, each.a_n, each.b_right) for each in found.broken] == [(39, 1, 0)]
    assert found.images == 40
    assert found.consistency is not None
    assert found.consistency.least_p == pytest.approx(2 / 8)


# -- luck ----------------------------------------------------------------------------------------------------------------


def draws(seeds: int, *, shared: float, replays: int, images: int = 200) -> np.ndarray:
    """Right and wrong of two equal strategies [replays, 2 * seeds, images]; `shared` of the noise is that of the seed."""
    generator = np.random.default_rng(3)
    ease = generator.normal(3, 2.5, (replays, 1, images))
    common = np.tile(generator.standard_normal((replays, seeds, images)), (1, 2, 1))
    own = generator.standard_normal((replays, 2 * seeds, images))
    return (ease + 1.8 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own) > 0).astype(int)


@pytest.mark.parametrize("seeds", [4, 5])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_equal_strategies_seldom_differ_by_more_than_luck(seeds, shared):
    strata = [(list(range(seeds)), list(range(seeds, 2 * seeds)))]
    tests = [consistency(right, strata) for right in draws(seeds, shared=shared, replays=200)]
    assert np.mean([test.p <= 0.05 for test in tests]) <= 0.06


def test_a_handful_of_images_that_always_change_is_more_than_luck_though_accuracy_stays():
    strata = [(list(range(5)), list(range(5, 10)))]
    found = []
    for right in draws(5, shared=0.0, replays=50):
        right[:5, :6], right[5:, :6] = 0, 1
        right[:5, 6:12], right[5:, 6:12] = 1, 0
        found.append(consistency(right, strata).p <= 0.05)
    assert np.mean(found) >= 0.95


def test_drawn_ways_agree_with_all_ways():
    right = draws(6, shared=0.0, replays=1)[0]
    exact = consistency(right, [(range(6), range(6, 12))])
    twins = np.concatenate([right, right])
    several = consistency(twins, [(range(6), range(6, 12)), (range(12, 18), range(18, 24))])
    assert exact.least_p == pytest.approx(2 / 924)
    assert several.least_p == pytest.approx(1 / (DRAWS + 1))
    assert 0 < several.p <= 1


def test_cells_that_do_not_differ_have_no_evidence_at_all():
    right = np.ones((6, 30), int)
    assert consistency(right, [(range(3), range(3, 6))]).p == 1


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_expected_flips_are_those_that_equal_strategies_have(seeds):
    expected, real = [], []
    for right in draws(seeds, shared=0.0, replays=200):
        a, b = right[:seeds], right[seeds:]
        expected.append((flips_by_seeds(a) + flips_by_seeds(b)) / 2)
        most_a, most_b = a.sum(0) > seeds / 2, b.sum(0) > seeds / 2
        real.append((most_a != most_b).sum() / 2)
    assert np.mean(expected) == pytest.approx(np.mean(real), rel=0.2)


def test_images_with_one_seed_flip_as_often_as_others_disagree():
    right = np.array([[1, 1, 0, NOT_ASKED], [1, 0, 1, 1]])
    # two seeds: a majority is both, so that of one right and one wrong 1/4 are right, and 1/4 wrong, by most
    assert flips_by_seeds(right) == pytest.approx(2 / 16 + (0 + 0.5 + 0.5) / 3)
    assert flips_by_seeds(right[:1]) is None


def test_cells_without_a_common_image_have_no_churn():
    first, second = np.array([1, NOT_ASKED]), np.array([NOT_ASKED, 1])
    assert disagreement([(first, second)]) is None
    assert disagreement([(first, first), (first, second)]) == 0


# -- labels --------------------------------------------------------------------------------------------------------------


def planted(generator: np.random.Generator, wrong: int, *, images: int = 1000, classes: int = 10):
    """Labels of which the first `wrong` are wrong, and a function that gives a model's probabilities of the true class."""
    true = generator.integers(0, classes, images)
    labels = true.copy()
    labels[:wrong] = (true[:wrong] + generator.integers(1, classes, wrong)) % classes
    ease = generator.normal(6, 2, images)

    def probabilities() -> np.ndarray:
        scores = generator.normal(0, 1, (images, classes))
        scores[np.arange(images), true] += ease
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    return labels, probabilities


def test_planted_wrong_labels_are_found_with_high_precision_and_recall():
    labels, probabilities = planted(np.random.default_rng(0), 30)

    def cells():
        rows = [probabilities().astype(np.float32) for _ in range(3)]
        return {
            seed: Predictions(np.arange(1000), labels, each.argmax(axis=1), each, NAMES)
            for seed, each in enumerate(rows)
        }

    found = {each.image for each in diff(cells(), cells()).doubted_labels}
    right = found & set(range(30))
    assert len(right) / len(found) >= 0.8
    assert len(right) / 30 >= 0.8


def test_a_label_is_doubted_against_what_is_usual_for_its_class():
    # of class 1 the network is never sure: 0.4 is usual there, and enough to doubt a label 0 that has 0.3
    probabilities = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.3, 0.4, 0.3]])
    labels = np.array([0, 0, 1, 1, 0])
    doubted, is_sure = doubt_labels(probabilities, labels)
    assert (doubted & is_sure).tolist() == [False, False, False, False, True]


def test_nothing_is_taken_for_a_class_without_images():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.1, 0.0, 0.9]])
    doubted, is_sure = doubt_labels(probabilities, np.array([0, 0]))
    assert doubted.tolist() == [False, True]
    assert not is_sure.any()


def test_a_label_that_one_model_believes_is_not_doubted():
    sure = [np.ones(40, int)] * 3
    doubting = [np.where(np.arange(40) == 4, 0, 1)] * 3
    assert diff(by_seed(doubting), by_seed(sure)).doubted_labels == ()
    both = diff(by_seed(doubting), by_seed(doubting)).doubted_labels
    assert [(each.image, each.says, each.n) for each in both] == [(4, 5, 6)]
    assert both[0].probability < 0.1
