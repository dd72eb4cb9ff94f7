"""`bench completion SHELL`: what makes a shell complete the names of verbs, options and choices."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete, get_completion_class

from benchmark.cli.options import verb

_VARIABLE = "_BENCH_COMPLETE"
"""The environment variable by which the shell asks; click derives it from the name of the program."""


@verb(
    "completion",
    """echo 'eval "$(bench completion bash)"' >> ~/.bashrc""",
    """echo 'eval "$(bench completion zsh)"' >> ~/.zshrc""",
    "bench completion fish > ~/.config/fish/completions/bench.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, choices and paths.

    To enable it in every new shell, run the line for your shell below once. Bash needs version 4.4 or newer; in zsh,
    compinit must run before it.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # not `source` of the class itself: that of bash starts bash to ask for its version
    sys.stdout.write(ShellComplete.source(kind(context.find_root().command, {}, "bench", _VARIABLE)))
