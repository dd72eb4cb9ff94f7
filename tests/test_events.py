from __future__ import annotations

import json
import math
import typing
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import events

KINDS = typing.get_args(events.Event)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def values_of(kind: type) -> st.SearchStrategy[typing.Any]:
    plain = {int: INTEGERS, float: st.floats(), str: st.text(), bool: st.booleans(), type(None): st.none()}

    def strategy(annotation: typing.Any) -> st.SearchStrategy[typing.Any]:
        options = typing.get_args(annotation) or (annotation,)
        if typing.get_origin(annotation) is tuple:
            return st.lists(plain[options[0]]).map(tuple)
        return st.one_of([plain[option] for option in options])

    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: strategy(hints[field.name]) for field in fields(kind)})


def same(left: object, right: object) -> bool:
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return left == right


@given(st.one_of([values_of(kind) for kind in KINDS]))
def test_every_event_survives_the_pipe(event):
    line = events.to_line(event)
    assert line.endswith(b"\n")
    assert b"NaN" not in line
    assert b"Infinity" not in line
    again = events.from_line(line)
    assert type(again) is type(event)
    assert all(same(getattr(event, field.name), getattr(again, field.name)) for field in fields(event))


@given(st.binary())
def test_no_bytes_whatsoever_get_past_the_reader_as_anything_but_an_event(line):
    try:
        event = events.from_line(line)
    except events.ProtocolError:
        return
    assert type(event) in KINDS


@given(st.dictionaries(st.text(), st.none() | st.floats(allow_nan=False) | st.lists(st.text()), max_size=5))
def test_wrong_fields_are_a_protocol_error(record):
    line = json.dumps({**record, "event": "Resumed", "epoch": "three"}).encode()
    with pytest.raises(events.ProtocolError):
        events.from_line(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"event": "Resumed"}',
        b'{"event": "Resumed", "epoch": true}',
        b'{"event": "Resumed", "epoch": 1.5}',
        b'{"event": "Resumed", "epoch": 1, "more": 2}',
        b'{"event": "Resumed", "epoch": 9223372036854775808}',
        b'{"event": "Job", "epoch": 1}',
        b'{"event": "Evaluated", "test_accuracy": NaN, "test_loss": 1, "best_epoch": 1, "seconds": 1}',
        b'{"event": "Evaluated", "test_accuracy": {"float": "-nan"}, "test_loss": 1, "best_epoch": 1, "seconds": 1}',
        b"[" * 100_000,
        b'"' + b"x" * events.LINE_LIMIT_BYTES + b'"',
    ],
)
def test_a_broken_line_is_a_protocol_error_and_nothing_else(line):
    with pytest.raises(events.ProtocolError):
        events.from_line(line)


def test_a_job_survives_the_pipe():
    job = events.Job(7, {"seed": 1}, "d", ("e", "f"), None, None, None, (0, 1), None, "fork")
    assert events.job_from_line(events.to_line(job)) == job


@pytest.mark.parametrize("name", ["c", "\u985e" * 85, "\udce9" * 255])
@pytest.mark.parametrize("count", [0, 1, 200, 201, 65_536])
def test_the_names_of_any_number_of_classes_fit_into_lines(name, count):
    event = events.Predicted("predictions.npz", 10, (name,) * count)
    lines = [events.to_line(part) for part in event.parts()]
    assert max(map(len, lines)) < events.LINE_LIMIT_BYTES / 2
    heard = None
    for line in lines:
        heard = events.from_line(line).joined(heard)
    assert heard == event


def test_a_job_may_name_all_classes_of_a_matrix():
    job = events.Job(1, {"class_names": ["\u985e" * 100] * 3000}, "", (), None, None, None, (), None, "spawn")
    assert len(events.to_line(job)) > events.LINE_LIMIT_BYTES
    assert events.job_from_line(events.to_line(job)) == job
