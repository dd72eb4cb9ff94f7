from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from dataclasses import replace

import pytest
from cli_workplace import MATRIX, Workplace, copied_place, finished_place
from results_samples import cell, predictions

from benchmark.cli.commands.explain import _check_against
from benchmark.errors import UserError
from benchmark.reporting.predictions.stored_predictions import decode
from benchmark.scheduling.programs import inference
from benchmark.scheduling.programs.inference import CellPrediction


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    return finished_place(tmp_path_factory.mktemp("finished"), MATRIX)


@pytest.fixture
def place(finished, tmp_path, monkeypatch) -> Workplace:
    """The same with a picture; its cells say that they are real, and are answered for without a process."""
    place = copied_place(finished, tmp_path)
    say_that_they_are_real(place)
    (tmp_path / "one.png").write_bytes(b"")

    def predict(trained, images, views, *, allow_plugins):
        rows = [[0.1, 0.6 - 0.4 * (one.cell.seed == 1), 0.3 + 0.4 * (one.cell.seed == 1)] for one in trained]
        names = ("cat", "dog", "eel")
        return [CellPrediction(one.cell, names, [row] * len(images)) for one, row in zip(trained, rows, strict=True)]

    monkeypatch.setattr(inference, "predict", predict)
    return place


def say_that_they_are_real(place: Workplace) -> None:
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("""update cell set spec = replace(spec, '"fake"', '"tensorflow"')""")
        connection.commit()


def test_a_cell_says_what_it_sees(place):
    document = place.document("predict", "model=simple_cnn,strategy=scratch,dataset=digits,seed=0", "one.png")
    (image,) = document["images"]
    assert (image["image"], image["prediction"], image["confidence"]) == ("one.png", "dog", 0.6)
    assert [each["class"] for each in image["classes"]] == ["dog", "eel", "cat"]
    (cell,) = document["cells"]
    assert place.document("predict", cell["cell_id"][:6], "one.png")["images"] == document["images"]


def test_several_cells_are_averaged_each_once(place):
    ids = [row["cell_id"] for row in place.document("list", "cells", "--select", "seed=0|1,strategy=regularized")]
    document = place.document("predict", "seed=0|1,strategy=regularized", ids[0], "one.png", "--top", "1")
    assert [cell["cell_id"] for cell in document["cells"]] == ids
    (image,) = document["images"]
    assert (image["prediction"], image["agreeing_cells"]) == ("eel", 2)
    assert image["confidence"] == pytest.approx((0.3 + 0.7) / 2)
    assert len(image["classes"]) == 1


def test_csv_has_a_row_for_each_class(place):
    done = place.call("predict", "seed=0,strategy=regularized", "one.png", "--format", "csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["image"], row["rank"], row["class"]) for row in rows] == [
        ("one.png", "1", "dog"),
        ("one.png", "2", "eel"),
    ]


