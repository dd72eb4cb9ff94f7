"""Commands as models, before any of them runs: mistakes, what cannot be done, what is missing, and consent."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from script_places import model, place_with

from benchmark.matrix.script_command import search_path

MISTAKES = [
    (model("m", "python", "x.py", "{lerning_rate}"), "learning_rate"),
    (model("m", "python", "{", "x"), "write {{ and }}"),
    ('[model.m]\ncommand = "python x.py"\n', "a list of texts"),
    ("[model.m]\ncommand = []\n", "a list of texts"),
    ('[model.m]\nextends = "simple_cnn"\ncommand = ["true"]\n', "a command or a network"),
    ('[model.m]\narchitecture = "vgg16"\ncommand = ["true"]\n', "a command or a network"),
    ('[model.a]\ncommand = ["true"]\n[model.m]\nextends = "a"\narchitecture = "vgg16"\n', "a command or a network"),
    ('[model.m]\narchitecture = "script"\n', "the name of an architecture"),
    ('[model.m]\ncommand = ["true"]\n"a b" = 3\n', "a key of letters"),
    ('[model.m]\ncommand = ["true"]\nkey = {a = 3}\n', "a number, a text"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_mistakes_in_a_command_are_named(tmp_path, text, words):
    done = place_with(tmp_path, text, ["m"]).call("plan")
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tta = 2", "tta = 2 needs a network of bench's own"),
        ('save = "model"', "save = "),
        ('threads = "auto"', "cannot be measured for a command"),
        ('precision = "mixed_float16"', "mixed_float16 needs a GPU"),
    ],
)
def test_what_a_command_cannot_do_is_left_out_with_the_reason(tmp_path, text, reason):
    place = place_with(tmp_path, model("m", "true"), ["m"], text)
    done = place.call("plan", "--format", "json")
    assert done.exit_code in {0, 2}, done.stderr
    assert reason in json.loads(done.stdout)["left_out"][0]["reason"]


def test_a_command_takes_no_weights(tmp_path):
    place = place_with(tmp_path, model("m", "true") + '[strategy.pre]\nweights = "imagenet"\n', ["m"])
    place.write((place.directory / "matrix.toml").read_text().replace('"scratch"', '["scratch", "pre"]'))
    plan = json.loads(place.call("plan", "--format", "json").stdout)
    assert [cell["strategy"] for cell in plan["cells"]] == ["scratch"]
    assert "cannot be given weights" in plan["left_out"][0]["reason"]


def test_all_programs_that_cannot_be_started_are_said_before_anything_starts(tmp_path):
    commands = {
        "absent": ("no-such-program", "no program no-such-program on PATH"),
        "gone": ("./tool", "no file"),
        "plain": ("./plain.py", "chmod +x"),
        "windows": ("./windows.py", "Windows line ends"),
        "silent": ("./silent.py", "does not say what runs it"),
        "lost": ("./lost.py", "to be run by /no/such/shell, which is not there"),
        "whole": ("python -c pass", ""),
    }
    models = "".join(model(name, *words.split()) for name, (words, _) in commands.items())
    first_lines = {"plain": "", "windows": "#!/bin/sh\r\n", "silent": "echo\n", "lost": "#!/no/such/shell -e\n"}
    place = place_with(tmp_path, models, list(commands))
    for name, text in first_lines.items():
        (place.directory / f"{name}.py").write_bytes(text.encode())
        (place.directory / f"{name}.py").chmod(0o644 if name == "plain" else 0o755)
    done, planned = place.call("run", "--allow-plugins"), place.call("plan")
    assert (done.exit_code, planned.exit_code) == (2, 0)
    refusal = done.stderr[done.stderr.index("error: ") :]
    for text in (refusal, planned.stdout):
        lines = {
            line.split("model ")[1].split(":")[0]: line
            for line in text.splitlines()
            if "model " in line and ": " in line
        }
        assert lines.keys() == commands.keys() - {"whole"}
        assert all(commands[name][1] in line for name, line in lines.items())
    assert not list(place.directory.glob("results.artifacts/*"))


def test_python_is_the_same_behind_env_as_alone(monkeypatch):
    ours = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", search_path("/usr/bin:/bin"))
    assert Path(shutil.which("python3")).parent == Path(ours)
    assert search_path(os.environ["PATH"]) == os.environ["PATH"]


def test_a_plan_says_which_files_its_commands_will_not_find(tmp_path):
    place = place_with(tmp_path, model("m", "python", "absent.py"), ["m"])
    assert "model m: there is no file absent.py, which its command names" in place.call("plan").stdout


def test_a_file_outside_the_folder_is_said_not_to_be_watched(tmp_path):
    words = ["python", "../out.py", "--list={extra}", "/dev/null", "inside.py"]
    (tmp_path / "out.py").write_text("")
    (tmp_path / "list.txt").write_text("")
    place = place_with(tmp_path, model("m", *words, extra=str(tmp_path / "list.txt")), ["m"], inside="")
    notes = [line for line in place.call("plan").stdout.splitlines() if "is outside the matrix's folder" in line]
    assert [line.split()[3] for line in notes] == [str(tmp_path / name) for name in ("list.txt", "out.py")]


def test_consent_covers_the_command_line_and_the_files_that_it_names(tmp_path):
    words = ["python", "-m", "package.go", "--config=conf.toml", "{extra}", "/etc/hostname"]
    place = place_with(tmp_path, model("m", *words, extra="more,notes.txt"), ["m"])
    (place.directory / "package").mkdir()
    for name in ("package/go.py", "conf.toml", "notes.txt", "other.py"):
        place.write("", name)
    refused = place.call("run")
    assert refused.exit_code == 2
    names = [str(place.directory / name) for name in ("conf.toml", "notes.txt", "package/go.py")]
    assert f"(model m), with {', '.join(names)}\n" in refused.stderr
    assert "--allow-plugins" in refused.stderr
    digests = {}
    for name in ("", "other.py", *("package/go.py", "conf.toml", "notes.txt")):
        if name:
            place.write("changed", name)
        digests[name] = re.search(r'sha256 = "(\w+)"', place.call("run").stderr).group(1)
    assert digests[""] == digests["other.py"]
    assert len(set(digests.values())) == 4
    # and what another program would do with the same files is another thing
    place.write((place.directory / "matrix.toml").read_text().replace("--config", "--conf"))
    assert digests["notes.txt"] not in place.call("run").stderr


ANSWERS = """\
from benchmark import cell
cell.finish(probabilities=[[0.1] * 10] * len(cell.test[0]))
"""


def test_an_agreed_command_runs_and_one_of_others_does_not(tmp_path):
    place = place_with(tmp_path, model("m", "python", "answers.py"), ["m"], answers=ANSWERS)
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    digest = re.search(r'sha256 = "(\w+)"', place.call("run").stderr).group(1)
    (tmp_path / "config" / "bench").mkdir(parents=True)
    (tmp_path / "config" / "bench" / "trusted.toml").write_text(f'[[plugin]]\nsha256 = "{digest}"\n')
    assert place.call("run", **config).exit_code == 0
    (place.directory / "answers.py").chmod(0o666)
    refused = place.call("run", "--rerun", "--allow-plugins")
    assert refused.exit_code == 2
    assert "can be written by anybody" in refused.stderr


def test_a_script_by_hand_says_what_is_missing_and_tells_nobody(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from benchmark import cell; cell.train"], check=False, capture_output=True, text=True
    )
    assert "BENCH_CELL is not set" in done.stderr
    subprocess.run([sys.executable, "-c", "from benchmark import cell; cell.epoch(train_loss=1)"], check=True)
