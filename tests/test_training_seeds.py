"""Every seed that a matrix may name can be trained with; NumPy's global generator alone takes fewer."""

from __future__ import annotations

import pytest
from cli_workplace import Workplace

SEEDS = (0, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1)


@pytest.mark.tf
def test_every_seed_of_the_grammar_seeds_a_process_in_its_own_way():
    import keras
    import numpy as np

    from benchmark.training.process.runtime import seed_process

    def numbers() -> tuple[float, ...]:
        return (*np.random.random(3), *map(float, keras.random.normal((3,))))  # noqa: NPY002  the generator that is seeded

    def drawn(seed: int) -> tuple[float, ...]:
        seed_process(seed)
        return numbers()

    assert [drawn(seed) for seed in SEEDS] == [drawn(seed) for seed in SEEDS]
    assert len(set(map(drawn, SEEDS))) == len(SEEDS)
    for seed in (0, 2**32 - 1):
        keras.utils.set_random_seed(seed)
        plain = numbers()
        assert drawn(seed) == plain


MATRIX = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'
PLACES = {
    "axis": (MATRIX + "seed = [0, {}]\n", ()),
    "zip": (MATRIX + "[[matrix.zip]]\nseed = [{}]\nbatch_size = [32]\n", ()),
    "include": (
        MATRIX + '[[matrix.include]]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nseed = {}\n',
        (),
    ),
    "--set": (MATRIX, ("--set", "seed={}")),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_seed_is_planned_wherever_it_stands_or_refused_before_training(place, tmp_path):
    text, options = PLACES[place]
    work = Workplace(tmp_path)

    def plan(seed: object, *more: str):
        work.write(text.format(seed))
        return work.call("plan", *(option.format(seed) for option in options), *more)

    for seed in SEEDS:
        assert f'"seed": {seed}' in plan(seed, "--format", "json").stdout
    for wrong in (-1, "true", 1.5, 2**63, '"1"'):
        refused = plan(wrong)
        assert refused.exit_code == 2
        assert "expected an integer ≥ 0" in refused.stderr
