"""`bench init`: a commented matrix file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark import layout
from benchmark.cli.options import matrix_path_option, verb
from benchmark.cli.terminal import verbosity
from benchmark.errors import UserError
from benchmark.files import write_whole


def _complete_preset(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from benchmark.catalog.bundled_files import preset_names

    del context, parameter
    return [name for name in preset_names() if name.startswith(incomplete)]


@verb("init", "bench init", "bench init --preset default --matrix experiments/first.toml")
@click.option(
    "--preset",
    default="default",
    show_default=True,
    metavar="NAME",
    shell_complete=_complete_preset,
    help="What to start from; see `bench list presets`.",
)
@matrix_path_option("File to write.")
def command(preset: str, path: str) -> None:
    """Write a commented matrix.toml to start from; a file that exists is never overwritten."""
    from benchmark.catalog.bundled_files import preset_plugin, preset_text

    file, text = Path(path), preset_text(preset)
    plugin = preset_plugin(preset)
    try:
        write_whole(file, text.encode(), replace=False)
        if plugin:
            file = file.parent / plugin[0]
            write_whole(file, plugin[1].encode(), replace=False)
    except FileExistsError as error:
        raise UserError(f"{file} exists and is left as it is; name another file with --matrix") from error
    except OSError as error:
        raise UserError(f"{file}: cannot write here: {error.strerror}; make the folder {file.parent} first") from error
    option = "" if path == layout.MATRIX else f" --matrix {path}"
    wrote = f"{path} and {file}, which `bench run --allow-plugins` runs" if plugin else path
    verbosity.inform(f"wrote {wrote}\n  bench plan{option}   shows what it would do\n  bench run{option}    does it")
