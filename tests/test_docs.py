"""Documentation cannot drift: pages are compared with the code, and what they tell people to type is tried."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from cli_workplace import Workplace
from followed_pages import FOLLOWED
from PIL import Image

from benchmark.cli.main import VERBS, bench
from benchmark.results.store.reference import RESULTS

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)#\s]+)[^)]*\)")


def _generator():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tests" / "generate_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = _generator().pages()
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced piece of a page; `runs` says that it is about the committed results, and so can be run.

    Of `sketched` ones nothing is run here: those below `<!-- no run -->`, and those of docs/cluster.md, which
    tests/test_cluster_page.py types.
    """

    path: Path
    line: int
    language: str
    code: str
    runs: bool
    sketched: bool


def blocks(*languages: str) -> list:
    found = []
    for path in PAGES:
        lines = path.read_text(encoding="utf-8").splitlines()
        start = None
        for number, line in enumerate(lines):
            if start is None and line.lstrip().startswith("```"):
                start, language = number, line.strip().strip("`").split(" ")[0]
            elif start is not None and line.strip() == "```":
                code = "\n".join(lines[start + 1 : number])
                if language in languages:
                    runs = "results.sqlite" in code
                    where = f"{path.relative_to(ROOT)}:{start + 1}"
                    sketched = path.name == "cluster.md" or (start > 0 and lines[start - 1] == "<!-- no run -->")
                    found.append(pytest.param(Block(path, start + 1, language, code, runs, sketched), id=where))
                start = None
    return found


def every_command():
    """Paths and commands of the whole tree."""
    context = click.Context(bench, info_name="bench")
    for name in bench.list_commands(context):
        command = bench.get_command(context, name)
        yield (name,), command
        if isinstance(command, click.Group):
            yield from (((name, child), command.commands[child]) for child in command.commands)


COMMANDS = dict(every_command())


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_pages_are_up_to_date(path):
    assert path.exists(), "run: make docs"
    assert path.read_text(encoding="utf-8") == GENERATED[path], "run: make docs"


def test_no_page_is_left_of_a_command_that_is_gone():
    assert set((ROOT / "docs" / "commands").glob("*.md")) <= GENERATED.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_is_documented(path):
    command = COMMANDS[path]
    page = GENERATED[ROOT / "docs" / "commands" / f"{path[0]}.md"]
    assert command.help
    assert f"# bench {' '.join(path)}\n" in page
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter
            assert all(f"`{name}`" in page for name in parameter.opts), parameter


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_in_help_is_the_first_line_of_the_command(name):
    assert COMMANDS[(name,)].name == name
    assert VERBS[name].endswith(".")


def bench_lines(code: str) -> list[list[str]]:
    """The invocations of bench in a shell block, each as its words."""
    found = []
    # a text in quotes may go over several lines
    joined = re.sub(r'"[^"]*"', lambda text: " ".join(text[0].split()), code.replace("\\\n", " "))
    for line in joined.splitlines():
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        for part in _commands(words):
            while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
                part.pop(0)
            if part and Path(part[0]).name == "bench":
                found.append(part[1:])
    return found


def _commands(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in {"|", "&&", "||", ";"}:
            parts.append([])
        elif word in {">", ">>", "2>", "<"}:
            skip = True
        else:
            parts[-1].append(word)
    return parts


def check_invocation(words: list[str]) -> None:
    """Let click parse the words as it would, without running the command."""
    context = bench.make_context("bench", [*words] or ["--help"], resilient_parsing=not words)
    if words and not words[0].startswith("-"):
        name, command, rest = bench.resolve_command(context, list(words))
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            context = click.Context(command, info_name=name, parent=context)
            name, command, rest = command.resolve_command(context, rest)
        if not {"--help", "-h"} & set(rest):
            command.make_context(name, [word.replace("…", "") or "x" for word in rest], parent=context)


@pytest.mark.parametrize("block", blocks("bash", "sh", "shell", "console"))
def test_commands_in_pages_can_be_typed(block):
    for words in bench_lines(block.code):
        check_invocation(words)


REHEARSED = {"run", "prepare", "--probe", "mine.sqlite", "run=2"}
"""Words of commands that train the default matrix, or need that it was trained: typed with the fake backend."""
TRAINED = {"explain", "predict", "reproduce"}
"""Verbs that need trained weights: typed after real training."""
DRAWN = {"--figures", "report.html"}
ELSEWHERE = {"--allow-plugins": "test_plugins_in_runs.run"}
"""Words of commands that need what a reader has made, and the function by which tests type them."""
VERDICTS = {"judge": {10, 11, 12}}
"""Other codes than 0 by which a verb answers."""


def documented(*words: str, without: Iterable[str] = ()) -> list[list[str]]:
    """The commands of all pages, each once and in order: those that have one of these words, or none of `without`.

    Pages that are followed from top to bottom have matrices of their own: tests/test_docs_followed.py.
    """
    every = [block.values[0] for block in blocks("bash", "sh", "shell", "console")]
    code = [block.code for block in every if not block.sketched and block.path not in FOLLOWED]
    lines = {shlex.join(line): line for line in bench_lines("\n".join(code))}
    return [line for line in lines.values() if (set(words) & set(line) if words else not set(without) & set(line))]


class Reader(Workplace):
    """Somebody who types what pages say, on a machine without a name of its own."""

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in super().environment.items() if name != "BENCH_MACHINE"}
        return {**own, "HOME": str(self.directory / "home")}


