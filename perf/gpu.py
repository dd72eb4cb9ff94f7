"""Cells on a GPU: what is recorded, whether they resume exactly, how they share the card, and how fast they are.

    python perf/gpu.py [--minutes 8] [--backends torch jax tensorflow] [--parts speed resume share]
                       [--models simple_cnn resnet18 resnet50 tv_resnet18]

For each installed backend that sees the card: the MNIST CNN, ResNet18 and ResNet50 in float32 and mixed_bfloat16, images
per second beside plain Keras on the same card and beside plain PyTorch (ResNets need torchvision), one side after the
other, and torchvision's ResNet18 as a cell, which is a module of PyTorch on both sides; then a cell that is killed and resumed
(`run --prove-resume`), and four cells one after another and two at once (`run --gpu-share 2`), after one that prepares and compiles.
The parts are ordered by weight: what no longer fits into the minutes is named and left out. Each line is written when it is known,
and a part that fails is named and costs no other. `--device cpu --small` goes the same way without a card, to try the script itself.
In less than three minutes: `python perf/gpu.py --parts share --backends torch jax --minutes 3`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from perf_notes import append_result

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("torch", "jax", "tensorflow")
PRECISIONS = ("float32", "mixed_bfloat16")
PARTS = ("speed", "resume", "share")
EPOCHS = 3
"""The first is left out: it holds tracing and compilation."""


@dataclass(frozen=True)
class Network:
    """A network that is measured: its names in bench and in torchvision (None: written here), and its images.

    Attributes:
        is_module: Whether the cell trains the module of torchvision itself, which the torch backend alone can.
    """

    title: str
    model: str
    torchvision: str | None
    size: int
    channels: int
    examples: int
    batch: int
    is_module: bool = False


NETWORKS = (
    Network("MNIST CNN", "simple_cnn", None, 28, 1, 40_960, 128),
    Network("ResNet18", "resnet18", "resnet18", 32, 3, 10_240, 128),
    Network("ResNet50", "resnet50", "resnet50", 224, 3, 1_536, 64),
    Network("torchvision's ResNet18", "tv_resnet18", "resnet18", 32, 3, 10_240, 128, is_module=True),
)
SMALL = {"simple_cnn": (28, 512), "resnet18": (32, 128), "resnet50": (32, 64), "tv_resnet18": (32, 128)}

MATRIX = """
[matrix]
name = "gpu"
dataset = "random"
model = "{model}"
strategy = "scratch"
backend = "{backend}"
device = "{device}"
precision = {precisions}
seed = {seeds}

[defaults]
epochs = {epochs}
batch_size = {batch}
validation_fraction = 0.0
keep = "last"

[dataset.random]
source = "npz:{data}"
num_classes = 10
image_size = {size}
color = "{color}"

[model.tv_resnet18]
architecture = "torchvision:resnet18"
"""


class Budget:
    """What is left of the minutes; each part asks before it begins."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        self.left_out: list[str] = []

    @property
    def seconds(self) -> float:
        return self._end - time.monotonic()

    def allows(self, part: str, seconds: float = 20) -> bool:
        if self.seconds >= seconds:
            return True
        self.left_out.append(part)
        return False


def write_images(folder: Path, network: Network) -> Path:
    """Random images and labels as a user's .npz."""
    path = folder / f"{network.model}.npz"
    random = np.random.default_rng(0)
    parts = {}
    for part, count in (("train", network.examples), ("test", 128)):
        shape = (count, network.size, network.size, network.channels)
        parts[f"x_{part}"] = random.integers(0, 256, shape, dtype=np.uint8)
        parts[f"y_{part}"] = (np.arange(count) % 10).astype(np.int64)
    np.savez(path, **parts)
    return path


def run_program(arguments: Sequence[str], folder: Path, seconds: float, **environment: str) -> str | None:
    """Standard output of a program; None where it failed or took too long, after saying so."""
    around = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(folder / "cache"), **environment}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            cwd=folder,
            env=around,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        print(f"  {' '.join(arguments)}: longer than {seconds:.0f} s", flush=True)
        return None
    if done.returncode not in {0, 3}:
        print(f"  {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-1500:]}", flush=True)
        return None
    return done.stdout


