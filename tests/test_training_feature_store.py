from __future__ import annotations

import errno
import os
import threading

import ml_dtypes
import numpy as np
import pytest
from waiting import wait_until

from benchmark.errors import UserError
from benchmark.training.features import feature_store
from benchmark.training.features.feature_store import ArrayRequest, FeatureStore

ROWS = np.arange(6 * 1024, dtype=np.float32).reshape(6, 1024)
KIB = 2**10
GIB = 2**30


def wanted(key, dtype="float32"):
    return ArrayRequest(key, ROWS.shape, dtype, {"layer": "pool"})


def pieces(rows=ROWS):
    return lambda: iter([rows[:4], rows[4:]])


def unmade():
    raise AssertionError("made again")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features", lambda: None)


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "features").iterdir() if path.is_dir())


def test_an_array_is_made_once_and_found_from_then_on(store):
    made = store.get(wanted("aa"), pieces())
    found = store.get(wanted("aa"), unmade)
    assert (made.computed, found.computed) == (True, False)
    assert found.seconds > 0
    assert np.array_equal(made.array, ROWS)
    assert np.array_equal(found.array, ROWS)


def test_bfloat16_comes_back_as_it_was(store):
    rows = ROWS.astype(ml_dtypes.bfloat16)
    store.get(wanted("aa", "bfloat16"), pieces(rows))
    found = store.get(wanted("aa", "bfloat16"), unmade)
    assert found.array.dtype == ml_dtypes.bfloat16
    assert np.array_equal(found.array, rows)


def test_what_fails_while_it_is_made_leaves_nothing(store, tmp_path):
    def failing():
        yield ROWS[:4]
        raise RuntimeError("a device was lost")

    with pytest.raises(RuntimeError, match="device"):
        store.get(wanted("aa"), failing)
    assert names(tmp_path) == []
    assert store.get(wanted("aa"), pieces()).computed


@pytest.mark.parametrize("damage", ["truncated", "no meta", "other shape", "one bit"])
def test_a_damaged_entry_is_made_anew(damage, store, tmp_path):
    store.get(wanted("aa"), pieces())
    entry = tmp_path / "features" / "aa"
    if damage == "truncated":
        os.truncate(entry / "features.npy", 1000)
    elif damage == "no meta":
        (entry / "meta.json").unlink()
    elif damage == "one bit":
        content = bytearray((entry / "features.npy").read_bytes())
        content[-9] ^= 1
        (entry / "features.npy").write_bytes(content)
    else:
        np.save(entry / "features.npy", ROWS[:2])
    again = store.get(wanted("aa"), pieces())
    assert again.computed
    assert np.array_equal(again.array, ROWS)


def test_the_entry_not_used_for_longest_goes_first(store, tmp_path, monkeypatch):
    monkeypatch.setenv(feature_store.LIMIT_VARIABLE, str(60 * KIB / GIB))
    for age, key in enumerate(("aa", "bb")):
        store.get(wanted(key), pieces())
        os.utime(tmp_path / "features" / key / "meta.json", (age + 1, age + 1))
    kept = store.get(wanted("aa"), unmade).array  # used now, later than bb
    store.get(wanted("cc"), pieces())
    assert names(tmp_path) == ["aa", "cc"]
    store.get(wanted("dd"), pieces(), pinned=["cc", "dd"])
    assert names(tmp_path) == ["cc", "dd"]
    # what a cell has open it keeps
    assert np.array_equal(kept, ROWS)


def test_what_is_larger_than_the_bound_is_refused_and_nothing_goes_for_it(store, tmp_path, monkeypatch):
    store.get(wanted("aa"), pieces())
    monkeypatch.setenv(feature_store.LIMIT_VARIABLE, str(20 * KIB / GIB))
    assert not store.has_room_for(wanted("bb").size_bytes)
    assert store.has_room_for(10 * KIB)
    monkeypatch.setenv(feature_store.LIMIT_VARIABLE, "0")
    assert not store.has_room_for(1)
    with pytest.raises(OSError, match="do not fit into the 0 that may be kept"):
        store.get(wanted("bb"), pieces())


def test_features_never_take_more_than_a_quarter_of_the_free_disk(store, monkeypatch):
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 80 * KIB}))
    assert store.has_room_for(20 * KIB)
    assert not store.has_room_for(21 * KIB)


@pytest.mark.parametrize("told", ["much", "-1", "nan", "inf"])
def test_a_bound_that_is_no_number_is_a_mistake_of_the_user(told, store, monkeypatch):
    monkeypatch.setenv(feature_store.LIMIT_VARIABLE, told)
    with pytest.raises(UserError, match=f"BENCH_FEATURES_GIB: expected .* found '{told}'"):
        store.has_room_for(1)


def test_a_full_disk_is_told_before_anything_is_computed(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_store.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space"):
        store.get(wanted("aa"), unmade)
    assert names(tmp_path) == []


def test_what_a_killed_cell_left_half_written_makes_room(store, tmp_path, monkeypatch):
    monkeypatch.setenv(feature_store.LIMIT_VARIABLE, str(28 * KIB / GIB))
    for key in ("aa11", "bb11"):  # one whose lock we hold ourselves, one of another
        left = tmp_path / "features" / f".{key}.partial"
        left.mkdir(parents=True)
        (left / "features.npy").write_bytes(bytes(3 * KIB))
    store.get(wanted("aa22"), pieces())
    assert "aa22" in names(tmp_path)
    assert ".bb11.partial" not in names(tmp_path)


def test_of_several_that_want_the_same_one_makes_it(tmp_path):
    made, beats, both = [], [], threading.Barrier(2)

    def making():
        made.append(1)
        yield ROWS[:4]
        # its first piece, and the signs of life of the one that waits, which may so be told to stop
        wait_until(lambda: len(beats) > 1)
        yield ROWS[4:]

    def want():
        both.wait()
        results.append(FeatureStore(tmp_path / "features", lambda: beats.append(1)).get(wanted("aa"), making))

    results = []
    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(found.computed for found in results) == [False, True]
