"""Writes the pages and tables of `docs/` that are made from the code; `tests/test_docs.py` compares them.

Run it as `make docs`, or `python -m tests.generate_docs`.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from benchmark.cli.main import bench
from benchmark.matrix.json_schema.document_schema import schema_text
from benchmark.reporting import report_schema
from tests.generate_notebook import notebook_text

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "commands"
NOTE = "<!-- made from the code by tests/generate_docs.py; do not edit -->"
REGION = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Every generated file with the text that it should have."""
    context = click.Context(bench, info_name="bench")
    found = {COMMANDS / "index.md": _index(context)}
    for name in bench.list_commands(context):
        command = bench.get_command(context, name)
        assert command is not None
        found[COMMANDS / f"{name}.md"] = "\n".join([NOTE, *_page(command, f"bench {name}", 1)])
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path.exists() and REGION.search(text := path.read_text(encoding="utf-8")):
            found[path] = REGION.sub(lambda region: region[1] + TABLES[region["name"]]() + region[3], text)
    found[ROOT / "docs" / "matrix.schema.json"] = schema_text()
    found[ROOT / "docs" / "report.schema.json"] = report_schema.schema_text()
    found[ROOT / "docs" / "notebook.ipynb"] = notebook_text()
    found[ROOT / "docs" / "api.md"] = "\n".join([NOTE, *api_page()])
    return found


def _index(context: click.Context) -> str:
    rows = [f"| [`bench {name}`]({name}.md) | {summary} |" for name, summary in bench.verbs.items()]
    epilog = _plain(bench.epilog or "").split("\n\n")[-1]
    del context
    return "\n".join([NOTE, "# Commands", "", "| command | does |", "|---|---|", *rows, "", epilog, ""])


