from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import events
from benchmark.scheduling.processes.guarded_process import worker_event
from benchmark.scheduling.processes.pipes import LineReader


@pytest.fixture
def pipe():
    read, write = os.pipe()
    reader = LineReader(read)
    yield reader, write
    reader.close()
    os.close(write)


@given(st.lists(st.binary(max_size=200).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.integers(1, 50))
def test_lines_arrive_whole_however_they_were_cut(lines, size):
    read, write = os.pipe()
    reader, found = LineReader(read), []
    stream = b"".join(line + b"\n" for line in lines)
    for start in range(0, len(stream), size):
        os.write(write, stream[start : start + size])
        found += reader.read()
    os.write(write, b"half a line")
    os.close(write)
    found += reader.read()
    found += reader.read()
    assert reader.closed
    assert found == [line for line in lines if line]
    reader.close()


def test_an_open_pipe_without_news_does_not_block(pipe):
    reader, write = pipe
    os.write(write, b'{"half":')
    assert reader.read() == []
    assert not reader.closed


def test_a_line_that_never_ends_is_refused():
    read, write = os.pipe()
    reader = LineReader(read, limit=1000)
    os.write(write, b"x" * 1001)
    with pytest.raises(events.ProtocolError, match="more than 1000 bytes"):
        reader.read()
    os.write(write, b"more\n")
    reader.discard()
    assert reader.read() == []
    os.close(write)
    reader.discard()
    assert reader.closed
    reader.close()


@given(st.binary())
def test_a_worker_cannot_speak_for_its_guardian(line):
    with pytest.raises(events.ProtocolError):
        worker_event(events.to_line(events.Exited(0, 0, 0, 0.0, 0.0)))
    try:
        assert not isinstance(worker_event(line), events.Launched | events.Exited)
    except events.ProtocolError:
        return
