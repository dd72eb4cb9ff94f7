from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import layout
from benchmark.events import EpochFinished
from benchmark.training.artifacts import checkpoints
from benchmark.training.artifacts.checkpoints import (
    State,
    StateWriter,
    UnusableStateError,
    delete_states,
    newest_state,
    read_state,
    write_state,
)


def epoch(number):
    return EpochFinished(1, number, number, 0.5, 1.0, 0.4, 1.1, 0.001, 1.0, 0.1, 0.7, 0.2, 0.0, 100.0, True, True)


def state(epochs=1, **changes):
    weights = {"conv1/kernel": np.arange(12.0, dtype=np.float32).reshape(3, 4), "conv1/bias": np.ones(4, np.float32)}
    usual = State(
        cell_id="a" * 20,
        stage=1,
        stage_epoch=epochs,
        stage_done=False,
        callbacks={"learning_rate": 0.1, "stopped": False, "early_stopping": None, "reduce_learning_rate": None},
        best={"best": [0.4, -1.1], "epoch": 1},
        history=tuple(epoch(number) for number in range(1, epochs + 1)),
        weights=weights,
        optimizer=[np.array(7, dtype=np.int64), np.zeros((3, 4), np.float32)],
        best_weights=weights,
    )
    return replace(usual, **changes)


def same(left, right):
    arrays = [(left.weights, right.weights), (left.best_weights, right.best_weights)]
    assert all(a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in arrays)
    assert all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(left.optimizer, right.optimizer, strict=True)
    )
    hidden = {"weights": {}, "best_weights": {}, "optimizer": []}
    return replace(left, **hidden) == replace(right, **hidden)


def read(path):
    return read_state(path, "a" * 20)


def test_a_state_comes_back_as_it_was(tmp_path):
    for given_state in (state(), state(best_weights={"conv1/kernel": np.full((3, 4), 9, np.float32)})):
        write_state(tmp_path, given_state)
        assert same(read(tmp_path / layout.STATE), given_state)


def test_weights_that_are_the_best_are_stored_once(tmp_path):
    write_state(tmp_path, state())
    assert not [name for name in np.load(tmp_path / layout.STATE).files if name.startswith("best/")]
    back = read(tmp_path / layout.STATE)
    assert back.best_weights is back.weights


def test_the_state_before_stays_and_is_used_when_the_newest_is_damaged(tmp_path):
    write_state(tmp_path, state(1))
    write_state(tmp_path, state(2))
    (tmp_path / layout.STATE).write_bytes(b"half a fi")
    found, refused = newest_state([tmp_path], "a" * 20)
    assert found is not None
    assert found.epoch == 1
    assert "damaged" in refused[0]


def test_the_newest_attempt_comes_first_and_empty_ones_are_passed_over(tmp_path):
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    write_state(tmp_path / "1", state(1))
    write_state(tmp_path / "2", state(2))
    found, refused = newest_state([tmp_path / "3", tmp_path / "2", tmp_path / "1"], "a" * 20)
    assert found is not None
    assert (found.epoch, refused) == (2, [])


@pytest.mark.parametrize(("cell_id", "version"), [("b" * 20, 1), ("a" * 20, 2)])
def test_a_state_of_another_cell_or_training_version_is_refused(cell_id, version, tmp_path, monkeypatch):
    write_state(tmp_path, state())
    monkeypatch.setattr(checkpoints, "TRAINING_VERSION", version)
    with pytest.raises(UnusableStateError, match=r"belongs to cell a{20}, training version 1"):
        read_state(tmp_path / layout.STATE, cell_id)


def test_a_state_of_a_version_that_knows_more_is_refused(tmp_path, monkeypatch):
    header = checkpoints._header
    monkeypatch.setattr(checkpoints, "_header", lambda state: {**header(state), "features": {"later": 1}})
    write_state(tmp_path, state())
    with pytest.raises(UnusableStateError, match="written by another version of bench"):
        read(tmp_path / layout.STATE)


@given(st.data())
def test_no_flipped_bit_changes_a_state_unseen(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("flip")
    write_state(directory, state())
    content = bytearray((directory / layout.STATE).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    (directory / layout.STATE).write_bytes(content)
    try:
        found = read(directory / layout.STATE)
    except UnusableStateError:
        return
    assert same(found, state())  # a bit that means nothing, such as a time stamp of the archive


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    write_state(tmp_path, state(1))
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(OSError, match="no space"):
        write_state(tmp_path, state(2))
    assert read(tmp_path / layout.STATE).epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == [layout.STATE]


def _full_disk(_descriptor):
    raise OSError(28, "no space left on device")


def test_states_are_written_as_often_as_is_cheap_and_at_least_every_five_minutes(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(checkpoints, "perf_counter", lambda: now)
    monkeypatch.setattr(State, "size_bytes", property(lambda _: 4e8))  # guessed to take a second
    writer = StateWriter(tmp_path, 0)
    now = 20.0
    writer.offer(state(1))
    assert writer.written_epoch == 0
    now = 40.0
    writer.offer(state(2))
    assert writer.written_epoch == 2
    monkeypatch.setattr(writer, "_cost_seconds", 60.0)
    now = 339.0
    writer.offer(state(3))
    assert writer.written_epoch == 2
    now = 341.0
    writer.offer(state(4))
    assert writer.written_epoch == 4


def test_every_state_is_written_where_that_is_asked_for_whatever_it_costs(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_AFFORDABLE", 0.0)
    writer = StateWriter(tmp_path, 0, every=True)
    writer.offer(state(1))
    assert read(tmp_path / layout.STATE).epoch == writer.written_epoch == 1


def test_flush_writes_what_was_too_dear_before_and_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_AFFORDABLE", 0.0)
    writer = StateWriter(tmp_path, 0)
    writer.offer(state(1))
    assert not list(tmp_path.iterdir())
    writer.flush()
    writer.flush()
    assert [path.name for path in tmp_path.iterdir()] == [layout.STATE]
    assert writer.written_epoch == 1


def test_states_of_a_finished_cell_are_deleted_and_nothing_else(tmp_path):
    write_state(tmp_path, state(1))
    write_state(tmp_path, state(2))
    (tmp_path / "weights.npz").touch()
    assert (tmp_path / layout.PREVIOUS_STATE).exists()
    delete_states([tmp_path, tmp_path / "nowhere"])
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_the_header_is_strict_json(tmp_path):
    write_state(tmp_path, state())
    header = json.loads(np.load(tmp_path / layout.STATE)["header"].tobytes())
    assert header["cell_id"] == "a" * 20
    assert len(header["sha256"]) == 64
