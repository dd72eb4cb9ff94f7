"""The rates of each schedule, number by number, against those of Keras and PyTorch."""

from __future__ import annotations

import math

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


def of_torch(make) -> list[float]:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    seen = []
    for _ in range(ALL + 1):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(seen) <= ALL:
            scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("constant", lambda kinds, optimizer: kinds.ConstantLR(optimizer, 1.0)),
        ("cosine", lambda kinds, optimizer: kinds.CosineAnnealingLR(optimizer, ALL)),
        ("linear", lambda kinds, optimizer: kinds.LinearLR(optimizer, 1.0, 0.0, ALL)),
        ("polynomial", lambda kinds, optimizer: kinds.PolynomialLR(optimizer, ALL, 2.0)),
        (table("exponential", factor=0.8), lambda kinds, optimizer: kinds.ExponentialLR(optimizer, 0.8 ** (1 / PER_EPOCH))),
        (table("step", factor=0.1, every=2.0), lambda kinds, optimizer: kinds.StepLR(optimizer, 2 * PER_EPOCH, 0.1)),
        (table("step", factor=0.1, at=(1.0, 4.0)), lambda kinds, optimizer: kinds.MultiStepLR(optimizer, [PER_EPOCH, 4 * PER_EPOCH], 0.1)),
        (table("constant", warmup_epochs=2.0), lambda kinds, optimizer: kinds.LambdaLR(optimizer, lambda step: min(step / (2 * PER_EPOCH), 1))),
    ],
)  # fmt: skip
def test_schedules_are_those_of_pytorch(schedule, make):
    assert rates(schedule) == pytest.approx(of_torch(make), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ({}, {}),
        (
            {"warmup_share": 0.5, "initial": 0.1, "final": 0.001},
            {"pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 100.0},
        ),
    ],
)
def test_one_cycle_takes_each_update_at_the_rate_of_pytorch_and_ends_at_its_last(own, theirs):
    ours = rates(table("one_cycle", **own) if own else "one_cycle")
    wanted = of_torch(lambda kinds, optimizer: kinds.OneCycleLR(optimizer, RATE, total_steps=ALL, **theirs))
    # PyTorch turns upwards again after its last step, with which nothing is trained
    assert ours[:ALL] == pytest.approx(wanted[:ALL], rel=1e-9)
    assert ours[ALL] == ours[ALL - 1] == pytest.approx(RATE * own.get("final", 4e-6))


def test_a_stage_of_one_update_has_a_rate_before_and_after_it():
    for kind in ("constant", "cosine", "linear", "polynomial", "one_cycle"):
        spec = stage(schedule=kind, learning_rate=RATE, epochs=1)
        assert all(math.isfinite(rate_after(spec, updates, 1)) for updates in (0, 1)), kind


def test_steps_come_when_their_epoch_is_over_also_in_the_middle_of_one():
    spec = stage(schedule=table("step", factor=0.5, at=(0.5, 1.0)), learning_rate=1.0, epochs=2)
    assert [rate_after(spec, updates, 4) for updates in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
