"""The rates of each schedule, number by number, against those of Keras and PyTorch."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from training_cells import stage

from benchmark.training.learning_rates import rate_after

RATE, EPOCHS, PER_EPOCH = 0.02, 6, 7
ALL = EPOCHS * PER_EPOCH


def rates(schedule) -> list[float]:
    """After 0, 1, … all updates."""
    spec = stage(schedule=schedule, learning_rate=RATE, epochs=EPOCHS)
    return [rate_after(spec, updates, PER_EPOCH) for updates in range(ALL + 1)]


def table(kind, **parameters):
    return tuple(sorted({"kind": kind, **parameters}.items()))


@pytest.mark.tf
@pytest.mark.parametrize("warmup", [0.0, 2.0, 1.5])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_decays_are_those_of_keras(warmup, final):
    from keras.optimizers import schedules

    start = warmup * PER_EPOCH
    decaying = ALL - start

    def warmed(decay):
        return [RATE * step / start if step < start else float(decay(step - start)) for step in range(ALL + 1)]

    expected = {
        "cosine": warmed(schedules.CosineDecay(RATE, decaying, alpha=final)),
        "linear": warmed(schedules.PolynomialDecay(RATE, decaying, RATE * final, power=1.0)),
        "polynomial": warmed(schedules.PolynomialDecay(RATE, decaying, RATE * final, power=3.0)),
        "exponential": warmed(schedules.ExponentialDecay(RATE, PER_EPOCH, 0.5 + final)),
    }
    own = {"cosine": {"final": final}, "linear": {"final": final}, "polynomial": {"final": final, "power": 3.0}}
    for kind, wanted in expected.items():
        parameters = own.get(kind, {"factor": 0.5 + final})
        assert rates(table(kind, warmup_epochs=warmup, **parameters)) == pytest.approx(wanted, rel=1e-5, abs=1e-9), kind


@pytest.mark.tf
def test_the_warm_up_of_cosine_is_that_of_keras():
    from keras.optimizers import schedules

    whole = schedules.CosineDecay(0.0, ALL - 2 * PER_EPOCH, alpha=0.1, warmup_target=RATE, warmup_steps=2 * PER_EPOCH)
    wanted = [float(whole(step)) for step in range(ALL + 1)]
    assert rates(table("cosine", warmup_epochs=2.0, final=0.1)) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


@pytest.fixture(scope="module")
def of_pytorch():
    """Rates by the names in `torch_schedules.py`, from a process of its own: beside TensorFlow PyTorch may crash."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("the extra [torch] is not installed")
    command = [sys.executable, Path(__file__).with_name("torch_schedules.py"), str(RATE), str(ALL), str(PER_EPOCH)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("constant", "constant"),
        ("cosine", "cosine"),
        ("linear", "linear"),
        ("polynomial", "polynomial"),
        ("exponential", table("exponential", factor=0.8)),
        ("step every", table("step", factor=0.1, every=2.0)),
        ("step at", table("step", factor=0.1, at=(1.0, 4.0))),
        ("warm-up", table("constant", warmup_epochs=2.0)),
    ],
)
def test_schedules_are_those_of_pytorch(name, schedule, of_pytorch):
    assert rates(schedule) == pytest.approx(of_pytorch[name], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "own"), [("one cycle", {}), ("other cycle", {"warmup_share": 0.5, "initial": 0.1, "final": 0.001})]
)
def test_one_cycle_takes_each_update_at_the_rate_of_pytorch_and_ends_at_its_last(name, own, of_pytorch):
    ours = rates(table("one_cycle", **own) if own else "one_cycle")
    # PyTorch turns upwards again after its last step, with which nothing is trained
    assert ours[:ALL] == pytest.approx(of_pytorch[name][:ALL], rel=1e-9)
    assert ours[ALL] == ours[ALL - 1] == pytest.approx(RATE * own.get("final", 4e-6))


def test_a_stage_of_one_update_has_a_rate_before_and_after_it():
    for kind in ("constant", "cosine", "linear", "polynomial", "one_cycle"):
        spec = stage(schedule=kind, learning_rate=RATE, epochs=1)
        assert all(math.isfinite(rate_after(spec, updates, 1)) for updates in (0, 1)), kind


def test_steps_come_when_their_epoch_is_over_also_in_the_middle_of_one():
    spec = stage(schedule=table("step", factor=0.5, at=(0.5, 1.0)), learning_rate=1.0, epochs=2)
    assert [rate_after(spec, updates, 4) for updates in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
