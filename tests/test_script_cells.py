"""Commands as cells: what a program is told, what becomes of what it tells, and what strange ones come to."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cli_workplace import Workplace
from script_places import model, place_with, rows_of
from waiting import wait_until

from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import open_dataset

STRANGE = """\
import json, os, signal, subprocess, sys, time

told = json.load(open(os.environ["BENCH_CELL"], encoding="utf-8"))
count, classes = told["arrays"]["test"]["count"], len(told["class_names"])


def tell(event, **values):
    with open(os.environ["BENCH_EVENTS"], "a") as file:
        file.write(json.dumps({"event": event, **values}) + "\\n")


def raw(content):
    with open(os.environ["BENCH_EVENTS"], "wb", buffering=0) as file:
        file.write(content)


def rows(number=count, width=classes, value=None):
    return [[1 / classes if value is None else value] * width for _ in range(number)]


def finish(**more):
    tell("finish", **{"probabilities": rows(), **more})


mode = sys.argv[1]
if mode == "good":
    for number in range(1, 4):
        tell("epoch", train_loss=1 / number, train_accuracy=0.5, val_loss=0.5, val_accuracy=number / 4, seconds=0.25)
    finish(best_epoch=2, parameters=123)
elif mode == "no_epochs":
    print("ünïcode ✓", flush=True)
    finish()
elif mode == "floods":
    for _ in range(60):
        print("x" * 100_000)
        sys.stderr.write("y" * 100_000)
    finish()
elif mode == "leaves_a_child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    finish()
elif mode == "csv":
    with open("answers file.csv", "w") as file:
        file.write(",".join(f'"class {n}"' for n in range(classes)) + "\\n")
        file.writelines(",".join(map(str, row)) + "\\n" for row in rows())
    finish(probabilities=os.path.abspath("answers file.csv"))
elif mode == "diverges":
    tell("epoch", train_loss=1.0)
    tell("epoch", train_loss=float("nan"))
    time.sleep(300)
elif mode == "no_finish":
    tell("epoch", train_loss=1.0)
elif mode == "exits_3":
    sys.stderr.write("first\\nValueError: the last words\\n")
    finish()
    sys.exit(3)
elif mode == "rubbish":
    raw(b"\\x00\\xff\\xfe rubbish\\n")
    time.sleep(300)
elif mode == "endless_line":
    while True:
        raw(b"z" * 65536)
elif mode == "unknown_event":
    tell("epohc", train_loss=1.0)
elif mode == "unknown_key":
    tell("epoch", trian_loss=1.0)
elif mode == "percent":
    tell("epoch", train_accuracy=98.2)
elif mode == "out_of_order":
    tell("epoch", epoch=1)
    tell("epoch", epoch=3)
elif mode == "goes_on_from_nothing":
    tell("epoch", epoch=4)
elif mode == "twice":
    finish()
    finish()
elif mode == "after_the_end":
    finish()
    tell("epoch", train_loss=1.0)
elif mode == "shape":
    finish(probabilities=rows(number=count - 1))
elif mode == "labels":
    finish(probabilities=[0] * count)
elif mode == "not_finite":
    finish(probabilities=rows(value=float("nan")))
elif mode == "logits":
    finish(probabilities=rows(value=3.0))
elif mode == "other_accuracy":
    finish(test_accuracy=0.99)
elif mode == "no_file":
    finish(probabilities="nowhere.npy")
elif mode == "hangs":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
elif mode == "killed":
    if len(sys.argv) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""