def _page(command: click.Command, path: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path, **command.context_settings)
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from (f"{'#' * level} {path}", "", _plain(command.help or ""), "", "```text", f"{path} {pieces}", "```", "")
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    if options:
        yield from ("| option | meaning | default |", "|---|---|---|")
        yield from (_row(option, context) for option in options)
        yield ""
    if command.epilog:
        yield from ("```bash", *(line.strip() for line in _plain(command.epilog).splitlines()[1:]), "```", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _page(child, f"{path} {name}", level + 1)


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else f" `{_escaped(option.make_metavar(context).strip('[]'))}`"
    variable = f" Environment: `{option.envvar}`." if option.envvar else ""
    default = option.get_default(context)
    if default is False and option.secondary_opts:
        default = option.secondary_opts[0]
    shown = f"`{default}`" if option.show_default and default not in {None, ()} else ""
    help_text = re.sub(r"\s*\[default: (.*?)\]", "", option.help or "")
    implied = re.search(r"\[default: (.*?)\]", option.help or "")
    return f"| {names}{value} | {_escaped(help_text)}{variable} | {shown or (implied[1] if implied else '')} |"


def _plain(text: str) -> str:
    return inspect.cleandoc(re.sub(r"\x08\n?", "", text))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _default_text(setting) -> str:
    if setting.shown_default or setting.default in (None, ()):
        return setting.shown_default or "false"
    return str(setting.default).lower() if isinstance(setting.default, bool | str) else f"{setting.default:g}"


def settings_table() -> str:
    """All training settings, for `docs/matrix.md`."""
    from benchmark.matrix.settings import SETTINGS

    rows = [
        f"| `{one.name}` | {one.level} | {_escaped(one.kind.expected)} | {_escaped(_default_text(one))} | {_escaped(one.doc)} |"
        for one in SETTINGS.values()
    ]
    return "\n".join(["| setting | of | values | default | meaning |", "|---|---|---|---|---|", *rows, ""])


def database_tables() -> str:
    """All tables of the database with their columns, for `docs/database.md`."""
    from benchmark.results.schema.tables import TABLES as SCHEMA

    lines = []
    for table in SCHEMA:
        lines += [f"### `{table.name}`", "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{one.name}` | {one.type} | {_escaped(one.doc or '')} |" for one in table.columns]
        lines.append("")
    return "\n".join(lines)


def database_views() -> str:
    """The columns of the views, for `docs/database.md`."""
    from benchmark.results.schema.views import COMPUTED, VIEWS

    lines = []
    for name, columns in VIEWS.items():
        lines += [f"### `{name}`", "", "| column | type | meaning |", "|---|---|---|"]
        for key, one in columns.items():
            lines.append(f"| `{key}` | {one.type} | {_escaped(COMPUTED.get(key) or one.doc or '')} |")
        lines.append("")
    return "\n".join(lines)


API = {
    "benchmark": (
        (
            "Recorded results as DataFrames, and figures as axes: [Python and notebooks](python.md) tells how they are used. "
            "`Target` is a path or URL, or `None`; `Texts` is one text, or several in a list."
        ),
        "frames/view_frames.py results history predictions",
        "frames/report_frames.py report compare",
        "frames/plots.py learning_curves accuracy_by_time heat_map effect_sizes time_by_phase forecasts",
    ),
    "benchmark.cell": (
        "What a script that runs as a cell imports; [Scripts as cells](script-cells.md) has the whole story.",
        "cell.py epoch resume progress finish keras_callback lightning_callback hugging_face_callback",
    ),
    "benchmark.errors": (
        "What all of these may raise, and with which code a command ends by it.",
        "errors.py BenchError UserError NotFoundError MatrixError DataError CellsFailedError StorageError BusyError",
    ),
}
"""Modules that people import: what they are for, and their functions and classes by the file that defines them."""
SECTION = re.compile(r"^(Args|Returns|Raises|Side effects):$", re.MULTILINE)
ARGUMENT = re.compile(r"^    (?P<name>[\w*]+): (?P<meaning>(?:.*)(?:\n {8,}.*)*)", re.MULTILINE)


def api_page() -> Iterator[str]:
    """The functions and classes that people import, from their source: nothing heavy is imported for it."""
    yield from ("# Python API", "", "What is not on this page may change from one version to the next.", "")
    for module, (about, *files) in API.items():
        yield from (f"## `{module}`", "", about, "")
        for path, *names in map(str.split, files):
            tree = ast.parse((ROOT / "benchmark" / path).read_text(encoding="utf-8"))
            defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            for name in names:
                yield from _definition(module, defined[name])


def _definition(module: str, node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    summary, *sections = SECTION.split(ast.get_docstring(node) or "")
    yield from (f"### `{module}.{node.name}`", "")
    if isinstance(node, ast.FunctionDef):
        yield from ("```python", *_signature(node), "```", "")
    elif bases := ", ".join(f"`{ast.unparse(base)}`" for base in node.bases if ast.unparse(base) != "Exception"):
        yield from (f"A {bases}.", "")
    yield from (summary.strip(), "")
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        listed = [(one["name"], " ".join(one["meaning"].split())) for one in ARGUMENT.finditer(text)]
        if title in {"Args", "Raises"} and listed:
            yield from (f"| {'argument' if title == 'Args' else 'raises'} | meaning |", "|---|---|")
            yield from (f"| `{name}` | {_escaped(meaning)} |" for name, meaning in listed)
        else:
            yield f"**{title}:** {' '.join(text.split())}"
        yield ""


def _signature(node: ast.FunctionDef) -> Iterator[str]:
    """The head of a function, on several lines where one would be too long."""
    # of these functions no default holds a comma followed by a blank
    arguments = [
        one.replace("=", " = ").replace("'", '"') if ": " in one else one for one in ast.unparse(node.args).split(", ")
    ]
    returned = ast.unparse(node.returns) if node.returns else "None"
    line = f"def {node.name}({', '.join(arguments)}) -> {returned}: ..."
    if len(line) <= 100:
        yield line
    else:
        yield from (f"def {node.name}(", *(f"    {one}," for one in arguments), f") -> {returned}: ...")


TABLES = {"settings": settings_table, "tables": database_tables, "views": database_views}
"""What can stand between `<!-- generated: NAME -->` and `<!-- end generated -->` in a page."""


def main() -> None:
    """Write all pages; those of commands that are gone are removed."""
    texts = pages()
    COMMANDS.mkdir(parents=True, exist_ok=True)
    for stale in set(COMMANDS.glob("*.md")) - texts.keys():
        stale.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
