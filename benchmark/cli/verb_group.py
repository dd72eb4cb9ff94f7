"""Click groups with suggestions, and the root group that imports a verb only when it is called."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from benchmark.cli.terminal import error_exit, streams
from benchmark.cli.terminal.help_text import HelpContext
from benchmark.cli.terminal.usage_text import near_names
from benchmark.text import printable


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the nearest known one."""

    context_class = HelpContext

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        # while a shell completes a line, the line is not finished
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            cure = near_names(args[0], known, "commands")
            raise click.UsageError(f"no such command {printable(args[0])!r}; {cure}", ctx)
        return super().resolve_command(ctx, args)


class VerbGroup(SuggestingGroup):
    """The root: its commands live in modules of their own, and every failure ends in `error_exit`.

    Args:
        sections: By heading, for each command its one-line help, which `--help` shows without importing the command's
            module.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = dict(sections or {})
        self.verbs = {name: summary for verbs in self.sections.values() for name, summary in verbs.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.verbs:
            return None
        module = importlib.import_module(f"benchmark.cli.commands.{cmd_name}")
        command = cast("click.Command", module.command)
        # Python keeps no docstrings with -OO
        command.help = command.help or self.verbs[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        widest = max(map(len, self.verbs))
        with formatter.section("Commands"):
            for heading, verbs in self.sections.items():
                with formatter.section(heading):
                    # as wide in every section, so that all summaries stand below each other
                    formatter.write_dl([(name.ljust(widest), summary) for name, summary in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs and options that begin so; no verb is imported for it."""
        verbs = [CompletionItem(name, help=text) for name, text in self.verbs.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run one command line and end the process with its exit code.

        Raises:
            SystemExit: Always.
        """
        streams.prepare()
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **extra)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where errors end
            # asked here and not of click: parsing itself may be what failed
            debug = "--debug" in (sys.argv[1:] if args is None else args)
            code = error_exit.exit_code_for(error, debug=debug)
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _quiet_when_nobody_reads():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _quiet_when_nobody_reads():
            return super().invoke(ctx)


@contextlib.contextmanager
def _quiet_when_nobody_reads() -> Iterator[None]:
    # left to itself click ends with 1 here, our code for a defect
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(error_exit.exit_code_for(error, debug=False)) from error