ENDS: dict[str, tuple[str, str | None, str]] = {
    "good": ("completed", None, ""),
    "no_epochs": ("completed", None, ""),
    "floods": ("completed", None, ""),
    "leaves_a_child": ("completed", None, ""),
    "csv": ("completed", None, ""),
    "diverges": ("diverged", "diverged", "epoch 2"),
    "no_finish": ("failed", "protocol", "found none; it exited with 0"),
    "exits_3": ("failed", "failed", "exit code 3: ValueError: the last words\nfirst\nValueError"),
    "rubbish": ("failed", "protocol", "expected a line of JSON"),
    "endless_line": ("failed", "protocol", "at most 1048576 bytes"),
    "unknown_event": ("failed", "protocol", "epoch, resume, progress, finish, found 'epohc'"),
    "unknown_key": ("failed", "protocol", "found 'trian_loss'"),
    "percent": ("failed", "protocol", "train_accuracy: expected a fraction from 0 to 1, found 98.2"),
    "out_of_order": ("failed", "protocol", "expected the number 2, found 3"),
    "goes_on_from_nothing": ("failed", "protocol", "epoch: expected the number 1, .* of the 0 .* found 4"),
    "twice": ("failed", "protocol", "nothing after the line finish, found finish"),
    "after_the_end": ("failed", "protocol", "nothing after the line finish, found epoch"),
    "shape": ("failed", "protocol", r"shape \(20, 10\), .* found \(19, 10\)"),
    "labels": ("failed", "protocol", r"found \(20,\); of predicted classes alone numpy.eye"),
    "not_finite": ("failed", "protocol", "finite numbers, found nan in row 0"),
    "logits": ("failed", "protocol", "with the sum 30 in row 0; .* softmax"),
    "other_accuracy": ("failed", "protocol", r"0\.9900 was reported, but 0\.\d{4} follows"),
    "no_file": ("failed", "protocol", "at .*nowhere.npy, found none"),
    "hangs": ("failed", "timeout", "--timeout"),
    "killed": ("failed", "crashed", "ended by SIGKILL"),
}


def test_strange_programs_end_their_own_cells_alone(tmp_path):
    models = "".join(model(name, "python", "strange.py", name) for name in ENDS)
    place = place_with(tmp_path, models, list(ENDS), strange=STRANGE)
    # of the one that hangs its limit is the end; the others take as long as the machine lets them
    hangs = place.call("run", "--allow-plugins", "--timeout", "2s", "--select", "model=hangs")
    assert hangs.exit_code == 3, hangs.stderr
    done = place.call("run", "--allow-plugins", "--jobs", "4")
    assert done.exit_code == 3, done.stderr
    found = {row["model"]: row for row in rows_of(place)}
    details = rows_of(place, "select model, detail from execution join cell using (cell_id)")
    detail = {row["model"]: row["detail"] or "" for row in details}
    for name, (status, cause, words) in ENDS.items():
        assert (found[name]["status"], found[name]["cause"]) == (status, cause), (name, detail[name], done.stderr)
        assert re.search(words, detail[name]), (name, detail[name])
    assert {row["framework"] for row in found.values()} == {"script"}
    assert {row["backend"] for row in found.values()} == {"script"}

    good = found["good"]
    assert (good["epochs"], good["best_epoch"], good["val_accuracy"], good["parameters"]) == (3, 2, 0.5, 123)
    assert (good["fit_seconds"], good["train_accuracy"]) == (0.75, 0.5)
    assert found["no_epochs"]["epochs"] is None
    assert found["no_epochs"]["parameters"] is None
    assert 0 < found["no_epochs"]["fit_seconds"] <= found["no_epochs"]["total_seconds"]
    # the same probabilities, from a line as from a file
    assert len({found[name]["test_loss"] for name in ("good", "no_epochs", "floods", "csv")}) == 1
    assert found["good"]["test_loss"] == pytest.approx(np.log(10), abs=1e-6)
    assert found["good"]["test_log_loss"] is not None

    shown = place.call("show", "model=exits_3").stdout
    assert re.search(r"\nmodel\n.*\n  command +python .*\n\ncode\n  model  [0-9a-f]{64}\n", shown, re.DOTALL)
    assert "ValueError: the last words" in shown
    assert "ünïcode ✓" in (place.directory / "results.artifacts" / logs_of(place, "no_epochs")).read_text("utf-8")
    # nobody is left behind, and nothing of what was only for the programs
    wait_until(lambda: not any(is_here(pid, place) for pid in Path("/proc").glob("[0-9]*")), "all programs have ended")
    cells = {found[name]["cell_id"] for name in ("good", "no_epochs", "csv")}
    left = {path.name for cell in cells for path in place.directory.glob(f"results.artifacts/{cell}/*/*")}
    assert left == {"history.json", "predictions.npz", "log.txt"}

    refused = place.call("explain", "model=good")
    assert refused.exit_code == 2
    assert "found a command" in refused.stderr
    assert "its files and data are as they were recorded" in place.call("why", "model=good").stdout
    assert place.call("report").exit_code == 0


def logs_of(place: Workplace, name: str) -> str:
    joined = "attempt join execution using (execution_id) join cell using (cell_id)"
    (row,) = rows_of(place, f"select cell_id, attempt_id from {joined} where model = '{name}'")
    return f"{row['cell_id']}/{row['attempt_id']}/log.txt"


def is_here(pid: Path, place: Workplace) -> bool:
    """Whether a process works in this folder."""
    try:
        return (pid / "cwd").readlink().is_relative_to(place.directory)
    except OSError:
        return False


