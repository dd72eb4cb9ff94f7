"""The options that commands share, as decorators, so that they are the same everywhere."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchmark import layout
from benchmark.cli.completions import complete_executor, complete_path, complete_selection, complete_setting
from benchmark.cli.terminal import verbosity
from benchmark.cli.terminal.help_text import HelpContext
from benchmark.cli.terminal.usage_text import NamedChoice, shown
from benchmark.errors import BenchError, UserError

if TYPE_CHECKING:
    from benchmark.matrix.plan import MachineKind, Plan

Function = TypeVar("Function", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command: click does not hand down all of those of the group."""


def _change_verbosity(context: click.Context, parameter: click.Parameter, steps: int) -> None:
    verbosity.change(context, steps if parameter.name == "verbose" else -steps)


COMMON_OPTIONS = (
    click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_change_verbosity,
        help="Print only errors and results.",
    ),
    click.Option(
        ["-v", "--verbose"], count=True, expose_value=False, callback=_change_verbosity, help="Print more; repeatable."
    ),
    click.Option(["--debug"], is_flag=True, expose_value=False, help="Print the traceback of an error."),
)
"""Options of every command."""


def verb(name: str, *lines: str, group: click.Group | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """The command of a verb, or of a group, with `COMMON_OPTIONS` as its last; `lines` are its examples."""
    epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)]) if lines else None

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = (group.command if group else click.command)(name, context_settings=CONTEXT, epilog=epilog)(function)
        command.context_class = HelpContext
        command.params += COMMON_OPTIONS
        for parameter in command.params:
            if type(parameter.type) is click.Choice:
                parameter.type = NamedChoice(parameter.type.choices)
        return command

    return decorate


@dataclass(frozen=True, slots=True)
class MatrixRequest:
    """Which cells of which matrix a command is about; `kind` is what to plan for, None for this machine."""

    path: str
    select: tuple[str, ...]
    exclude: tuple[str, ...]
    overrides: tuple[str, ...]
    kind: MachineKind | None = None

    def load(self, threads: Mapping[str, int] | None = None) -> Plan:
        """The plan for this machine, or for what has been said instead.

        Args:
            threads: What `threads = "auto"` comes to, by speed key, beside what has been chosen on this machine before.

        Raises:
            UserError: The file is missing or wrong; all its problems are named.
        """
        from benchmark.matrix.load import load_matrix

        return load_matrix(
            Path(self.path),
            overrides=self.overrides,
            select=self.select,
            exclude=self.exclude,
            machine_kind=self.kind or machine_kind(threads),
        )


def machine_kind(threads: Mapping[str, int] | None = None) -> MachineKind:
    """What this machine has, as far as it decides which cells a matrix comes to; `threads` as for `load`."""
    from benchmark import machine
    from benchmark.catalog.backends import installed_backends
    from benchmark.catalog.cache import default_cache_root
    from benchmark.forecast.thread_choice import stored_choices
    from benchmark.matrix.plan import MachineKind

    chosen: dict[str, int] = {}
    # without a home folder there is no cache, and nothing in it
    with contextlib.suppress(UserError):
        chosen = stored_choices(default_cache_root())
    decided = {**chosen, **(threads or {})}
    return MachineKind(machine.gpu_count(), machine.cpu_cores(), decided, installed_backends())


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: `90`, `45s`, `15m`, `2h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
        seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
        if seconds <= 0:
            self.fail(f"expected seconds above zero, such as 90, 45s, 15m or 2h, got {shown(str(value))}", param, ctx)
        return seconds


def matrix_path_option(what: str) -> Callable[[Function], Function]:
    """`--matrix`, handed on as `path`; `what` is its help."""
    return click.option(
        "--matrix",
        "path",
        default=layout.MATRIX,
        show_default=True,
        metavar="PATH",
        shell_complete=complete_path,
        help=what,
    )


def matrix_options(function: Function) -> Function:
    """`--matrix`, `--select`, `--exclude`, `--set`, handed on as `matrix: MatrixRequest`."""

    @matrix_path_option("Matrix file.")
    @_select
    @_exclude
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete_setting,
        help="Override a setting in every cell; repeatable.",
    )
    @functools.wraps(function)
    def with_matrix(*args: Any, path: str, select: Any, exclude: Any, overrides: Any, **others: Any) -> Any:
        return function(*args, matrix=MatrixRequest(path, select, exclude, overrides), **others)

    return with_matrix  # type: ignore[return-value]


_select = click.option(
    "--select",
    multiple=True,
    metavar="EXPR",
    shell_complete=complete_selection,
    help="Only cells that match, such as model=resnet*,seed=0; repeatable (union).",
)
_exclude = click.option(
    "--exclude",
    multiple=True,
    metavar="EXPR",
    shell_complete=complete_selection,
    help="Leave out the cells that match; repeatable.",
)


def selection_options(function: Function) -> Function:
    """`--select` and `--exclude` for commands that read recorded cells."""
    return _select(_exclude(function))


def database_option(function: Function) -> Function:
    """`--db`. An error that nothing but damage of that database explains is said as such."""

    @click.option(
        "--db",
        "database",
        envvar="BENCH_DB",
        default=layout.DATABASE,
        show_default=True,
        show_envvar=True,
        metavar="PATH|URL",
        shell_complete=complete_path,
        help="Results database: an SQLite file or a PostgreSQL URL.",
    )
    @functools.wraps(function)
    def with_database(*args: Any, database: str, **others: Any) -> Any:
        with damage_named(database):
            return function(*args, database=database, **others)

    return with_database  # type: ignore[return-value]


@contextlib.contextmanager
def damage_named(database: str) -> Iterator[None]:
    """Blames a database for an error that its damage explains: a row that was edited, a bit that flipped.

    It is looked at only after an error that would count as a defect of ours: reading a sound one costs nothing.

    Raises:
        StorageError: There was such an error, and something is wrong with the database.
    """
    try:
        yield
    except (BenchError, OSError, MemoryError, click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        from benchmark.results.care.check import first_damage

        damage = first_damage(database)
        if damage is None:
            raise
        raise damage.as_error(database) from error


executor_option = click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_executor,
    help="Where cells run: local, or ray or slurm for the nodes of a cluster, which needs PostgreSQL.",
)


def machine_option(default: str) -> Callable[[Function], Function]:
    """`--machine`, the name that timings belong to; `default` says in words whose are taken without it."""
    return click.option(
        "--machine",
        envvar="BENCH_MACHINE",
        show_envvar=True,
        metavar="NAME",
        help=f"Name of the machine that timings belong to.  [default: {default}]",
    )


def worker_options(which: str) -> Callable[[Function], Function]:
    """`--isolation`, `--offline` and `--allow-plugins`: how `which` (each, the) worker is made, and what it may do."""

    def decorate(function: Function) -> Function:
        trust = "Run the Python files in [plugins] even if you have not trusted them permanently."
        function = click.option("--allow-plugins", is_flag=True, help=trust)(function)
        function = click.option("--offline", is_flag=True, help="Never download anything.")(function)
        return click.option(
            "--isolation",
            type=click.Choice(["auto", "fork", "spawn"]),
            default="auto",
            show_default=True,
            help=f"How {which} worker process is started.",
        )(function)

    return decorate


def format_option(*formats: str, default: str = "table", what: str = "the output") -> Callable[[Function], Function]:
    """`--format`, with `table`, `json` and `csv` unless others are named; `what` is printed."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats or ("table", "json", "csv")),
        default=default,
        show_default=True,
        help=f"Format of {what} on stdout.",
    )