SEES = {
    "torch": "import torch; print(torch.cuda.get_device_name(0))",
    "jax": "import jax; print(jax.devices('gpu')[0].device_kind)",
    "tensorflow": (
        "import tensorflow as tf; gpu = tf.config.list_physical_devices('GPU')[0]; "
        "print(tf.config.experimental.get_device_details(gpu).get('device_name', 'gpu'))"
    ),
}


def backends_with_device(wanted: Sequence[str], device: str, folder: Path, budget: Budget) -> dict[str, str]:
    """The backends that are installed and see the device, with its name."""
    seeing = {}
    for backend in wanted:
        if importlib.util.find_spec(backend) is None:
            print(f"{backend}: not installed", flush=True)
        elif device == "cpu":
            seeing[backend] = "cpu"
        elif name := run_program(["-c", SEES[backend]], folder, budget.seconds):
            seeing[backend] = name.split("\n")[-2]
        else:
            print(f"{backend}: sees no GPU", flush=True)
    return seeing


class Bench:
    """Matrices of one network on one backend, run by `bench run` in a folder."""

    def __init__(self, folder: Path, device: str, budget: Budget) -> None:
        self._folder, self._device, self._budget = folder, device, budget

    def matrix(self, network: Network, backend: str, name: str, **changed: object) -> Path:
        values = {
            "model": network.model,
            "backend": backend,
            "device": self._device,
            "precisions": list(PRECISIONS),
            "seeds": [0],
            "epochs": EPOCHS,
            "batch": network.batch,
            "data": self._folder / f"{network.model}.npz",
            "size": network.size,
            "color": "rgb" if network.channels == 3 else "grey",
        }
        path = self._folder / f"{name}.toml"
        path.write_text(MATRIX.format_map({**values, **changed}).replace("'", '"'), encoding="utf-8")
        return path

    def run(self, matrix: Path, *arguments: str) -> tuple[list[dict[str, object]], float]:
        """The executions of a run, with images per second over the epochs after the first, and its wall seconds."""
        database = matrix.with_suffix(".sqlite")
        began = time.perf_counter()
        command = ["-m", "benchmark", "run", "--quiet", "--matrix", str(matrix), "--db", str(database), *arguments]
        if run_program(command, self._folder, self._budget.seconds) is None:
            return [], 0.0
        wall = time.perf_counter() - began
        with sqlite3.connect(database) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(EXECUTIONS)]
            for row in rows:
                rates = connection.execute(RATES, (row["execution_id"],)).fetchall()
                row["rate"] = statistics.median(rate for (rate,) in rates) if rates else None
        return rows, wall


EXECUTIONS = """
    select r.execution_id, r.precision, r.status, r.cause, r.timing_valid, e.compute_dtype, e.peak_device_bytes,
        (select max(a.device_name) from attempt a where a.execution_id = e.execution_id) as device_name
    from results r join execution e on e.execution_id = r.execution_id order by r.execution_id
"""
RATES = "select images_per_second from history where execution_id = ? and epoch > 1"


def recorded_text(row: Mapping[str, object]) -> str:
    peak = row["peak_device_bytes"]
    memory = "no memory peak" if peak is None else f"{float(peak) / 2**20:.0f} MiB at most"  # type: ignore[arg-type]
    rate = "" if row["rate"] is None else f"{row['rate']:.0f} images/s, "
    device = str(row["device_name"]).partition(", with ")[0]
    return f"{rate}on {device}, {row['status']}{' ' + str(row['cause']) if row['cause'] else ''}, {row['compute_dtype']}, {memory}"