LOOKS = """\
import json, os, sys
import numpy as np
from benchmark import cell
sets = {}
for name in ("train", "validation", "test", "lockbox"):
    part = getattr(cell, name)
    images, labels = part if isinstance(part, tuple) else (part, None)
    if images is not None:
        images[:] = images  # a change is one of its own
        sets[name] = [str(images.dtype), isinstance(images, np.memmap), images.shape, int(images.sum()),
                      None if labels is None else labels.tolist()]
settings = dict(cell.settings)
json.dump({"sets": sets, "settings": settings, "arguments": sys.argv[1:], "cwd": os.getcwd(), "state": str(cell.state),
           "environment": dict(os.environ), "affinity": sorted(os.sched_getaffinity(0)), "classes": cell.class_names,
           "heavy": sorted({"tensorflow", "keras"} & set(sys.modules))}, open("seen.json", "w"))
cell.progress(1, 2)
images = cell.test[0]
for epoch in range(settings["epochs"]):
    cell.epoch(train_loss=np.float32(1.5), val_accuracy=np.float64(0.25), learning_rate=settings["learning_rate"])
print("to the log")
cell.finish(probabilities=np.full((len(images), len(cell.class_names)), 1 / len(cell.class_names)),
            validation_probabilities=np.eye(len(cell.class_names))[cell.validation[1]],
            lockbox_probabilities=np.full((len(cell.lockbox), 10), 0.1), parameters=np.int64(7))
"""


def test_a_script_sees_what_a_network_would_and_its_answers_are_stored(tmp_path):
    words = [
        "python",
        "looks.py",
        "--lr",
        "{learning_rate}",
        "{word}",
        "{layers}",
        "{{}}",
        "{seed}{train_examples}",
        "{wide-net}",
    ]
    text = model("looks", *words, word="two words", layers=[3, 5], **{"wide-net": True})
    place = place_with(
        tmp_path,
        text,
        ["looks"],
        'lockbox = 0.25\nseed = 3\nthreads = 2\nbackend = ["torch", "tensorflow"]',
        looks=LOOKS,
    )
    done = place.call("run", "--allow-plugins", SECRET="hush", MKL_NUM_THREADS="7")
    assert done.exit_code == 0, done.stderr
    seen = json.loads((place.directory / "seen.json").read_text())
    assert seen["arguments"] == ["--lr", "0.001", "two words", "[3, 5]", "{}", "3100", "true"]
    assert seen["cwd"] == str(place.directory)
    assert seen["heavy"] == []
    assert "SECRET" not in seen["environment"]
    assert seen["environment"]["OMP_NUM_THREADS"] == seen["environment"]["MKL_NUM_THREADS"] == "2"
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == "-1"
    assert seen["settings"]["wide-net"] is True
    assert (seen["settings"]["batch_size"], seen["settings"]["layers"]) == (64, [3, 5])

    (row,) = rows_of(place)
    spec = rows_of(place, "select spec from cell")[0]["spec"]
    cell = Cell.from_dict(json.loads(spec))
    (prepared,) = [path for path in (place.directory / "cache" / "prepared").iterdir() if path.is_dir()]
    dataset = open_dataset(prepared, cell.data, cell.seed, one_hot=False)
    for name, examples in (("train", dataset.training), ("validation", dataset.validation), ("test", dataset.test)):
        kind, mapped, shape, total, labels = seen["sets"][name]
        expected = examples.images[examples.split.indices]
        assert (kind, mapped, shape, total) == ("uint8", True, list(expected.shape), int(expected.sum()))
        assert labels == examples.split.labels.tolist()
    # labels of what is locked away are nobody's
    assert seen["sets"]["lockbox"][2:] == [
        [5, 16, 16, 1],
        int(dataset.lockbox.images[dataset.lockbox.split.indices].sum()),
        None,
    ]
    assert (row["epochs"], row["train_loss"], row["val_accuracy"], row["parameters"]) == (3, 1.5, 0.25, 7)
    assert row["test_accuracy"] == pytest.approx(np.mean(dataset.test.split.labels == 0))
    stored = rows_of(place, "select split, count(*) as n, avg(predicted = label) as right from predictions group by 1")
    counts = {each["split"]: (each["n"], each["right"]) for each in stored}
    assert counts["validation"] == (10, 1.0)
    assert counts["test"] == (15, pytest.approx(row["test_accuracy"]))
    assert {each["split"]: each["examples"] for each in rows_of(place, "select * from prediction")}["lockbox"] == 5

    again = place.call("run", "--allow-plugins")
    assert "1 from earlier runs" in again.stderr
    place.write(LOOKS + "\n# another", "looks.py")
    plan = json.loads(place.call("plan", "--format", "json").stdout)
    assert plan["cells"][0]["cell_id"] != row["cell_id"]
    why = place.call("why", plan["cells"][0]["cell_id"]).stdout
    assert "architecture.code" in why
    same = place.call("reproduce", row["cell_id"], "--allow-plugins")
    assert "run again" in same.stderr + same.stdout


