from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from scheduling_plans import fake_cell
from scheduling_runs import Place

from benchmark.catalog import backends
from benchmark.catalog.cache import fingerprint, prepared_directory
from benchmark.scheduling.programs import preparation

BUILDER = """
import json, os, sys, time
wish = json.loads(sys.argv[1])
from benchmark.catalog.cache import prepared_directory
directory = prepared_directory(wish["source"], wish["image_size"], wish["color"], wish["cache_root"])
print("noise", file=sys.stderr)
if wish["source"] == "absent":
    print(json.dumps({"error": "absent: not there; try: bench prepare"}))
    sys.exit(3)
if wish["source"] == "murdered":
    os.kill(os.getpid(), 9)
os.makedirs(directory)
open(directory / "log", "a").write("built\\n")
open(directory / "meta.json", "w").write(json.dumps({"fingerprint": wish["source"] * 3, "notes": ["a class has no test image"] * (wish["source"] == "remarkable")}))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place whose datasets are built by a program of this test."""
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setitem(backends._BACKENDS, "played", backends.Backend("played", "played", (), ""))
    (tmp_path / "builder.py").write_text(BUILDER)
    monkeypatch.setattr(preparation, "COMMAND", (sys.executable, str(tmp_path / "builder.py")))
    return Place(tmp_path)


def cell_of(source: str, **changes):
    """A cell of a backend that needs data, but that does not exist."""
    cell = fake_cell(dataset=source, **changes)
    return replace(cell, backend="played", data=replace(cell.data, source=source))


def ended(place: Place) -> dict[str, tuple[str, str | None]]:
    return {cell.dataset: (status, cause) for cell, status, cause, _, _ in place.listener.of("cell_finished")}


def test_data_that_cannot_be_prepared_end_their_cells_and_no_others(place):
    gone, murdered = cell_of("absent"), cell_of("murdered")
    child = replace(cell_of("fine"), weights=fake_cell(parent=gone).weights, cell_id="c" * 20)
    summary = place.run([gone, child, murdered, fake_cell()], isolation="spawn")
    assert summary.exit_code == 3
    assert ended(place) == {
        "absent": ("failed", "data_error"),
        "murdered": ("failed", "data_error"),
        "fine": ("blocked", "parent"),
        "digits": ("completed", None),
    }
    details = [detail for _, detail in place.attempts()]
    assert "absent: not there; try: bench prepare" in details
    assert any("was ended by SIGKILL" in (detail or "") for detail in details)
    (trace,) = place.rows("select traceback from attempt where detail like 'absent%'")
    assert trace[0] == "absent: not there; try: bench prepare"


def test_what_was_remarked_when_data_were_prepared_is_said_in_every_run(place):
    for number in range(2):
        cell = cell_of("remarkable", seed=number)
        place.run([cell], isolation="spawn")
        assert [text for text, *_ in place.listener.of("note")].count("a class has no test image") == 1


def test_a_dataset_is_prepared_once_for_all_its_cells(place):
    cells = [cell_of("fine", seed=seed) for seed in range(3)]
    place.run([*cells, fake_cell()], isolation="spawn")
    begun = [note for (note,) in place.listener.of("note") if note.startswith("preparing")]
    assert begun == ["preparing fine, 16 pixels, grey"]
    directory = prepared_directory("fine", 16, "grey", place.options().cache_root)
    assert (directory / "log").read_text() == "built\n"
    assert fingerprint(directory) == "finefinefine"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", json.dumps({"fingerprint": 5})])
def test_without_a_fingerprint_nothing_is_compared(tmp_path, content):
    if content is not None:
        (tmp_path / "meta.json").write_text(content)
    assert fingerprint(tmp_path) is None
