"""The page of a large report: how long it takes to make, how large it is, and how soon Chromium shows it.

    python perf/page.py [--groups 100] [--seeds 10] [--epochs 20] [--rounds 3] [--chromium /usr/bin/chromium]

A database of so many groups of cells, each with its history and fifty lines of log. A page has opened when
its `load` event is over and the next frame is drawn; it answers when a sorted table is drawn again. What else the machine
has to do makes these longer, and not the processor time of the page's thread, which stands beside them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from groups import write_matrix
from perf_notes import append_result
from scale import bench, fill

LOG = "\n".join(f"epoch 8/8 step {number:4}/1563 loss 0.1234 accuracy 0.9876 12,345 images/s" for number in range(50))
OPENED = """() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => {
  const entry = performance.getEntriesByType("navigation")[0];
  done([entry.domInteractive, performance.now()]);
})))"""
SORTED = """() => new Promise((done) => {
  const begun = performance.now();
  document.querySelector("#rows-cells th:nth-child(7) button").click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--keep", type=Path, help="Keep the page in this file.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    write_matrix(folder, options.groups, 4, options.seeds)
    fill(folder, options.epochs, log=LOG)
    made = bench(folder, "report", "--format", "html", "--output", "report.html")
    page = folder / "report.html"
    if options.keep:
        options.keep.write_bytes(page.read_bytes())
    parsed, drawn, busy, ordered = zip(*opened(page, options), strict=True)
    cells = options.groups * options.seeds
    text = (
        f"{cells:,} cells of {options.epochs} epochs in {options.groups} groups: made in {made.wall:.1f} s, "
        f"{page.stat().st_size / 1e6:.1f} MB; Chromium has parsed it after {median(parsed):.2f} s, drawn after "
        f"{median(drawn):.2f} s, with **{median(busy):.2f} s** of its processor time; sorted again in {median(ordered):.2f} s"
    )
    append_result("page", text, "python perf/page.py")


def opened(page: Path, options: argparse.Namespace) -> list[tuple[float, ...]]:
    """Seconds until the page was parsed, loaded and drawn, and until a sorted table was drawn, for each round."""
    from playwright.sync_api import sync_playwright

    rounds = []
    with sync_playwright() as player:
        for _ in range(options.rounds):
            browser = player.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            console = tab.context.new_cdp_session(tab)
            console.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(page.as_uri())
            parsed, drawn = tab.evaluate(OPENED)
            metrics = {each["name"]: each["value"] for each in console.send("Performance.getMetrics")["metrics"]}
            rounds.append((parsed / 1000, drawn / 1000, metrics["TaskDuration"], tab.evaluate(SORTED) / 1000))
            browser.close()
    return rounds


if __name__ == "__main__":
    main()
