"""Models of Keras on PyTorch come to the same bits without what Keras does around their layers."""

from __future__ import annotations

import importlib.util

import pytest
from test_backends import answer_of

pytestmark = [
    pytest.mark.tf,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra [torch] is not installed"),
]


@pytest.mark.exhaustive
def test_networks_train_and_predict_to_the_bits_of_keras():
    """As `test_torch_modules.py` has it for other models, whatever the default suite leaves out."""
    for name, (same, plain) in answer_of("torch_graphs.py", "torch").items():
        assert same == [True] * 3, name
        assert plain > 0.7, name
