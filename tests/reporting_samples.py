"""Rows as the database gives them, for tests of the report: made up, but of the true shape."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.matrix.report_spec import ReportSpec, TransferSpec
from benchmark.reporting.report import build_report
from benchmark.reporting.writers.formats import render

STAGE = {
    "train": "all", "epochs": 8, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.001, "momentum": None,
    "weight_decay": 0.0, "label_smoothing": 0.0, "augment": [], "early_stopping": None, "reduce_learning_rate": None,
}  # fmt: skip


def spec_of(dataset: str, model: str, strategy: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`Cell.to_dict()` of a cell whose stage, cell or data settings are changed by name."""
    stage = {key: changes.get(key, value) for key, value in STAGE.items()}
    return {
        "dataset": dataset,
        "model": model,
        "strategy": strategy,
        "strategy_label": changes.get("label", strategy),
        "seed": seed,
        "data": {
            "source": "digits", "classes": None, "num_classes": 10, "image_size": changes.get("image_size", 16),
            "color": "grey", "train_examples": None, "test_examples": None, "validation_fraction": 0.1,
        },
        "architecture": changes.get(
            "architecture", {"name": model, "parameters": [["dropout", changes.get("dropout", 0.25)]]}
        ),
        "weights": {
            "origin": changes.get("weights", "none"), "path": None, "parent_cell_id": changes.get("parent_cell_id"),
        },
        "stages": [{**stage, **{key: changes[key] for key in ("loss", "loss_code") if key in changes}}],
        "keep": "best", "monitor": "val_accuracy", "labels": "integer", "threads": changes.get("threads", 1),
        "precision": "float32", "backend": changes.get("backend", "tensorflow"), "device": "auto", "device_kind": "cpu", "deterministic": True,
    }  # fmt: skip


