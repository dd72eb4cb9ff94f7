from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from benchmark.errors import BusyError, StorageError
from benchmark.results.store.lock import lock_database

HOLD = (
    "import sys, time\n"
    "from benchmark.errors import BusyError\n"
    "from benchmark.results.store.lock import lock_database\n"
    "try:\n"
    "    path, name, seconds = sys.argv[1:]\n"
    "    sys.argv = ['bench', 'run', '--name', name]\n"
    "    with lock_database(path):\n"
    "        print('holds', flush=True); time.sleep(float(seconds))\n"
    "except BusyError as error:\n"
    "    print(error, flush=True); sys.exit(error.exit_code)\n"
)


def hold(path, name="first", seconds="600"):
    return subprocess.Popen([sys.executable, "-c", HOLD, path, name, seconds], stdout=subprocess.PIPE, text=True)


def test_the_message_names_process_host_start_and_command(tmp_path):
    path = tmp_path / "results.sqlite"
    with hold(path) as holder:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(BusyError) as caught, lock_database(path):
            pass
        holder.kill()
    message = str(caught.value)
    assert f"process {holder.pid} on {os.uname().nodename}, since 20" in message
    assert "bench run --name first" in message


def test_a_killed_holder_frees_the_lock_and_leaves_its_name(tmp_path):
    path = tmp_path / "results.sqlite"
    with hold(path) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGKILL)
    left = json.loads((tmp_path / "results.sqlite.lock").read_text())
    assert (left["pid"], left["command"]) == (holder.pid, "bench run --name first")
    with lock_database(path):
        pass


def test_the_same_file_by_another_name_is_the_same_lock(tmp_path, monkeypatch):
    path = tmp_path / "results.sqlite"
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    with lock_database(path):
        for name in (link, "results.sqlite", "./results.sqlite", f"sqlite:///{path}"):
            with pytest.raises(BusyError), lock_database(name):
                pass


def test_of_many_that_start_at_once_exactly_one_wins(tmp_path):
    path = tmp_path / "results.sqlite"
    racers = [hold(path, f"racer{number}", "1.5") for number in range(4)]
    answers = [racer.communicate()[0] for racer in racers]
    # whoever comes after the winner has left may win as well; at no moment two do
    refused = [answer for answer in answers if "another bench run holds this database" in answer]
    assert answers.count("holds\n") >= 1
    assert len(refused) + answers.count("holds\n") == 4
    assert all("bench run --name racer" in answer for answer in refused)


def test_waiting_takes_the_lock_when_it_is_free(tmp_path, monkeypatch):
    path = tmp_path / "results.sqlite"
    with hold(path) as holder:
        holder.stdout.readline()
        # the holder goes once it has been waited for
        monkeypatch.setattr("benchmark.results.store.lock.time.sleep", lambda _: holder.kill())
        with lock_database(path, wait=True):
            assert holder.wait() == -signal.SIGKILL


def test_a_folder_that_cannot_hold_the_lock_is_named(tmp_path):
    with (
        pytest.raises(StorageError, match=r"the lock file .* cannot be made"),
        lock_database(tmp_path / "no" / "x.sqlite"),
    ):
        pass


def test_a_link_in_the_place_of_the_lock_file_is_refused_and_what_it_leads_to_is_not_touched(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (tmp_path / "results.sqlite.lock").symlink_to(precious)
    with pytest.raises(StorageError, match=r"results\.sqlite\.lock: expected a file of bench, found a link"):
        lock_database(tmp_path / "results.sqlite").__enter__()
    assert precious.read_text() == "mine"


def test_a_pipe_in_the_place_of_the_lock_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "results.sqlite.lock")
    with pytest.raises(StorageError, match=r"results\.sqlite\.lock: expected a file of bench, found a pipe"):
        lock_database(tmp_path / "results.sqlite").__enter__()


def test_a_full_disk_takes_the_holders_name_and_not_the_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("benchmark.results.store.lock.os.pwrite", full)
    path = tmp_path / "results.sqlite"
    with lock_database(path), pytest.raises(BusyError, match="has not said who it is"):
        lock_database(path).__enter__()


SECRETS = (
    "postgresql://me:canary@host/db",
    "--db=postgresql://me:ca:n@ry-canary@[::1]:5/db",
    "postgresql://h/d?password=canary&sslmode=require",
    "postgresql://h/d?sslmode=require&ssl%70assword=canary",
    "postgresql+psycopg://:canary@h/d?passfile=mine",
)


@pytest.mark.parametrize("argument", SECRETS)
def test_the_lock_file_holds_no_password_and_is_its_owners_alone(argument, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "db", "merge", argument, "it's mine"])
    lock = tmp_path / "results.sqlite.lock"
    lock.touch(0o666)
    with lock_database(tmp_path / "results.sqlite"):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        command = json.loads(lock.read_text())["command"]
        assert "***" in command
        assert "canary" not in command
        with pytest.raises(BusyError) as caught, lock_database(tmp_path / "results.sqlite"):
            pass
    assert "canary" not in str(caught.value)
