"""The security table, further rows: data never becomes code or a path, secrets stay secret, and no network is needed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import Workplace, typed
from waiting import wait_until

# ---- code


def test_a_matrix_names_things_and_imports_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    place = Workplace(tmp_path)
    canary = tmp_path / "imported"
    (tmp_path / "canary.py").write_text(f"open({str(canary)!r}, 'w').close()\ndef build(): pass\n")
    for model in (
        "os.system",
        "canary.build",
        "canary:build",
        "__import__('canary')",
        "${oc.env:HOME}",
        "{{ 7 * 7 }}",
        "canary",
    ):
        place.write(
            f'[matrix]\ndataset = "digits"\nmodel = {json.dumps(model)}\nstrategy = "scratch"\nbackend = "fake"\n'
        )
        for verb in ("plan", "run", "prepare"):
            done = place.call(verb)
            assert done.exit_code == 2, done.stderr
            assert "expected" in done.stderr
            assert "Traceback" not in done.stderr
    assert not canary.exists()
    assert not (tmp_path / "results.sqlite").exists()


@pytest.mark.parametrize("key", ["_target_", "callable", "loss", "import", "eval", "python"])
def test_keys_that_would_be_code_elsewhere_are_unknown_here(key, tmp_path):
    place = Workplace(tmp_path)
    place.write(
        f'[matrix]\ndataset = "digits"\nmodel = "m"\nstrategy = "scratch"\n[model.m]\nextends = "simple_cnn"\n{key} = "os.system"\n'
    )
    done = place.call("plan")
    assert done.exit_code == 2
    assert key in done.stderr


def test_model_files_and_pickles_are_nothing_that_weights_can_be(tmp_path):
    """Weights are arrays by name; the lint against unpickling and `load_model` stands in test_imports.py."""
    import pickle

    canary = tmp_path / "unpickled"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (canary,)

    place = Workplace(tmp_path)
    (tmp_path / "w.npz").write_bytes(pickle.dumps(Bomb()))
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "s"\nbackend = "fake"\n[defaults]\nepochs = 1\n'
        '[strategy.s]\nextends = "scratch"\nweights = "file:w.npz"\n'
    )
    place.call("run")
    assert not canary.exists()


def test_the_versions_that_load_unsafe_model_files_are_known():
    from benchmark.cli.doctor_checks import KERAS_FLOOR, _package

    assert _package("keras", "3.11.2").verdict == "bad"
    assert _package("keras", ".".join(map(str, KERAS_FLOOR))).verdict == "good"


# ---- paths


def test_a_link_in_the_place_of_a_cells_folder_is_not_followed(tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    (cell,) = place.document("plan")["cells"]
    target = tmp_path / "precious"
    target.mkdir()
    (place.directory / "results.artifacts").mkdir()
    (place.directory / "results.artifacts" / cell["cell_id"]).symlink_to(target)
    done = place.call("run")
    assert done.exit_code == 4
    assert "delete the link" in done.stderr
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "../../precious.npz",
        pytest.param("{absolute}", marks=pytest.mark.exhaustive),
        pytest.param("x/../../precious.npz", marks=pytest.mark.exhaustive),
    ],
)
def test_a_recorded_path_that_leads_out_is_neither_taken_nor_deleted(path, tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    assert place.call("run").exit_code == 0
    precious = tmp_path / "precious.npz"
    (weights,) = (place.directory / "results.artifacts").rglob("weights.npz")
    precious.write_bytes(weights.read_bytes())
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("UPDATE artifact SET path = ? WHERE kind = 'weights'", (path.format(absolute=precious),))
        connection.commit()
    assert "leads out of the artifacts folder" in place.call("db", "check", "--format", "json").stdout
    assert place.call("gc", "--delete").exit_code == 0
    assert precious.exists()
    assert "leads out of the artifacts folder" in place.call("run").stderr


# ---- secrets


CANARY = "canary7f3a"


def test_no_secret_of_the_environment_or_of_git_is_kept_or_told(tmp_path, monkeypatch):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nseed = [0, 1]\nbackend = "fake"\n'
    )
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (
        ["init", "-q"], ["remote", "add", "origin", f"https://{CANARY}@example.com/x.git"], ["add", "matrix.toml"],
        ["commit", "-q", "-m", "x"],
    ):  # fmt: skip
        subprocess.run([*git, *command], cwd=tmp_path, check=True, capture_output=True)
    secrets = {
        name: f"{CANARY}-{name}"
        for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "DATABASE_URL", "HF_TOKEN", "API_KEY")
    }
    done = place.run("run", **secrets)
    assert done.returncode == 0, done.stderr
    said = [done.stdout, done.stderr]
    for arguments, more in (
        (["run", "--rerun"], {"BENCH_FAULT": "epoch.sent:1:raise:ValueError"}),
        (["run", "--rerun", "--isolation", "spawn"], {"BENCH_FAULT": "batch:2:junk"}),
        (["reproduce", "seed=1"], {}),
    ):
        done = place.call(*arguments, **secrets, **more)
        said.append(done.stdout + done.stderr)
        assert done.exit_code in {0, 2, 3}, done.stderr
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    for arguments in (
        ["report"], ["report", "--format", "html"], ["show", "seed=0"], ["doctor"], ["status"], ["db", "export", "out"],
        ["query", "select * from run"],
    ):  # fmt: skip
        answer = place.call(*arguments)
        said.append(answer.stdout + answer.stderr)
        assert answer.exit_code in {0, 2, 3}, answer.stderr
    assert CANARY not in "".join(said)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.relative_to(tmp_path).parts]
    assert {path.name for path in kept} >= {"results.sqlite", "log.txt", "weights.npz"}
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        assert connection.execute("SELECT git_commit IS NOT NULL FROM run").fetchall()[0] == (1,)


def test_the_password_of_a_database_is_masked_everywhere(tmp_path, monkeypatch):
    place = Workplace(tmp_path)
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    address = f"postgresql://me:{CANARY}@127.0.0.1:1/x?sslpassword={CANARY}&connect_timeout=1"
    monkeypatch.setenv("BENCH_DB", address)
    for arguments in (
        ["run"],
        ["report"],
        ["status"],
        ["db", "check"],
        ["why", "seed=0"],
        ["gc"],
        ["doctor"],
        ["query", "select 1"],
    ):
        done = place.call(*arguments)
        assert done.exit_code in {0, 2, 4}, done.stderr
        assert CANARY not in done.stdout + done.stderr
    # forms of the address that are not known, so that a file of that name could be made
    for wrong in (f"postgresql:/me:{CANARY}@127.0.0.1/x", f"host=127.0.0.1 password={CANARY}"):
        monkeypatch.setenv("BENCH_DB", wrong)
        for command in ("run", "doctor"):
            done = place.call(command)
            assert CANARY not in done.stdout + done.stderr
        assert not [path for path in tmp_path.iterdir() if CANARY in path.name]
    monkeypatch.delenv("BENCH_DB")
    for arguments in (
        ["run", address], ["show", address], ["compare", address, address], ["report", "--output", address, address],
        ["query", address], ["plan", "--matrix", address], ["run", "--select", f"model={address}"], ["why", address],
        ["db", "merge", "new.sqlite", address], ["db", "merge", address, "new.sqlite"], ["db", "backup", address, "--debug"],
        ["db", "export", "out", "--db", address], ["db", "upgrade", f"--db={address}"], ["db", "salvage", address, address],
        ["list", address], ["explain", address], ["predict", address, address], ["reproduce", address], ["prepare", address],
        ["gc", "--delete", "--db", address], ["init", address], ["status", f"--d={address}"], ["nonsense", address],
    ):  # fmt: skip
        # what writes a file keeps in it the words of its process
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        done = place.call(*arguments)
        assert done.exit_code in {2, 4}, (arguments, done.stderr)
        assert CANARY not in done.stdout + done.stderr, arguments
    said = place.run("report", BENCH_DB=address)
    assert said.returncode == 4
    assert CANARY not in said.stdout + said.stderr
    for path in tmp_path.rglob("*"):
        assert not (path.is_file() and CANARY.encode() in path.read_bytes()), path
    broken = place.call("report", "--db", f"postgresql://me:{CANARY}@[broken/x")
    assert broken.exit_code in {2, 4}
    assert CANARY not in broken.stderr


# ---- the rest of the table


@pytest.mark.parametrize(
    ("mask", "forbidden"), [(0o077, 0o077), pytest.param(0o022, 0o022, marks=pytest.mark.exhaustive)]
)
def test_files_obey_the_umask(mask, forbidden, tmp_path):
    place = Workplace(tmp_path / "inner")
    place.directory.mkdir()
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    before = os.umask(mask)
    try:
        assert place.call("run").exit_code == 0
        assert place.call("report", "--output", "report.html").exit_code == 0
        assert place.call("db", "backup", "copy.sqlite").exit_code == 0
        assert place.call("db", "export", "out").exit_code == 0
    finally:
        os.umask(before)
    made = [path for path in place.directory.rglob("*") if path.name != "matrix.toml" and "cache" not in path.parts]
    assert len(made) > 8
    for path in made:
        assert not stat.S_IMODE(path.lstat().st_mode) & forbidden, path


def test_no_other_user_can_reach_the_template(tmp_path):
    """Orders pass over a pair of sockets that has no name: there is nothing to connect to."""
    place = Workplace(tmp_path)
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    process = subprocess.Popen(
        place.command("run"), cwd=tmp_path, env={**place.environment, "BENCH_FAKE_GATE": f"2:{tmp_path / 'gate'}"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        # bench, the template, a guardian and its worker, which waits at the gate
        family = wait_until(lambda: len(family := _descendants(process.pid)) >= 4 and family)
        assert not _listening(family)
        (tmp_path / "gate").touch()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _listening(pids: list[int]) -> list[str]:
    import psutil

    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found += [
                f"{pid}: {one.laddr}"
                for one in psutil.Process(pid).net_connections(kind="all")
                if one.status == psutil.CONN_LISTEN or (one.family == socket.AF_UNIX and one.laddr)
            ]
    return found


def test_names_and_files_have_a_limit(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        f'[matrix]\ndataset = "digits"\nmodel = "{"x" * 201}"\nstrategy = "scratch"\n[model.{"x" * 201}]\nextends = "simple_cnn"\n'
    )
    done = place.call("plan")
    assert done.exit_code == 2
    assert "200 characters" in done.stderr
    place.write("# " + "x" * (1 << 20) + "\n")
    done = place.call("plan")
    assert done.exit_code == 2
    assert len(done.stderr) < 2000


def test_nothing_but_preparing_data_needs_a_network(tmp_path):
    """Every attempt to reach an address raises; planning, running what is embedded and reporting do not notice."""
    place = Workplace(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(self, address):\n"
        "    if self.family != socket.AF_UNIX:\n"
        "        raise AssertionError(f'reached for {address}')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
    )
    place.write('[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n')
    path = f"{tmp_path}{os.pathsep}{place.environment['PYTHONPATH']}"
    for answer in typed(
        tmp_path, {**place.environment, "PYTHONPATH": path},
        ["plan"], ["run"], ["report"], ["doctor"], ["why", "seed=0"], ["reproduce", "seed=0"],
    ):  # fmt: skip
        assert answer.exit_code == 0, answer.stderr
        assert "reached for" not in answer.stderr