RESUMES = """\
import time
from pathlib import Path
from benchmark import cell
import numpy as np
kept = cell.state / "epoch"
done = int(kept.read_text()) if kept.exists() and cell.settings["resumes"] else 0
if done:
    cell.resume(done)
for epoch in range(done + 1, 5):
    if epoch == 3 and not kept.with_name("gate").exists():
        kept.with_name("gate").write_text("")
        Path("reached").write_text("")
        time.sleep(300)
    kept.write_text(str(epoch))
    cell.epoch(train_loss=1 / epoch)
cell.finish(probabilities=np.full((len(cell.test[0]), 10), 0.1))
"""


@pytest.mark.parametrize(
    ("ending", "resumes"),
    [
        ("stopped", True),
        ("killed", False),
        pytest.param("stopped", False, marks=pytest.mark.exhaustive),
        pytest.param("killed", True, marks=pytest.mark.exhaustive),
    ],
)
def test_a_script_that_was_stopped_goes_on_from_its_own_state_or_begins_anew_and_the_row_says_which(
    tmp_path, resumes, ending
):
    place = place_with(tmp_path, model("slow", "python", "slow.py", resumes=resumes), ["slow"], slow=RESUMES)
    run = subprocess.Popen(
        place.command("run", "--allow-plugins"),
        cwd=place.directory,
        env=place.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((place.directory / "reached").exists)
    wait_until(lambda: len(rows_of(place, "select 1 from epoch")) == 2)
    run.send_signal(signal.SIGINT if ending == "stopped" else signal.SIGKILL)
    run.communicate(timeout=240)
    assert run.returncode == (130 if ending == "stopped" else -signal.SIGKILL)
    wait_until(lambda: not [pid for pid in Path("/proc").glob("[0-9]*") if is_here(pid, place)])
    done = place.call("run", "--allow-plugins")
    assert done.exit_code == 0, done.stderr
    attempts = rows_of(place, "select state, resumed_from_epoch, detail from attempt order by 1 desc")
    last = next(each for each in attempts if each["state"] == "completed")
    assert last["resumed_from_epoch"] == (2 if resumes else None)
    assert ("started again" in (last["detail"] or "")) is not resumes
    history = rows_of(place, "select epoch, train_loss, run_id from history")
    assert [row["train_loss"] for row in history] == [1 / epoch for epoch in range(1, 5)]
    assert [row["run_id"] for row in history] == ([1, 1, 2, 2] if resumes else [2, 2, 2, 2])


ANSWERS_SEVERAL = """\
import sys
from benchmark import cell
labels = cell.test[1]
cell.finish(probabilities=labels * float(sys.argv[1]))
"""


def test_a_script_answers_with_a_probability_for_each_of_several_labels(tmp_path):
    place = Workplace(tmp_path)
    place.write(ANSWERS_SEVERAL, "several.py")
    rows = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]] * 10, np.uint8)
    np.savez(tmp_path / "many.npz", x=np.zeros((40, 16, 16), np.uint8), y=rows)
    models = model("right", "python", "several.py", "1") + model("logits", "python", "several.py", "7")
    head = '[matrix]\ndataset = "many"\nmodel = ["right", "logits"]\nstrategy = "scratch"\n[defaults]\nepochs = 1\n'
    place.write(f'{head}[dataset.many]\nsource = "npz:many.npz"\n{models}')
    assert place.call("run", "--allow-plugins", "--jobs", "1").exit_code == 3
    right, logits = sorted(rows_of(place), key=lambda row: row["model"], reverse=True)
    assert (right["status"], right["test_accuracy"], right["test_macro_f1"]) == ("completed", 1.0, 1.0)
    assert right["test_loss"] < 1e-6
    assert (logits["status"], logits["cause"]) == ("failed", "protocol")
    assert "a probability from 0 to 1 for each label" in place.call("show", logits["cell_id"][:8]).stdout
