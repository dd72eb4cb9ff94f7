"""The page docs/your-own.md, followed from top to bottom as a reader would, with fewer epochs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace
from click.testing import Result
from training_archives import put_flowers

PAGE = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
MATRICES = [code for language, code in BLOCKS if language == "toml" and "[matrix]" in code]
SCRIPTS = {code.splitlines()[0].removeprefix("# "): code for language, code in BLOCKS if language == "python"}


class Reader(Workplace):
    """A reader's folder with the files of the page, and the command line in it."""

    @property
    def environment(self) -> dict[str, str]:
        home = {"XDG_CONFIG_HOME": str(self.directory / "config"), "TFDS_DATA_DIR": str(self.directory / "tfds")}
        return {**super().environment, **home}

    def short(self, *arguments: str) -> Result:
        return self.call("run", "--set", "epochs=1", *arguments)

    def results(self) -> list[dict[str, object]]:
        return json.loads(self.call("list", "cells", "--format", "json").stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """What the scripts of the page make."""
    folder = tmp_path_factory.mktemp("made")
    for name, code in SCRIPTS.items():
        (folder / name).write_text(code, encoding="utf-8")
    subprocess.run([sys.executable, "make_images.py"], cwd=folder, check=True)
    return folder


@pytest.fixture
def reader(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Reader(tmp_path)


def matrix_with(word: str) -> str:
    (found,) = [code for code in MATRICES if word in code]
    return found


def test_every_matrix_of_the_page_is_tried_here():
    assert len(MATRICES) == 8
    assert set(SCRIPTS) == {
        "make_images.py",
        "my_models.py",
        "my_data.py",
        "my_metrics.py",
        "my_losses.py",
        "my_callbacks.py",
    }


@pytest.mark.tf
def test_a_folder_of_images_is_trained_on(reader):
    """That what changes in it is noticed: test_decisions.py."""
    (reader.directory / "pictures" / "odd" / "notes.txt").write_text("no picture")
    reader.write(matrix_with("[dataset.parity]"))
    done = reader.short("--select", "seed=0,model=simple_cnn")
    assert done.exit_code == 0, done.stderr
    assert "1 completed" in done.stderr
    assert "1 skipped, hidden or neither JPEG nor PNG by their ending: odd/notes.txt" in done.stderr
    (row,) = reader.results()
    assert row["dataset"] == "parity"
    assert 0.4 <= row["test_accuracy"] <= 1


def test_a_table_of_labels_is_planned_with(reader):
    reader.write(matrix_with("labels_file"))
    pictures = sorted((reader.directory / "pictures").glob("*/*.png"))
    rows = [f"{path.parent.name}/{path.name},{path.parent.name},p{n // 4}" for n, path in enumerate(pictures)]
    reader.write("\n".join(["file,label,patient", *rows]), "pictures/labels.csv")
    done = reader.call("plan", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert [cell["dataset"] for cell in json.loads(done.stdout)["cells"]] == ["scans"]


@pytest.mark.tf
@pytest.mark.exhaustive  # prepared below; prepared arrays are trained on wherever they come from, as those of the folder are
def test_an_archive_is_trained_on(reader):
    reader.write(matrix_with("npz:digits.npz"))
    done = reader.call("run", "--set", "epochs=20")
    assert done.exit_code == 0, done.stderr
    (row,) = reader.results()
    # 450 real digits to learn from, 150 to test on
    assert row["test_accuracy"] > 0.8


@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_dataset_of_tfds_that_bench_does_not_know_is_trained_on(reader):
    put_flowers(reader.directory / "tfds", 60)
    reader.write(matrix_with("tfds:tf_flowers"))
    done = reader.short("--offline")
    assert done.exit_code == 0, done.stderr
    assert "1 completed" in done.stderr


@pytest.mark.tf
@pytest.mark.exhaustive  # below, together with a model
def test_a_loss_is_trained_with(reader):
    reader.write(matrix_with("plugin:power_loss"))
    done = reader.short("--allow-plugins", "--select", "loss=plugin:power_loss")
    assert done.exit_code == 0, done.stderr
    (row,) = reader.results()
    assert 0.5 < row["test_loss"] < 1


@pytest.mark.tf
@pytest.mark.exhaustive
def test_callbacks_are_called(reader):
    reader.write(matrix_with("my_callbacks.py"))
    done = reader.call("run", "--set", "epochs=2", "--allow-plugins")
    assert done.exit_code == 0, done.stderr
    assert "3 completed" in done.stderr


@pytest.mark.tf
def test_a_model_and_a_loss_need_consent_and_then_are_like_any_other(reader):
    losses = 'losses = ["my_losses.py"]\nmodels = '
    text = matrix_with("plugin:my_net").replace("[matrix]\n", '[matrix]\nloss = "plugin:power_loss"\n')
    reader.write(text.replace("models = ", losses))
    planned = reader.call("plan", "--format", "json")
    # two models x (2 datasets x 2 strategies)
    assert len(json.loads(planned.stdout)["cells"]) == 8
    refused = reader.run("run", "--set", "epochs=1")
    assert refused.returncode == 2
    assert "my_models.py (model my_net, my_wide_net)" in refused.stderr
    assert "bench run --set epochs=1 --allow-plugins" in refused.stderr.replace("'", "")
    assert not (reader.directory / "results.sqlite").exists()
    assert "not trusted, so it is not run" in reader.call("doctor").stdout

    entry = refused.stderr[refused.stderr.index("[[plugin]]") :]
    trust = reader.directory / "config" / "bench" / "trusted.toml"
    trust.parent.mkdir(parents=True)
    trust.write_text(entry)
    assert re.search(r"my_models.py +trusted", reader.call("doctor").stdout)
    done = reader.short("--set", "train_examples=300", "--select", "model=my_net,strategy=gentle,dataset=digits_high")
    assert done.exit_code == 0, done.stderr
    # with the cell whose weights it begins with
    assert "2 completed" in done.stderr

    # another content is another program, and needs consent of its own
    with (reader.directory / "my_models.py").open("a") as file:
        file.write("\n# a remark\n")
    assert "have not trusted yet" in reader.short("--set", "train_examples=300").stderr


@pytest.mark.tf
@pytest.mark.exhaustive
def test_the_models_of_the_page_learn(reader):
    reader.write(matrix_with("plugin:my_net"))
    done = reader.call("run", "--allow-plugins")
    assert done.exit_code == 0, done.stderr
    # five classes each
    assert [row for row in reader.results() if row["test_accuracy"] < 0.85] == []


@pytest.mark.parametrize("word", ['labels_file = "labels.csv"', "plugin:halves", "npz:digits.npz"])
def test_a_table_of_labels_a_loader_and_an_archive_are_prepared(reader, word):
    reader.write(next(code for code in MATRICES if word in code))
    assert "1 cell" in reader.call("plan").stdout
    done = reader.call("prepare", "--allow-plugins")
    assert (done.exit_code, "1 dataset ready" in done.stderr) == (0, True), done.stderr


def test_lists_show_what_the_matrix_adds(reader):
    reader.write(matrix_with("plugin:my_net"))
    listed = json.loads(reader.call("list", "models", "--format", "json").stdout)
    assert [(row["summary"], row["defined_in"]) for row in listed if row["name"] == "my_net"] == [
        ("plugin:my_net", "matrix.toml")
    ]
    reader.write(matrix_with("[dataset.parity]"))
    listed = json.loads(reader.call("list", "datasets", "--format", "json").stdout)
    assert [row["summary"] for row in listed if row["name"] == "parity"] == ["folder:pictures"]


def test_the_strategies_of_the_page_extend_each_other(reader):
    (last,) = [code for language, code in BLOCKS if language == "toml" and "gentle_augmented" in code]
    reader.write(matrix_with("plugin:my_net").replace('"gentle"]', '"gentle", "gentle_augmented"]') + last)
    cells = json.loads(reader.call("plan", "--format", "json").stdout)["cells"]
    (cell,) = [
        cell
        for cell in cells
        if (cell["strategy"], cell["dataset"], cell["model"]) == ("gentle_augmented", "digits_high", "my_net")
    ]
    assert cell["train"] == ["head", "all"]
    assert cell["augment"] == {"rotation": 0.05, "translation": 0.1}


def test_the_packages_table_of_the_page_names_the_group_that_is_read():
    from benchmark.matrix.reading.plugins import KINDS

    assert "models" in KINDS
    assert '[project.entry-points."benchmark.models"]' in PAGE
    assert Path(ROOT / "docs" / "your-own.md").exists()