def test_the_table_names_the_confidence(place):
    done = place.call("predict", "seed=0,strategy=regularized", "one.png")
    assert "dog" in done.stdout
    assert "0.6000" in done.stdout
    assert "eel 0.3000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seed=0", "two.png"], "IMAGE: expected a PNG or JPEG file, found nothing at 'two.png'"),
        (["seed=0"], "IMAGE: expected at least one"),
        (["one.png"], "CELL: expected at least one cell"),
        (["zzzz", "one.png"], "no cell"),
        (["seed=9", "one.png"], "seed is"),
        (["seed=0", "one.png", "--machine", "elsewhere"], "expected one of"),
        (["seed=0", "one.png", "--tta", "-1"], "--tta"),
    ],
)
def test_mistakes_are_the_users_and_named(place, arguments, words):
    done = place.call("predict", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_rehearsal_predicts_nothing(finished, tmp_path):
    (finished.directory / "x.png").write_bytes(b"")
    done = finished.call("predict", "seed=0,strategy=regularized", "x.png")
    assert done.exit_code == 2
    assert "its backend (fake) trains no network to predict with" in done.stderr


OWN = """\
[matrix]
dataset = "digits"
model = "own"
strategy = "scratch"
backend = "fake"
epochs = 1
[model.own]
architecture = "plugin:net"
[plugins]
models = ["my.py"]
"""


def test_consent_given_on_the_command_line_reaches_what_looks_at_pictures(tmp_path, monkeypatch):
    """A process that is given it builds such a network in test_training_prediction.py."""
    place = Workplace(tmp_path)
    place.write("def net(**_): ...", "my.py")
    place.write(OWN)
    (tmp_path / "one.png").write_bytes(b"")
    assert place.call("run", "--allow-plugins").exit_code == 0
    say_that_they_are_real(place)
    given = []

    def predict(trained, images, views, *, allow_plugins):
        given.append(allow_plugins)
        return [CellPrediction(one.cell, ("cat", "dog"), [[0.3, 0.7]]) for one in trained]

    monkeypatch.setattr(inference, "predict", predict)
    words = ("predict", "model=own", "one.png")
    refused = place.call(*words)
    assert (refused.exit_code, "bench predict model=own one.png --allow-plugins" in refused.stderr) == (2, True)
    assert not given
    done = place.call(*words, "--allow-plugins")
    assert (done.exit_code, given) == (0, [True]), done.stderr


def test_weights_that_are_gone_name_the_cure(place):
    for path in (place.directory / "results.artifacts").rglob("weights.npz"):
        path.unlink()
    done = place.call("predict", "seed=0,strategy=regularized", "one.png")
    assert done.exit_code == 2
    assert "bench run --select cell_id=" in done.stderr


def test_cells_of_other_classes_are_not_averaged(place, monkeypatch):
    def predict(trained, images, views, *, allow_plugins):
        return [CellPrediction(one.cell, (f"{number}", "x"), [[0.5, 0.5]]) for number, one in enumerate(trained)]

    monkeypatch.setattr(inference, "predict", predict)
    done = place.call("predict", "seed=0,strategy=regularized", "one.png")
    assert done.exit_code == 2
    assert "only cells with the same classes can be averaged" in done.stderr


def test_classes_and_confusion_are_shown_and_reported(finished):
    record = finished.document("show", "seed=0,strategy=from_low_digits")
    assert [one["name"] for one in record["classes"]] == [f"class {number}" for number in range(5)]
    assert sum(map(sum, record["confusion"])) == sum(one["support"] for one in record["classes"]) == 256
    text = finished.call("show", "seed=0,strategy=from_low_digits").stdout
    assert "\nclasses, on the test images\n" in text
    assert "\nconfusion, true classes as rows" in text
    tables = finished.document("report", "--table", "classes", "--table", "confusion")["tables"]
    assert [table["name"] for table in tables] == ["classes"] * 6 + ["confusion"] * 6
    assert "seeds averaged" in finished.call("report", "--ensembles").stdout


def test_the_predictions_in_the_database_can_be_asked_for(finished):
    (row, *_) = finished.document("query", "select * from prediction")
    assert json.loads(row["class_names"])[0] == "class 0"
    import base64

    assert base64.b64decode(row["content"])[:2] == b"PK"
    assert " bytes" in finished.call("query", "select content from prediction").stdout
    assert finished.call("db", "check").exit_code == 0


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n cut"])
def test_images_are_read_before_a_backend_is_started(content, tmp_path, monkeypatch):
    def started(*_arguments, **_options):
        raise AssertionError("a process was started")

    monkeypatch.setattr(inference, "start_guardian", started)
    image = tmp_path / "one.png"
    image.write_bytes(content)
    trained = inference.Trained(replace(cell(), backend="tensorflow"), tmp_path / "weights.npz", "")
    with pytest.raises(UserError, match=r"one\.png cannot be read as JPEG or PNG"):
        inference.predict([trained], [image])


@pytest.mark.parametrize(
    ("images", "class_name", "said"),
    [
        (["test:2"], None, "expected a number out of 0 to 1"),
        (["test:-1"], None, "not tested on such an image"),
        (["test:x"], None, "not tested on such an image"),
        ([], "cow", "expected one of the cell's classes: cat, dog"),
    ],
)
def test_classes_and_test_images_are_checked_before_a_backend_is_started(images, class_name, said):
    with pytest.raises(UserError) as caught:
        _check_against(decode(predictions((0, 1), (0, 0), ("cat", "dog"))), images, class_name)
    assert said in str(caught.value)
    _check_against(decode(predictions((0, 1), (0, 0), ("cat", "dog"))), ["test:1", "one.png"], "dog")
