"""The one line that is shown of an error says what went wrong, whoever wrote the message."""

from __future__ import annotations

import pytest

from benchmark.text import headline

KERAS = (
    "ValueError: Exception encountered when calling Conv2D.call().\n\n\x1b[1mNegative dimension size caused by "
    "subtracting 3 from 2.\x1b[0m\n\nArguments received by Conv2D.call():\n  • args=('<KerasTensor>',)\n"
    "  • kwargs=<class 'inspect._empty'>"
)
GRAPH = (
    "InvalidArgumentError: Graph execution error:\n\nDetected at node 'x' defined at (most recent call last):\n"
    '  File "a.py", line 3, in <module>\n    x = 1\nlogits and labels must be broadcastable: [8,3] [8,4]\n'
    "\t [[{{node x}}]] [Op:__inference_step_12]"
)
TRACE = (
    'some words before\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n    ~^^\n'
    "KeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\n"
    'Traceback (most recent call last):\n  File "b.py", line 2, in g\n    raise\nOSError: the disk is full: x\nand more'
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("a.png cannot be read; remove it (2 more cannot be read)\nb.png\nc.png", "a.png cannot be read; remove it (2 more cannot be read)"),
        (
            KERAS,
            "ValueError: Exception encountered when calling Conv2D.call(). Negative dimension size caused by subtracting 3 from 2.",
        ),
        (GRAPH, "InvalidArgumentError: Graph execution error: logits and labels must be broadcastable: [8,3] [8,4]"),
        (TRACE, "OSError: the disk is full: x"),
        ("ValueError: these are wrong:\n  - a\n  - b", "ValueError: these are wrong: - a"),
        ("Layer 'x' expected 2 variables, but received 0:\n", "Layer 'x' expected 2 variables, but received 0:"),
        ("\n\n", ""),
        ("one line", "one line"),
    ],
)  # fmt: skip
def test_the_headline_of_a_message_is_what_went_wrong(message, expected):
    assert headline(message) == expected
