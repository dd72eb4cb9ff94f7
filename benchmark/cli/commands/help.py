"""`bench help VERB`: the same as `bench VERB --help`."""

from __future__ import annotations

import sys

import click

from benchmark.cli.options import verb


def _complete_verb(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del parameter
    asked: click.Command | None = context.find_root().command
    for word in context.params.get("words") or ():
        asked = asked.get_command(context, word) if isinstance(asked, click.Group) else None
    known = asked.list_commands(context) if isinstance(asked, click.Group) else []
    return [name for name in known if name.startswith(incomplete)]


@verb("help", "bench help run", "bench help db export")
@click.argument("words", nargs=-1, metavar="[VERB]...", shell_complete=_complete_verb)
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, like `bench VERB --help`; without VERB, list all commands."""
    asked = context.find_root()
    for word in words:
        if not isinstance(asked.command, click.Group):
            raise click.UsageError(f"`{asked.command_path}` has no commands of its own, got {word!r}", context)
        name, found, _ = asked.command.resolve_command(asked, [word])
        if name is None or found is None:
            raise click.UsageError(f"expected a command, got {word!r}", context)
        asked = found.context_class(found, parent=asked, info_name=name, **found.context_settings)
    sys.stdout.write(f"{asked.get_help()}\n")
