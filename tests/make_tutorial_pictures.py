"""Makes the pictures of docs/tutorial.md by doing what the page says: `python -m tests.make_tutorial_pictures`.

It trains for a minute. The page of the report is drawn by a headless Chromium, and keeps its old picture where there is none.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.followed_pages import ROOT, environment, save, steps

PAGE = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 80, 80
TERMINALS = {
    "bench plan": "tutorial-plan",
    "bench run": "tutorial-run",
    "bench report": "tutorial-report",
    "bench run --resolve scratch,moved --max-seeds 20": "tutorial-resolve",
}
"""Commands of the page by the name of the picture of their terminal."""
IN_THE_MIDDLE = "bench run"
"""Of this one the display while it works is shown."""
LIVE = "cell "
"""How the heading of that display begins."""
REMOTE_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
COLORS = {"brown": "yellow", "brightbrown": "bright_yellow", "brightblack": "bright_black", "default": None}
"""Names of colours in pyte by those in rich, where they are others."""


def typed(command: str, folder: Path, variables: dict[str, str]) -> list[list[Text]]:
    """Type a command into a terminal of our own: what it has shown, one screen after the other."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-c", command], variables)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream, shown = pyte.ByteStream(screen), []
    # Linux says EIO when the other side is gone
    with contextlib.suppress(OSError):
        while written := os.read(terminal, 65536):
            stream.feed(written)
            shown.append(_lines(screen))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{command}: {screen.display}"
    return shown


def _lines(screen: pyte.Screen) -> list[Text]:
    """What is on a screen, with its colours."""
    lines = []
    for number in range(ROWS):
        row, line = screen.buffer[number], Text()
        chars = [row[place] for place in range(COLUMNS)]
        for (color, bold), alike in itertools.groupby(chars, key=lambda char: (char.fg, char.bold)):
            line.append("".join(char.data for char in alike), Style(color=COLORS.get(color, color), bold=bold))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def draw_terminal(command: str, lines: list[Text], path: Path) -> None:
    """Draw a terminal with a command and its answer as an SVG file."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", style="bold"))
    # rich cuts the feet of the letters of the last line
    for line in [*lines, ""]:
        console.print(line)
    svg = console.export_svg(title=path.stem.removeprefix("tutorial-"), unique_id=path.stem)
    path.write_text(REMOTE_FONTS.sub("", svg), encoding="utf-8")


def shrink(source: Path, path: Path, width: int) -> None:
    """Keep a picture at a width and in few colours, which is a quarter of its size."""
    with Image.open(source) as picture:
        height = round(picture.height * width / picture.width)
        small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        small.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_page(page: Path, path: Path) -> None:
    """Draw the upper part of a page as a browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.stderr.write(f"{path.name} stays as it is: there is no chromium\n")
        return
    picture = page.with_suffix(".png")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,900"]
    command = [chromium, *options, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    shrink(picture, path, 1100)


def main() -> None:
    """Follow the tutorial in a temporary folder and draw what it shows."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables = environment(folder, TERM="xterm-256color", BENCH_MACHINE="tutorial")
        for unwanted in ("COLUMNS", "LINES", "NO_COLOR"):
            variables.pop(unwanted, None)
        for step in steps(PAGE):
            if step.name:
                save(step, folder)
            for command in () if step.name or step.sketched else step.code.splitlines():
                shown = typed(command, folder, variables)
                if command in TERMINALS:
                    live = [lines for lines in shown if any(line.plain.startswith(LIVE) for line in lines)]
                    lines = live[len(live) * 2 // 3] if command == IN_THE_MIDDLE else shown[-1]
                    draw_terminal(command, lines, PICTURES / f"{TERMINALS[command]}.svg")
                sys.stdout.write(f"{shlex.quote(command)}\n")
        draw_page(folder / "report.html", PICTURES / "tutorial-page.png")
        (curves,) = (folder / "pictures").glob("comparison-*.png")
        shrink(curves, PICTURES / "tutorial-curves.png", 800)


if __name__ == "__main__":
    main()