def exit_codes(folder: Path, commands: Iterable[list[str]]) -> dict[str, int | str]:
    """Types them one after the other in this folder."""
    place, codes = Reader(folder), {}
    for words in commands:
        if words[0] == "init":
            (folder / "matrix.toml").replace(folder / "kept.toml")
        done = place.call(*words)
        if words[0] == "init":
            (folder / "kept.toml").replace(folder / "matrix.toml")
        known = done.exit_code in {0, *VERDICTS.get(words[0], ())}
        codes[shlex.join(words)] = 0 if known else f"{done.exit_code}: {done.stderr}"
    return codes


@pytest.fixture
def reader(tmp_path) -> Path:
    """The folder of somebody who types what pages say."""
    shutil.copy(ROOT / "matrix.toml", tmp_path)
    return tmp_path


def check_all(codes: dict[str, int | str], at_least: int) -> None:
    assert {command: code for command, code in codes.items() if code != 0} == {}
    assert len(codes) >= at_least


def test_commands_in_pages_that_read_work_in_a_new_clone(reader):
    (reader / "server").mkdir()
    (reader / "experiments").mkdir()
    for name in ("results.sqlite", "laptop.sqlite", "server/results.sqlite"):
        shutil.copy(RESULTS, reader / name)
    check_all(exit_codes(reader, documented(without={*REHEARSED, *TRAINED, *DRAWN, *ELSEWHERE})), 35)


@pytest.mark.process
@pytest.mark.slow
def test_commands_in_pages_that_train_come_to_their_end(reader):
    """With the fake backend: that the real ones train is for tests of their own."""
    matrix = reader / "matrix.toml"
    two = re.sub(r"(?m)^seed +=.*$", "seed = [0, 1]", matrix.read_text())
    matrix.write_text(two.replace("[matrix]\n", '[matrix]\nbackend = "fake"\n', 1))
    commands = [words for words in documented(*REHEARSED) if not ELSEWHERE.keys() & set(words)]
    check_all(exit_codes(reader, [["run"], ["run", "--rerun"], *commands]), 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        # those of all cells at once are of the kinds that the other commands draw
        pytest.param(
            words, id=" ".join(words), marks=[pytest.mark.exhaustive] * (words[-1] in {"pictures", "report.html"})
        )
        for words in documented(*DRAWN)
    ],
)
def test_commands_in_pages_that_draw_work_in_a_new_clone(words, reader):
    shutil.copy(RESULTS, reader / "results.sqlite")
    check_all(exit_codes(reader, [words]), 1)
    # `diff` draws nothing but images, which nobody has prepared here
    assert words[0] == "diff" or words[-1] == "report.html" or len(list((reader / "pictures").glob("*.png"))) > 3


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_commands_in_pages_that_use_trained_cells_work_after_training(reader):
    for name in ("digit.png", "photo.jpg", "one.png", "two.jpg"):
        Image.new("RGB", (20, 20), (90, 90, 90)).save(reader / name)
    train = ["run", "--select", "dataset=digits,model=simple_cnn,strategy=scratch|regularized", "--set", "epochs=8"]
    check_all(exit_codes(reader, [train, *documented(*TRAINED)]), 12)


@pytest.mark.parametrize(("word", "proof"), ELSEWHERE.items(), ids=ELSEWHERE)
def test_commands_in_pages_that_are_typed_elsewhere_are(word, proof):
    module, name = proof.split(".")
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    typed = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
    assert documented(word)
    assert all(typed.issuperset(words) for words in documented(word))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_examples_in_help_can_be_typed(path):
    for words in bench_lines("\n".join((COMMANDS[path].epilog or "").splitlines()[2:])):
        check_invocation(words)


def test_a_command_that_cannot_be_typed_is_found():
    for line in ("bench rum", "FOO=1 bench plan --formt json", "make && bench run --jobs many | head"):
        with pytest.raises(click.UsageError):
            check_invocation(bench_lines(line)[0])


