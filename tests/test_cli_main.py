"""The command line as a whole: start-up, help, suggestions, and how every failure ends."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_workplace import ROOT, Workplace, children_seconds
from click.testing import CliRunner

from benchmark import __version__
from benchmark.cli.main import SECTIONS, VERBS, bench
from benchmark.cli.terminal import error_exit
from benchmark.cli.verb_group import VerbGroup
from benchmark.errors import BusyError, CellsFailedError, MatrixError, Problem, StorageError


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def failing(error: BaseException, *arguments: str):
    """What becomes of a command that raises `error`."""

    def fail() -> None:
        raise error

    group = VerbGroup("bench", sections={"Fail": {"fail": "Fail."}})
    group.get_command = lambda _context, _name: click.Command("fail", callback=fail, params=[DEBUG])
    return CliRunner().invoke(group, ["fail", *arguments], prog_name="bench")


DEBUG = click.Option(["--debug"], is_flag=True, expose_value=False)


def test_help_lists_every_verb_without_importing_one(place):
    done = place.call("--help")
    assert done.exit_code == 0
    assert all(f"  {name} " in done.stdout for name in VERBS)


def test_help_is_there_within_three_tenths_of_a_second(place):
    times = []
    for _ in range(5):
        started = children_seconds()
        assert place.run("--help").returncode == 0
        times.append(children_seconds() - started)
    started = children_seconds()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    # a twentieth of a second on a machine with nothing else to do
    assert min(times) < 6 * (children_seconds() - started)


HELPED = """
import sys
from click.testing import CliRunner
from benchmark.cli.main import VERBS, bench
for verb in VERBS:
    assert CliRunner().invoke(bench, [verb, "--help"]).exit_code == 0
    heavy = {"tensorflow", "keras", "pandas", "matplotlib", "sqlalchemy", "numpy"} & sys.modules.keys()
    assert not heavy, (verb, heavy)
"""


def test_help_of_a_verb_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELPED], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_verb_can_be_loaded():
    context = click.Context(bench)
    for name in VERBS:
        assert bench.get_command(context, name).name == name


def test_version_is_told(place):
    assert place.call("--version").stdout.strip() == f"bench, version {__version__}"


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("verb", [[], ["run"], ["db"], ["db", "check"]])
def test_help_has_a_short_form_everywhere(verb, option, place):
    done = place.call(*verb, option)
    assert (done.exit_code, done.stderr) == (0, "")


def test_help_groups_the_verbs_below_headings(place):
    lines = [line.strip() for line in place.call("--help").stdout.splitlines()]
    headings = [lines.index(f"{heading}:") for heading in SECTIONS]
    assert headings == sorted(headings)
    assert lines[headings[0] + 1].startswith("init ")


@pytest.mark.parametrize("words", [["run"], ["db"], ["db", "check"], []])
def test_help_of_a_verb_is_the_help_that_its_option_prints(words, place):
    assert place.call("help", *words).stdout == place.call(*words, "--help").stdout


def typed(commands: str) -> list[str]:
    """The words that a shell makes of commands."""
    return [" ".join(word.split()) for word in shlex.split(commands.replace("\\\n", ""))]


@pytest.mark.parametrize("columns", [40, 80])
def test_help_is_as_wide_as_the_terminal_and_breaks_no_word(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in VERBS:
        command = bench.get_command(click.Context(bench), name)
        shown = CliRunner().invoke(bench, [name, "--help"]).stdout
        assert not [line for line in shown.splitlines() if len(line) > columns and len(line.rstrip(" \\").split()) > 1]
        words = set(re.split(r"[\s|]+", shown))
        options = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
        assert options <= {word.rstrip(",") for word in words}
        # whatever is typed as it is printed is what was meant
        examples = shown.partition("Examples:\n")[2]
        assert typed(examples) == typed((command.epilog or "").partition("Examples:\n")[2])


@pytest.mark.parametrize(
    ("line", "offered", "left_out"),
    [
        ("bench ", {"run", "report", "completion"}, {"--debug"}),
        ("bench re", {"report", "reproduce"}, {"run"}),
        ("bench db ", {"check", "export"}, {"run"}),
        ("bench report --f", {"--format", "--figures"}, {"--output"}),
        ("bench report --format ", {"table", "markdown", "latex"}, {"--output"}),
        ("bench plan --format j", {"json"}, {"csv"}),
        ("bench init --preset ", {"default", "all"}, set()),
        ("bench list ", {"cells", "models"}, set()),
        ("bench help ru", {"run"}, {"report"}),
        ("bench help db ", {"check", "export"}, {"run"}),
        ("bench run --select mo", {"model=", "momentum="}, {"dataset="}),
        (
            "bench run --select model=resnet18,strategy=sc",
            {"model=resnet18,strategy=scratch"},
            {"model=resnet18,strategy=v1"},
        ),
        ("bench report --exclude status=c", {"status=completed"}, {"status=failed"}),
        ("bench run --set optimizer=adam", {"optimizer=adam", "optimizer=adamw"}, {"optimizer=sgd"}),
        ("bench compare strategy=scratch stra", {"strategy="}, {"model="}),
        ("bench predict model=simp", {"model=simple_cnn"}, set()),
        ("bench report --metric test_m", {"test_macro_f1"}, {"test_accuracy"}),
        ("bench run --executor ", {"local", "ray", "slurm"}, set()),
        ("bench nothing --f", set(), {"run"}),
    ],
)
def test_a_shell_completes_verbs_options_and_choices(line, offered, left_out):
    words = line.split()
    at = len(words) - (not line.endswith(" "))
    environment = {"_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(at)}
    done = CliRunner().invoke(bench, [], prog_name="bench", env=environment)
    assert (done.exit_code, done.stderr) == (0, "")
    said = {text.partition(",")[2] for text in done.stdout.splitlines()}
    assert offered <= said
    assert not left_out & said


@pytest.mark.parametrize("option", ["--matrix", "--db"])
def test_a_shell_completes_paths_of_files(option):
    environment = {"_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": f"bench plan {option} a", "COMP_CWORD": "3"}
    assert CliRunner().invoke(bench, [], prog_name="bench", env=environment).stdout == "file,a\n"


COMPLETED = """
import os, sys
os.environ |= {"_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": "bench re", "COMP_CWORD": "1"}
try:
    from benchmark.cli.main import bench
    bench(prog_name="bench")