def measured_speeds(
    bench: Bench, network: Network, backends: Mapping[str, str], options: argparse.Namespace, budget: Budget
) -> Iterator[str]:
    """A text for each backend and precision: ours, plain Keras, plain PyTorch, in turn."""
    plain_torch = {}
    for backend in backends if not network.is_module else backends.keys() & {"torch"}:
        if not budget.allows(f"{network.title} on {backend}", 40):
            continue
        rows, _ = bench.run(bench.matrix(network, backend, f"{network.model}-{backend}"))
        for row in rows:
            precision = str(row["precision"])
            keras_rate = None
            if not network.is_module:
                keras_rate = plain_rate("keras", backend, network, precision, options, budget)
            if precision not in plain_torch and "torch" in backends:
                plain_torch[precision] = plain_rate("torch", "torch", network, precision, options, budget)
            others = {"plain Keras": keras_rate, "plain PyTorch": plain_torch.get(precision)}
            beside = [
                f"{name} {rate:.0f} images/s, ratio **{float(row['rate']) / rate:.2f}**"  # type: ignore[arg-type]
                for name, rate in others.items()
                if rate and row["rate"]
            ]
            yield f"{network.title} {network.size} px, {backend}, {precision}: " + "; ".join(
                [recorded_text(row), *beside]
            )


def plain_rate(
    side: str, backend: str, network: Network, precision: str, options: argparse.Namespace, budget: Budget
) -> float | None:
    if not budget.allows(f"{network.title} in plain {side} ({backend}, {precision})"):
        return None
    arguments = [__file__, "--side", side, "--model", network.model, "--precision", precision]
    arguments += ["--folder", options.folder, "--device", options.device, *(["--small"] if options.small else [])]
    said = run_program(arguments, Path(options.folder), budget.seconds, KERAS_BACKEND=backend)
    return float(said.split()[-1]) if said else None


def images_of(options: argparse.Namespace) -> tuple[Network, np.ndarray, np.ndarray]:
    network = next(each for each in networks(options) if each.model == options.model)
    with np.load(Path(options.folder) / f"{network.model}.npz") as stored:
        return network, stored["x_train"], stored["y_train"]


def plain_keras(options: argparse.Namespace) -> float:
    """`fit` on arrays in memory, as the documentation of Keras shows it; images per second."""
    import keras

    from benchmark.matrix.cell import Architecture, Data
    from benchmark.training.networks.network import build_network

    network, images, labels = images_of(options)
    keras.config.set_dtype_policy(options.precision)
    own = {"filters": (32, 64), "kernel_size": 3, "dense_units": 128, "dropout": 0.25}
    own = {"simple_cnn": own, "resnet18": {"filters": (64, 128, 256, 512), "dropout": 0.0}}.get(
        network.model, {"dense_units": 0, "dropout": 0.0}
    )
    data = Data("npz:x", None, 10, network.size, "rgb" if network.channels == 3 else "grey", None, None, 0.0)
    model = build_network(Architecture(network.model, tuple(sorted(own.items()))), data).core
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, _epoch, _logs=None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, _epoch, _logs=None) -> None:
            seconds.append(time.perf_counter() - self.began)

    model.fit(images.astype("float32"), labels, batch_size=network.batch, epochs=EPOCHS, verbose=0, callbacks=[Clock()])
    return len(images) / statistics.median(seconds[1:])


def plain_torch(options: argparse.Namespace) -> float:
    """A training loop as PyTorch's tutorials write it, with autocast for bfloat16; images per second."""
    import torch
    from torch import nn

    network, images, labels = images_of(options)
    device = torch.device("cuda" if options.device.startswith("gpu") else "cpu")
    if network.torchvision is None:
        layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        head = [nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10)]
        module: nn.Module = nn.Sequential(*layers, *head)
    else:
        import torchvision

        module = getattr(torchvision.models, network.torchvision)(num_classes=10)
    module = module.to(device).train()
    optimizer, loss_of = torch.optim.Adam(module.parameters(), 1e-3), nn.CrossEntropyLoss()
    data = torch.utils.data.TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, network.batch, shuffle=True, pin_memory=device.type == "cuda")
    seconds = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for pixels, classes in loader:
            x, y = pixels.to(device, non_blocking=True).float() / 255, classes.to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "mixed_bfloat16"):
                loss = loss_of(module(x), y)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return len(images) / statistics.median(seconds[1:])


SIDES = {"keras": plain_keras, "torch": plain_torch}