def row(
    strategy: str = "scratch",
    seed: int = 0,
    test: float | None = 0.95,
    *,
    dataset: str = "digits",
    model: str = "simple_cnn",
    changes: Mapping[str, Any] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """One execution; `test` is its test accuracy, the rest follows from it and from the seed."""
    spec = spec_of(dataset, model, strategy, seed, changes or {})
    identity = {key: value for key, value in spec.items() if key not in {"strategy", "strategy_label"}}
    cell_id = hashlib.sha256(json.dumps([identity, columns.pop("salt", "")]).encode()).hexdigest()[:20]
    completed = columns.get("status", "completed") == "completed"
    result = _result(model, seed, 0.0 if test is None else test)

    return {
        "cell_id": cell_id, "execution_id": columns.get("execution_id", 1), "run_id": 1, "run_name": None,
        "machine": "lab", "dataset": dataset, "model": model, "strategy": strategy,
        "strategy_label": spec["strategy_label"], "seed": seed, "status": "completed", "cause": None, "detail": None,
        "parent_cell_id": spec["weights"]["parent_cell_id"], "spec": json.dumps({**spec, "cell_id": cell_id}), "timing_valid": completed,
        "resumed": False, "package_version": "0.1.0", "git_commit": "abcdef0123456789",
        **(result if completed else dict.fromkeys(result)),
        **columns,
    }  # fmt: skip


def _result(model: str, seed: int, test: float) -> dict[str, float]:
    return {
        "epochs": 8,
        "best_epoch": 6 + seed % 3,
        "train_accuracy": min(1.0, test + 0.03),
        "train_loss": (1 - test) * 2,
        "val_accuracy": test + 0.004 * (seed - 1),
        "val_loss": (1 - test) * 4 + 0.01 * seed,
        "test_accuracy": test,
        "test_loss": (1 - test) * 4.2,
        "parameters": 225_034 if model == "simple_cnn" else 11_181_642,
        "fit_seconds": 6.1 + 0.13 * seed,
        "images_per_second": 1712.4 - 21.7 * seed,
        "peak_rss_bytes": 512 * 2**20 + seed * 2**20,
        "test_examples": 360,
    }


def left_out(
    dataset: str, model: str, strategy: str, reason: str, seeds: Sequence[int] = (0, 1, 2)
) -> list[dict[str, Any]]:
    return [
        {
            "run_id": 1, "position": 90 + seed, "cell_id": None, "dataset": dataset, "model": model,
            "strategy": strategy, "seed": seed, "outcome": "left_out", "reason": reason,
        }
        for seed in seeds
    ]  # fmt: skip


def planned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("cell_id", "dataset", "model", "strategy", "seed", "spec")
    return [
        {"run_id": 1, "position": position, "outcome": "planned", "reason": None, **{name: row[name] for name in names}}
        for position, row in enumerate(rows)
    ]


SPEC = ReportSpec(
    transfer=(TransferSpec("from_low_digits", "scratch", "digits_high", None),),
    progression=(("v1", "v2", "v3", "v4"),),
)


def tour() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and run cells of something like the default matrix, with a bit of everything that may go wrong."""
    rows = [row("scratch", seed, test) for seed, test in enumerate((0.975, 0.9806, 0.9722))]
    rows += [row("scratch", seed, test, model="resnet18") for seed, test in enumerate((0.9861, 0.9889))]
    rows.append(
        row(
            "scratch", 2, None, model="resnet18", status="failed", cause="oom",
            detail="the worker was killed at 6.1 GiB; give it a smaller batch_size",
        )
    )  # fmt: skip
    few = {"dataset": "digits_high", "changes": {"learning_rate": 0.001}}
    rows += [row("scratch", seed, test, **few) for seed, test in enumerate((0.861, 0.8722, 0.8444))]
    low = [row("scratch", seed, 0.99, dataset="digits_low", resumed=seed == 1) for seed in range(3)]
    rows += low
    rows += [
        row(
            "from_low_digits", seed, test, dataset="digits_high",
            changes={"weights": "parent", "parent_cell_id": low[seed]["cell_id"], "learning_rate": 0.0005},
        )
        for seed, test in enumerate((0.9222, 0.9389, 0.9111))
    ]  # fmt: skip
    versions = {
        "v1": ({"label": "V1: plain", "dropout": 0.0}, (0.951, 0.958, 0.949)),
        "v2": ({"label": "V2: V1 + dropout", "dropout": 0.3}, (0.954, 0.960, 0.957)),
        "v3": ({"label": "V3: V2 + augmentation", "dropout": 0.3, "augment": [["rotation", 0.05]]}, (0.975, 0.9795, 0.9765)),
        "v4": (
            {
                "label": "V4: V3 + early stopping", "dropout": 0.3, "augment": [["rotation", 0.05]],
                "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 0.0},
            },
            (0.9722, 0.9806, 0.9759),
        ),
    }  # fmt: skip
    for name, (changes, scores) in versions.items():
        rows += [row(name, seed, test, changes=changes) for seed, test in enumerate(scores)]
    cells = planned(rows)
    cells += left_out("digits", "vgg16", "scratch", "vgg16 needs images of at least 32 px: set image_size = 32")
    return [{**each, "execution_id": index + 1} for index, each in enumerate(rows)], cells


GOLDEN = {
    "report.md": ("markdown", {}),
    "report_60.txt": ("table", {"width": 60}),
    "report_80.txt": ("table", {"width": 80}),
    "report_120.txt": ("table", {"width": 120}),
    "report_ascii.txt": ("table", {"width": 100, "encoding": "ascii"}),
    "report.csv": ("csv", {}),
    "report.json": ("json", {}),
    "report.html": ("html", {}),
    "report.tex": ("latex", {}),
}
GOLDEN_FOLDER = Path(__file__).parent / "fixtures" / "reports"


def golden_text(name: str) -> str:
    """What the report of the sample tour looks like now."""
    output_format, options = GOLDEN[name]
    rows, cells = tour()
    return without_code(render(build_report(rows, cells, SPEC), output_format, **options))


def without_code(text: str) -> str:
    """A page without its style and script, and their hashes."""
    return re.sub("'sha256-[^']*'", "HASH", re.sub(r"(?s)<(style|script)>.*?</\1>", r"<\1>", text))


if __name__ == "__main__":
    # python -m tests.reporting_samples: after a wanted change, and then look at the difference
    GOLDEN_FOLDER.mkdir(parents=True, exist_ok=True)
    for golden in GOLDEN:
        (GOLDEN_FOLDER / golden).write_text(golden_text(golden), encoding="utf-8")
