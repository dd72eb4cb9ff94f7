"""Makes the pictures of docs/tutorial.md by doing what the page says: `python -m tests.make_tutorial_pictures`.

It trains for a minute. The page of the report is drawn by a headless Chromium, and keeps its old picture where there is none.
"""

from __future__ import annotations

import fcntl
import io
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

from PIL import Image
from rich.console import Console
from rich.text import Text

from tests.followed_pages import ROOT, environment, save, steps

PAGE = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 80, 60
TERMINALS = {
    "bench plan": "tutorial-plan",
    "bench run": "tutorial-run",
    "bench report": "tutorial-report",
    "bench run --resolve scratch,moved --max-seeds 20": "tutorial-resolve",
}
"""Commands of the page by the name of the picture of their terminal."""
IN_THE_MIDDLE = "bench run"
"""Of this one the display while it works is shown."""
CONTROL = re.compile(r"\x1b\[(?P<number>[\d;?]*)(?P<kind>[A-Za-z])|[\r\n]|[^\x1b\r\n]+")
REMOTE_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Screen:
    """What a terminal shows, of the sequences that bench writes: lines are erased before they are written anew."""

    def __init__(self) -> None:
        self.lines, self.row = [""], 0
        self.frames: list[list[str]] = []

    def write(self, text: str) -> None:
        """Take what a program writes; what it shows before a line is erased is a frame."""
        for part in CONTROL.finditer(text):
            kind = part["kind"]
            if kind == "A":
                self.frames.append([line for line in self.lines if line.strip()])
                self.row = max(0, self.row - int(part["number"] or 1))
            elif kind == "K":
                self.lines[self.row] = ""
            elif part[0] == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif (kind is None and part[0] != "\r") or kind == "m":
                self.lines[self.row] += part[0]


def typed(command: str, folder: Path, variables: dict[str, str]) -> Screen:
    """Type a command into a terminal of our own, and wait for its end."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-c", command], variables)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen, written = Screen(), b""
    try:
        while read := os.read(terminal, 65536):
            written += read
            # a character may arrive in two pieces
            text = written.decode("utf-8", errors="ignore")
            written = written[len(text.encode()) :]
            screen.write(text)
    except OSError:
        pass  # this is how Linux says that the other end is closed
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{command}: {screen.lines}"
    return screen


def draw_terminal(command: str, lines: list[str], path: Path) -> None:
    """Draw a terminal with a command and its answer as an SVG file."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    for line in lines:
        text = Text.from_ansi(line)
        text.rstrip()
        for piece in text.divide(range(COLUMNS, len(text), COLUMNS)) or [text]:
            console.print(piece)
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
                screen = typed(command, folder, variables)
                if command in TERMINALS:
                    frames = screen.frames
                    lines = frames[len(frames) * 2 // 3] if command == IN_THE_MIDDLE else screen.lines
                    draw_terminal(command, lines, PICTURES / f"{TERMINALS[command]}.svg")
                sys.stdout.write(f"{shlex.quote(command)}\n")
        draw_page(folder / "report.html", PICTURES / "tutorial-page.png")
        (curves,) = (folder / "pictures").glob("comparison-*.png")
        shrink(curves, PICTURES / "tutorial-curves.png", 800)


if __name__ == "__main__":
    main()