def resumed_text(bench: Bench, network: Network, backend: str, folder: Path, budget: Budget) -> str | None:
    """What `run --prove-resume` says of the small network."""
    if not budget.allows(f"resuming on {backend}", 40):
        return None
    matrix = bench.matrix(network, backend, f"resume-{backend}", precisions=["float32"], epochs=4)
    command = ["-m", "benchmark", "run", "--matrix", str(matrix), "--prove-resume", f"model={network.model}"]
    said = run_program([*command, "--format", "json"], folder, budget.seconds)
    if said is None:
        return f"{backend}: no proof of resuming"
    proof = json.loads(said)
    different = "; ".join(proof["differences"][:2])
    return f"{backend}, killed in epoch {proof['killed_in_epoch']}: **{proof['verdict']}**{': ' * bool(different)}{different}"


def shared_text(bench: Bench, network: Network, backend: str, budget: Budget) -> str | None:
    """Wall seconds of four small cells one after another and two at once on one card, and what was recorded of them."""
    told = []
    took = {}
    for share, seeds in ((0, [4]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3])):
        if not budget.allows(f"sharing the card on {backend}", 30):
            return None
        # the first one alone, not counted: it prepares the images, and JAX keeps what it has compiled
        matrix = bench.matrix(network, backend, f"share-{backend}-{share}", precisions=["float32"], seeds=seeds)
        at_once = str(max(share, 1))
        rows, took[share] = bench.run(matrix, "--jobs", at_once, "--gpu-share", at_once)
        bad = [row for row in rows if row["status"] != "completed"]
        if not rows or bad:
            return f"{backend}, {at_once} at once: " + ("; ".join(map(recorded_text, bad)) or "no cell ran")
        rates = [float(row["rate"]) for row in rows if row["rate"]]  # type: ignore[arg-type]
        told.append(
            f"{took[share]:.1f} s, {statistics.median(rates):.0f} images/s each, {recorded_text(rows[0]).split(', ')[-1]}, "
            f"{sum(bool(row['timing_valid']) for row in rows)} valid timings"
        )
    return (
        f"{backend}, 4 cells of the {network.title} one after another: {told[1]}; two at once: {told[2]}; "
        f"ratio **{took[2] / took[1]:.2f}**"
    )


def networks(options: argparse.Namespace) -> tuple[Network, ...]:
    chosen = [each for each in NETWORKS if each.model in options.models]
    if options.small:
        chosen = [replace(each, size=SMALL[each.model][0], examples=SMALL[each.model][1], batch=32) for each in chosen]
    return tuple(chosen)


def measure(options: argparse.Namespace) -> None:
    budget, folder = Budget(options.minutes), Path(options.folder)
    backends = backends_with_device(options.backends, options.device, folder, budget)
    if not backends:
        raise SystemExit(f"no backend of {', '.join(options.backends)} sees a GPU here")
    card = ", ".join(sorted(set(backends.values())))
    bench = Bench(folder, options.device, budget)

    def note(part: str, texts: Callable[[], Iterable[str | None]]) -> None:
        """Writes each text down when it is known; what fails is named, and the other parts go on."""
        try:
            for text in filter(None, texts()):
                append_result("gpu", f"{card}: {text}", " ".join(["python perf/gpu.py", *sys.argv[1:]]))
        except Exception as error:  # noqa: BLE001  whatever it is, the card is there for minutes only
            print(f"{part} failed: {error!r}", flush=True)

    first, *others = networks(options)
    speeds = "speed" in options.parts
    for network in (first, *others) if speeds else (first,):
        write_images(folder, network)
    if speeds:
        note(first.title, lambda: measured_speeds(bench, first, backends, options, budget))
    for backend in backends if "resume" in options.parts else ():
        note(f"resuming on {backend}", lambda name=backend: [resumed_text(bench, first, name, folder, budget)])
    for network in others if speeds else ():
        note(network.title, lambda each=network: measured_speeds(bench, each, backends, options, budget))
    for backend in backends if "share" in options.parts else ():
        note(f"sharing on {backend}", lambda name=backend: [shared_text(bench, first, name, budget)])
    if budget.left_out:
        print(f"left out after {options.minutes} minutes: " + "; ".join(budget.left_out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--models", nargs="+", choices=SMALL, default=list(SMALL))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(SIDES[options.side](options))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder
        measure(options)


if __name__ == "__main__":
    main()