finally:
    assert not [name for name in sys.modules if name.startswith("benchmark.cli.commands.")]
"""


def test_no_verb_is_imported_to_complete_its_name():
    done = subprocess.run([sys.executable, "-c", COMPLETED], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,report\nplain,reproduce\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_completes_is_printed_for_each_shell(shell, place):
    done = place.call("completion", shell)
    assert f"_BENCH_COMPLETE={shell}_complete" in done.stdout
    assert "bench" in done.stdout


def test_bash_itself_completes_with_it(place):
    script = place.call("completion", "bash").stdout
    # bash splits words at `=`, and completes the last part alone
    selected = "model = simple_cnn,strategy = regul"
    tries = "".join(
        f"COMP_WORDS=(bench {words}); COMP_CWORD={at}; COMP_LINE='{line}'; COMP_POINT={len(line)}; COMPREPLY=()\n"
        "_bench_completion bench; echo ${COMPREPLY[@]}\n"
        for words, at, line in [
            ("li", 1, ""),
            ("li", 1, "bench li"),
            (f"run --select {selected}", 7, f"bench run --select {selected.replace(' = ', '=')}"),
        ]
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{tries}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert (done.stdout, done.stderr) == ("list\nlist\nregularized\n", "")


def test_no_command_is_a_usage_error_with_help(place):
    done = place.call()
    assert done.exit_code == 2
    assert "Commands:" in done.stderr


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["rum"], "did you mean 'run'?"),
        (["stats"], "did you mean 'status'?"),
        (["db", "chek"], "did you mean 'check'?"),
        (["plan", "--formt"], "no such option '--formt'; did you mean '--format'?"),
        (["plan", "--xyzzy"], "known options: --matrix, --select, "),
        (["plan", "--format", "jsn"], "expected table, json or csv, got 'jsn'; did you mean 'json'?"),
        (["list", "cels"], "did you mean 'cells'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
        (["help", "rum"], "did you mean 'run'?"),
        (["help", "db", "chek"], "did you mean 'check'?"),
        (["xyzzy"], "known commands: init, plan"),
    ],
)
def test_a_slip_of_the_fingers_is_answered_with_the_nearest_name(words, suggestion, place):
    done = place.call(*words)
    assert done.exit_code == 2
    assert suggestion in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MatrixError("m.toml", [Problem("matrix.model", "a model", "'x'")]), 2),
        (CellsFailedError("3 cells failed"), 3),
        (StorageError("disk full"), 4),
        (BusyError("held by pid 7"), 75),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 4),
        (OSError(errno.EFBIG, "File too large"), 4),
        (OSError(errno.EMFILE, "Too many open files", "x"), 4),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), 4),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), 4),
        (MemoryError(), 4),
        (KeyboardInterrupt(), 130),
        (ValueError("a slip of ours"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_failure_ends_with_its_exit_code_and_no_traceback(error, code):
    done = failing(error)
    assert done.exit_code == code
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "-v"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "TMPDIR"),
    ],
    ids=["descriptors", "memory", "temporary folder"],
)
def test_a_system_that_gives_no_more_is_named_with_the_cure_and_is_no_defect(error, cure):
    done = failing(error)
    assert cure in done.stderr
    assert "defect" not in done.stderr


def test_a_message_is_said_even_when_there_is_no_memory_to_load_what_prints_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.text", None)
    done = failing(StorageError("disk full"))
    assert (done.exit_code, done.stderr) == (4, "error: disk full\n")


def test_a_broken_pipe_is_no_failure(monkeypatch):
    # in this process stdout is the test's own: it must not be sent nowhere
    monkeypatch.setattr("benchmark.cli.terminal.streams.mute", lambda _stream: None)
    done = failing(BrokenPipeError())
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_debug_prints_the_traceback_of_any_error():
    done = failing(StorageError("disk full"), "--debug")
    assert "Traceback" in done.stderr
    assert "error: disk full" in done.stderr


def test_a_defect_asks_for_a_report_with_the_command_to_repeat():
    done = failing(ValueError("a slip of ours"))
    assert "ValueError: a slip of ours" in done.stderr
    assert "--debug" in done.stderr


@pytest.mark.parametrize("name", ["resnet[v2]", "net[/]", "[red]x", "a\x1b[31mb"])
def test_names_in_errors_are_printed_verbatim(name):
    done = failing(StorageError(f"model {name} is odd"))
    assert "model " + name.replace("\x1b", "\\x1b") + " is odd" in done.stderr


def test_usage_errors_say_where_to_look(place):
    done = place.call("run", "--jobs", "many")
    assert done.exit_code == 2
    assert "error: --jobs: expected" in done.stderr
    assert "`bench run --help` lists what is allowed" in done.stderr


def test_a_full_disk_behind_stdout_is_said(place):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            place.command("list", "presets"), cwd=place.directory, env=place.environment, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&-", "1>&- 2>&- 0<&-"])
def test_closed_streams_are_no_failure(closed, place):
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *place.command("list", "models")],
        cwd=place.directory, env=place.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_reader_that_has_seen_enough_is_no_failure(place):
    code = 'exec 3>&1; { "$@"; echo "code $?" >&3; } | true'
    for _ in range(3):
        done = subprocess.run(
            ["sh", "-c", code, "sh", *place.command("list", "models")],
            cwd=place.directory, env=place.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == "code 0\n"
        assert done.stderr == ""


def test_python_m_benchmark_is_bench(place):
    assert place.run("--version").stdout == place.call("--version").stdout


def test_no_color_and_no_terminal_mean_no_escapes(place):
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {}):
        done = place.run("list", "models", **variables)
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("columns", ["abc", "-5", "1"])
def test_any_width_that_the_shell_may_claim_is_survived(columns, place):
    done = place.run("list", "models", COLUMNS=columns)
    assert done.returncode == 0, done.stderr


def test_the_c_locale_gets_ascii(place):
    done = place.run("list", "datasets", LANG="C", LC_ALL="C")
    assert done.stdout.isascii()
    assert "8x8 pixels" in done.stdout


def test_muting_survives_a_stream_without_a_descriptor():
    error_exit.streams.mute(None)
    assert os.fstat(1)
