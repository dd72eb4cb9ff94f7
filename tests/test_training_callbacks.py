from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import results_samples
from hypothesis import given
from hypothesis import strategies as st
from training_cells import stage

from benchmark.matrix.cell import EarlyStopping, ReduceLearningRate
from benchmark.training.callbacks import BestWeights, StageCallbacks


def score(val_accuracy, val_loss=1.0, epoch=1):
    return results_samples.epoch(epoch, val_accuracy=val_accuracy, val_loss=val_loss)


def keep(scores, *, keep="best", monitor="val_accuracy"):
    keeper = BestWeights(keep, monitor)
    improved = [
        keeper.update(replace(score, epoch=epoch), {"w": np.array(epoch)}) for epoch, score in enumerate(scores, 1)
    ]
    return keeper, improved


def test_the_best_epoch_has_the_highest_accuracy():
    keeper, improved = keep([score(0.5), score(0.8), score(0.7)])
    assert (keeper.epoch, improved) == (2, [True, True, False])
    assert keeper.weights["w"] == 2


def test_a_tie_goes_to_the_lower_loss_then_to_the_earlier_epoch():
    assert keep([score(0.8, 0.9), score(0.8, 0.7), score(0.8, 0.7)])[0].epoch == 2


def test_val_loss_can_decide():
    assert keep([score(0.8, 0.9), score(0.1, 0.7), score(0.9, 0.8)], monitor="val_loss")[0].epoch == 2


def test_an_epoch_without_a_number_is_never_the_best():
    assert keep([score(0.8), score(math.nan, math.nan)])[0].epoch == 1


def test_keep_last_keeps_the_last():
    keeper, improved = keep([score(0.8), score(0.7)], keep="last")
    assert (keeper.epoch, improved) == (2, [True, False])


def test_without_validation_the_last_is_kept():
    assert keep([score(None, None), score(None, None)])[0].epoch == 2


def test_early_stopping_waits_for_patience_epochs_without_improvement():
    callbacks = StageCallbacks(stage(early_stopping=EarlyStopping("val_accuracy", 2, 0.0)))
    stopped = []
    for value in (0.5, 0.6, 0.6, 0.55):
        callbacks.update(score(value))
        stopped.append(callbacks.stopped)
    assert stopped == [False, False, False, True]


def test_an_improvement_must_exceed_min_delta():
    callbacks = StageCallbacks(stage(early_stopping=EarlyStopping("val_loss", 1, 0.1)))
    callbacks.update(score(0.5, 1.0))
    callbacks.update(score(0.5, 0.95))
    assert callbacks.stopped


def test_the_learning_rate_falls_after_each_patience_and_not_below_its_floor():
    reduction = ReduceLearningRate("val_loss", 0.1, 2, 0.005)
    callbacks = StageCallbacks(stage(learning_rate=0.1, reduce_learning_rate=reduction))
    rates = []
    for _ in range(7):
        callbacks.update(score(0.5, 1.0))
        rates.append(callbacks.learning_rate)
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.005, 0.005, 0.005])


@given(st.floats(1e-12, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_reducing_never_raises_the_learning_rate(rate, floor, factor):
    reduction = ReduceLearningRate("val_loss", factor, 1, floor)
    callbacks = StageCallbacks(stage(learning_rate=rate, reduce_learning_rate=reduction))
    rates = [rate]
    for _ in range(4):
        callbacks.update(score(0.5, 1.0))
        rates.append(callbacks.learning_rate)
    assert rates == sorted(rates, reverse=True)


accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(accuracies, st.data())
def test_callbacks_put_back_from_json_go_on_as_if_nothing_had_happened(values, data):
    def fresh():
        spec = stage(
            learning_rate=0.1,
            early_stopping=EarlyStopping("val_accuracy", 3, 0.01),
            reduce_learning_rate=ReduceLearningRate("val_accuracy", 0.5, 2, 1e-4),
        )
        return StageCallbacks(spec), BestWeights("best", "val_accuracy")

    cut = data.draw(st.integers(0, len(values)))
    whole, whole_best = fresh()
    first, first_best = fresh()
    second, second_best = fresh()
    for epoch, value in enumerate(values, 1):
        if epoch - 1 == cut:
            second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
            second_best.restore(json.loads(json.dumps(first_best.state(), allow_nan=False)), first_best.weights)
        going, going_best = (first, first_best) if epoch <= cut else (second, second_best)
        for callbacks, best in ((whole, whole_best), (going, going_best)):
            callbacks.update(score(value))
            best.update(score(value, epoch=epoch), {"w": np.array(epoch)})
    if cut < len(values):
        assert (second.state(), second_best.state()) == (whole.state(), whole_best.state())
        assert second_best.weights == whole_best.weights


@pytest.mark.parametrize(
    ("monitor", "values", "kept"),
    [
        ("val_macro_f1", [0.5, 0.7, 0.7, 0.6], 2),  # the first of equal ones, whatever their losses
        ("val_ece", [0.5, 0.2, 0.3, 0.2], 2),
        ("val_log_loss", [0.5, 0.7, 0.4, 0.4], 3),
        ("val_brier", [0.1, 0.7, 0.4, 0.4], 1),
        ("val_mcc", [-0.5, -0.2, -0.3, -0.2], 2),
    ],
)
def test_every_metric_can_decide_each_in_its_direction(monitor, values, kept):
    keeper, stop = BestWeights("best", monitor), EarlyStopping(monitor, 2, 0.0)
    callbacks, stopped = StageCallbacks(stage(early_stopping=stop)), []
    for number, value in enumerate(values, 1):
        told = score(0.9, 1 - number / 10, number)
        keeper.update(told, {"w": np.array(number)}, None, {monitor: value})
        callbacks.update(told, {monitor: value})
        stopped.append(callbacks.stopped)
    assert keeper.epoch == kept
    assert stopped == [number >= kept + 2 for number in range(1, 5)]