@pytest.mark.parametrize("block", blocks("python"))
def test_python_in_pages_compiles(block):
    # excerpts of modules are no whole programs; tests follow the recipes that they stand in
    if not block.code.startswith("# benchmark/"):
        compile(block.code, f"{block.path.name}:{block.line}", "exec")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_pages_runs_on_the_committed_results(path, tmp_path, monkeypatch):
    """The blocks of a page follow each other in one session, as a reader would type them."""
    code = [block.values[0] for block in blocks("python") if block.values[0].path == path and block.values[0].runs]
    if code:
        shutil.copy(RESULTS, tmp_path / "results.sqlite")
        monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in code:
        exec(compile(block.code, f"{path.name}:{block.line}", "exec"), names)


@pytest.mark.parametrize("block", blocks("toml"))
def test_matrices_in_pages_are_valid(block):
    from benchmark.matrix.load import load_matrix
    from benchmark.matrix.plan import MachineKind

    # these need files beside them; tests/test_your_own.py, test_torch_modules.py and test_docs_followed.py run them
    needing = {ROOT / "docs" / "your-own.md", ROOT / "docs" / "torch.md", *FOLLOWED}
    if "[matrix]" in block.code and block.path not in needing:
        where = f"{block.path.name}:{block.line}"
        assert load_matrix(where, block.code, machine_kind=MachineKind(gpus=0, cores=2)).cells


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_in_pages_lead_somewhere(path):
    for link in LINK.finditer(path.read_text(encoding="utf-8")):
        target = link["target"]
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


ABOUT_THE_CODE = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("docs/architecture.md", "docs/decisions.md", "docs/cluster.md", "CONTRIBUTING.md")
}
MODULE_PATH = re.compile(r"`((?:\w+/)*[a-z]\w+\.py)`")
FOLDER_PATH = re.compile(r"`((?:\w+/)+)`")
WORD = re.compile(r"[\w.]+")
NAMES_OF_A_MODULE = re.compile(r"`((?:\w+/)*\w+\.py)`[ \n]((?:`[\w.]+`(?:,[ \n])?)+)")


@functools.cache
def module_named(text: str) -> Path:
    """The file of a path in a page: below the package or the root, or the only one that ends so."""
    whole = [path for path in (ROOT / "benchmark" / text, ROOT / text) if path.is_file()]
    (path,) = whole[:1] or [path for path in (ROOT / "benchmark").rglob(Path(text).name) if path.match(text)]
    return path


@functools.cache
def defined_in(path: Path) -> set[str]:
    """Functions, classes and constants of a module; members of classes bare, and as `Class.member`."""
    defined = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for member in node.body if isinstance(node, ast.ClassDef | ast.Module) else ():
            targets = member.targets if isinstance(member, ast.Assign) else [getattr(member, "target", member)]
            names = {getattr(target, "name", getattr(target, "id", "")) for target in targets}
            defined |= names | ({f"{node.name}.{name}" for name in names} if isinstance(node, ast.ClassDef) else set())
    return defined


@pytest.mark.parametrize(
    ("page", "text"),
    sorted({(page, path) for page, text in ABOUT_THE_CODE.items() for path in MODULE_PATH.findall(text)}),
)
def test_modules_in_pages_about_the_code_are_there(page, text):
    assert module_named(text).is_file()


@pytest.mark.parametrize("page", ABOUT_THE_CODE)
def test_folders_in_pages_about_the_code_are_there(page):
    folders = FOLDER_PATH.findall(ABOUT_THE_CODE[page])
    assert not [
        folder for folder in folders if not ((ROOT / "benchmark" / folder).is_dir() or (ROOT / folder).is_dir())
    ]


@pytest.mark.parametrize(
    ("page", "at_least"),
    [("docs/architecture.md", 90), ("docs/decisions.md", 30), ("docs/cluster.md", 9), ("CONTRIBUTING.md", 12)],
)
def test_functions_in_pages_about_the_code_are_there(page, at_least):
    found = NAMES_OF_A_MODULE.findall(ABOUT_THE_CODE[page])
    pairs = {(text, name) for text, names in found for name in WORD.findall(names)}
    assert len(pairs) > at_least
    assert not {(text, name) for text, name in pairs if name not in defined_in(module_named(text))}


def test_the_architecture_can_be_read_in_ten_minutes():
    assert len(ABOUT_THE_CODE["docs/architecture.md"].splitlines()) <= 190


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        links = {(page.parent / link["target"]).resolve() for page in new for link in LINK.finditer(page.read_text())}
        new = {path for path in links if path.suffix == ".md" and path.is_file()} - reached
    assert set(PAGES) <= reached
