"""Two hundred matrices by chance, which together say everything that docs/matrix.md allows: for `test_unmoved.py`.

Nothing of the product is in here, and nothing of `random` but `random.random`, whose numbers Python promises to keep.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

COUNT = 200
ON_GPUS = 120
"""From this number on matrices are planned for a machine with two GPUs."""

PLUGIN = '''\
"""A model of somebody's own; it is read and never run."""


def my_net(input_shape, num_classes, *, width=16, depth=2, dropout=0.0):
    raise NotImplementedError
'''

VALUES: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1, 2, 7, 12345),
    "threads": (1, 2, 4),
    "precision": ("float32", "float32", "mixed_bfloat16", "mixed_float16"),
    "device": ("auto", "auto", "cpu", "cpu", "gpu", "gpu:1"),
    "backend": ("tensorflow", "jax", "torch"),
    "keep": ("best", "last"),
    "monitor": ("val_accuracy", "val_loss"),
    "labels": ("integer", "one_hot"),
    "deterministic": (True, False),
    "reuse_features": (True, False),
    "share_stages": (True, False),
    "tta": (0, 1, 3, 64),
    "save": (False, "model", "h5", "architecture", "weights", ["model", "history"], ["architecture", "h5"]),
    "image_size": (16, 28, 32, 48, 75, 224),
    "color": ("grey", "rgb"),
    "train_examples": (60, 200, 500, "all"),
    "test_examples": (50, 100, "all"),
    "validation_fraction": (0, 0.1, 0.2, 0.25),
    "dropout": (0, 0.1, 0.5),
    "train": ("head", "all", "last:1", "last:3", "last:30"),
    "epochs": (1, 2, 5, 10, 40),
    "batch_size": (8, 32, 64, 256),
    "optimizer": ("adam", "adamw", "sgd", "rmsprop"),
    "learning_rate": (1e-5, 0.0003, 0.01, 1, 1e-3),
    "momentum": (0, 0.5, 0.9),
    "weight_decay": (0, 1e-4, 0.05),
    "label_smoothing": (0, 0.05, 0.1),
    "augment": (
        False,
        {"flip": "horizontal", "rotation": 0.05},
        {"flip": "both", "zoom": 0.1, "translation": 0, "contrast": 0.2},
        {"flip": "vertical", "brightness": 0.1, "color_jitter": 0.2},
        {"translation": 0.1},
    ),
    "early_stopping": (
        False,
        0,
        3,
        {"patience": 5},
        {"monitor": "val_accuracy", "patience": 2, "min_delta": 1e-3},
    ),
    "reduce_learning_rate": (
        False,
        2,
        {"patience": 3, "factor": 0.2},
        {"monitor": "val_accuracy", "patience": 1, "min_learning_rate": 1e-6},
    ),
}
SINCE = {
    "split_seed", "weights_seed", "order_seed", "augment_seed", "folds", "fold", "lockbox", "validation", "groups", "schedule", "nesterov", "beta_1",
    "beta_2", "epsilon", "clip_norm", "clip_value", "gradient_accumulation", "resize",
    "loss", "class_weights", "sampling", "mixup", "cutmix", "ema", "callbacks",
}  # fmt: skip
"""Settings that came after these matrices: with them the ids would say nothing; `test_seed_streams.py`,
`test_matrix_schedule.py` and `test_matrix_optimizers.py` hold theirs."""
OF_STAGES = tuple(VALUES)[list(VALUES).index("train") :]
OF_DATA = ("train_examples", "test_examples", "validation_fraction", "image_size", "color", "batch_size", "epochs")

DATASETS = ("digits", "digits_low", "digits_high", "mnist", "cifar10", "cifar10", "imagenette")
SMALL = ("simple_cnn", "advanced_cnn", "basic_cnn", "resnet18")
LARGE = ("vgg16", "resnet50", "mobilenet_v2", "efficientnet_b0", "inception_v3", "xception", "convnext_tiny")
APPLICATIONS = ("MobileNetV2", "EfficientNetB3", "DenseNet169", "NASNetMobile", "ResNet50V2", "VGG16")
OWN_WEIGHTS = ("regularized", "augmented", "early_stopped", "v1", "v2", "v3", "v4")
OTHER_WEIGHTS = ("frozen", "fine_tuned", "two_phase", "from_low_digits")


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)


class Dice:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, share: float) -> bool:
        return self._random() < share

    def number(self, low: int, high: int) -> int:
        """A whole number of the closed range."""
        return low + int(self._random() * (high - low + 1))

    def one(self, items: Sequence[Item]) -> Item:
        return items[self.number(0, len(items) - 1)]

    def some(self, items: Sequence[Item], low: int, high: int) -> list[Item]:
        """Between `low` and `high` different items, in any order."""
        left = [item for number, item in enumerate(items) if item not in items[:number]]
        count = min(self.number(low, high), len(left))
        return [left.pop(self.number(0, len(left) - 1)) for _ in range(count)]

    def settings(self, names: Sequence[str], low: int, high: int) -> dict[str, Any]:
        return {name: self.one(VALUES[name]) for name in self.some(names, low, high)}


class Matrix:
    """One matrix by chance, as the lines of its file."""

    def __init__(self, number: int) -> None:
        self.dice = Dice(number)
        self.datasets: list[str] = []
        self.models: list[str] = []
        self.strategies: list[str] = []
        self.plugin = False
        self.definitions = [*self._datasets(), *self._models(), *self._strategies()]
        self.text = "\n".join([*self._axes(), *self._rules(), *self._defaults(), *self.definitions]) + "\n"
        self.options = self._options()

    # ---- definitions

    def _table(self, header: str, values: dict[str, Any]) -> Iterator[str]:
        yield f"\n{header}"
        yield from (f"{key} = {toml(value)}" for key, value in values.items())

    def _datasets(self) -> Iterator[str]:
        for number in range(self.dice.number(0, 2)):
            name = self.dice.one([f"data_{number}", f"data {number}", f"дані{number}"])
            values = self._files() if self.dice.chance(0.25) else self._extended_dataset()
            yield from self._table(f"[dataset.{toml(name)}]", values)
            self.datasets.append(name)
        if self.dice.chance(0.1):
            yield from self._table("[dataset.digits]", {"extends": "digits", "image_size": 20})

    def _files(self) -> dict[str, Any]:
        """Images of one's own; all is said, so that the files need not be there."""
        source = self.dice.one(["tfds:tf_flowers", "tfds:svhn_cropped:3.1.0", "folder:pictures", "npz:numbers.npz"])
        values = {"source": source, "num_classes": self.dice.number(2, 6), "image_size": 32, "color": "rgb"}
        if not source.startswith("tfds") and self.dice.chance(0.5):
            values["version"] = "2026-05"
        if self.dice.chance(0.5):
            values["test_fraction"] = 0.25
        if source.startswith("npz") and self.dice.chance(0.5):
            values["class_names"] = [f"kind {one}" for one in range(values["num_classes"])]
        return values

    def _extended_dataset(self) -> dict[str, Any]:
        values: dict[str, Any] = {"extends": self.dice.one([*DATASETS, *self.datasets])}
        values |= self.dice.settings(OF_DATA, 0, 3)
        if self.dice.chance(0.3) and values["extends"] in {"digits", "mnist", "cifar10", "imagenette"}:
            values["classes"] = self.dice.some(range(10), 2, 5)
        return {**values, "summary": "some of them"} if self.dice.chance(0.2) else values

    def _models(self) -> Iterator[str]:
        for number in range(self.dice.number(0, 2)):
            name = f"net_{number}"
            yield from self._table(f"[model.{name}]", self._model())
            self.models.append(name)
        if self.dice.chance(0.1):
            self.plugin = True
            values = {"architecture": "plugin:my_net", "width": self.dice.number(4, 32), "tags": ["a", 1, True, [0.5]]}
            yield from self._table("[model.my_net]", values)
            yield from self._table("[model.wide]", {"extends": "my_net", "width": 64, "dropout": 0.2})
            yield from self._table("[plugins]", {"models": ["my_models.py"]})
            self.models += ["my_net", "wide"]
        if self.dice.chance(0.1):
            yield from self._table("[model.simple_cnn]", {"extends": "simple_cnn", "dense_units": 64})

    def _model(self) -> dict[str, Any]:
        filters = [self.dice.one([8, 16, 32, 64]) for _ in range(self.dice.number(1, 3))]
        kind = self.dice.number(0, 6)
        values: dict[str, Any]
        if kind == 0:
            values = {"extends": "simple_cnn", "filters": filters, "kernel_size": self.dice.one([2, 3, 5])}
        elif kind == 1:
            values = {"extends": "advanced_cnn", "filters": filters, "stage_dropout": [0.1] * len(filters)}
        elif kind == 2:
            values = {"extends": "basic_cnn", "filters": filters, "dense_units": self.dice.one([0, 32])}
        elif kind == 3:
            values = {"extends": "resnet18", "filters": [8, 16, 16, 32]}
        elif kind == 4:
            values = {"extends": self.dice.one(LARGE), "dense_units": self.dice.one([0, 128])}
        elif kind == 5 and self.models:
            values = {"extends": self.models[-1], **self.dice.settings(["epochs", "learning_rate", "image_size"], 1, 2)}
        else:
            values = {"architecture": f"keras:{self.dice.one(APPLICATIONS)}"}
            values |= {"dense_units": self.dice.one([0, 64])} if self.dice.chance(0.5) else {}
        return values | self.dice.settings(["dropout", "batch_size"], 0, 2)

    def _strategies(self) -> Iterator[str]:
        for number in range(self.dice.number(0, 3)):
            name = self.dice.one([f"plan_{number}", f"plan é{number}"])
            yield from self._table(f"[strategy.{toml(name)}]", self._strategy())
            for _ in range(self.dice.one([0, 2, 3])):
                yield from self._table(f"[[strategy.{toml(name)}.stage]]", self.dice.settings(OF_STAGES, 1, 4))
            self.strategies.append(name)

    def _strategy(self) -> dict[str, Any]:
        known = ["scratch", *OWN_WEIGHTS, *OTHER_WEIGHTS, *self.strategies]
        values: dict[str, Any] = {"extends": self.dice.one(known)} if self.dice.chance(0.6) else {}
        if self.dice.chance(0.4):
            values["label"] = self.dice.one(["Mine", "A: + one thing", "[bold]no"])
        if self.dice.chance(0.5):
            values["weights"] = self._weights()
        return values | self.dice.settings((*OF_STAGES, "dropout", "keep", "labels"), 0, 4)

    def _weights(self) -> Any:
        if self.dice.chance(0.4):
            return self.dice.one(["none", "imagenet", "file:start.npz", "file:folder/start.weights.h5"])
        parent = {"strategy": self.dice.one(["scratch", "regularized", "v2", *self.strategies])}
        if self.dice.chance(0.4):
            parent["dataset"] = self.dice.one(["digits_low", "cifar10", *self.datasets])
        return parent | self.dice.settings(["seed", "epochs", "batch_size", "precision", "optimizer"], 0, 2)

    # ---- the matrix

    def _names(self, most: int) -> dict[str, list[str]]:
        models = [*self.models, *self.models, self.dice.one(SMALL), self.dice.one(SMALL), self.dice.one(LARGE)]
        strategies = [*self.strategies, *self.strategies, "scratch", "scratch", self.dice.one(OWN_WEIGHTS)]
        if self.dice.chance(0.4):
            strategies.append(self.dice.one(OTHER_WEIGHTS))
        return {
            "dataset": self.dice.some([*self.datasets, *self.datasets, self.dice.one(DATASETS)], 1, most),
            "model": self.dice.some(models, 1, most),
            "strategy": self.dice.some(strategies, 1, most),
        }

    def _axes(self) -> Iterator[str]:
        yield "[matrix]"
        if self.dice.chance(0.3):
            yield f"name = {toml(self.dice.one(['by chance', 'ще раз']))}"
        if self.dice.chance(0.2):
            yield 'on_invalid = "skip"'
        self.names, self.axes = {}, {}
        self.rows_only = self.dice.chance(0.08)
        if not self.rows_only:
            self.names = self._names(2)
            self.axes = {"seed": self.dice.some(VALUES["seed"], 1, 2)} if self.dice.chance(0.6) else {}
            for name in self.dice.some([name for name in VALUES if name != "seed"], 0, 2):
                self.axes[name] = self.dice.some(VALUES[name], 1, 2)
        for key, values in {**self.names, **self.axes}.items():
            scalar = len(values) == 1 and not isinstance(values[0], list) and self.dice.chance(0.5)
            yield f"{key} = {toml(values[0] if scalar else values)}"

    def _rules(self) -> Iterator[str]:
        free = [name for name in VALUES if name not in self.axes and name != "seed"]
        if self.dice.chance(0.25):
            zipped = self.dice.some(free, 2, 2)
            rows = {name: [self.dice.one(VALUES[name]) for _ in range(2)] for name in zipped}
            yield from self._table("[[matrix.zip]]", rows)
            free = [name for name in free if name not in zipped]
        for _ in range(self.dice.number(1, 2) if self.rows_only else self.dice.one([0, 0, 1])):
            row: dict[str, Any] = {key: self.dice.one([names, names[0]]) for key, names in self._names(2).items()}
            extra = {key: [value] for key, value in self.dice.settings(free, 0, 2).items()}
            yield from self._table("[[matrix.include]]", row | extra)
        if self.dice.chance(0.3):
            yield from self._table("[[matrix.exclude]]", self._matched(2))
        for _ in range(self.dice.one([0, 0, 1, 2])):
            when = self._matched(1) if self.dice.chance(0.8) else {}
            yield from self._table("[[matrix.override]]", {"when": when, "set": self.dice.settings(free, 1, 3)})

    def _matched(self, least: int) -> dict[str, Any]:
        """Keys to match; of several values on an axis one is left when `least` is 2."""
        axes = {**self.names, **{key: values for key, values in self.axes.items() if key in {"seed", "epochs"}}}
        usable = [key for key, values in axes.items() if len(values) >= least]
        if not usable:
            return {"model": self.dice.one(["vgg*", "none_*"])}
        return {key: self.dice.one([axes[key][0], [axes[key][0]]]) for key in self.dice.some(usable, 1, 2)}

    def _defaults(self) -> Iterator[str]:
        if self.dice.chance(0.7):
            yield from self._table("[defaults]", self.dice.settings(tuple(VALUES), 1, 5))
        if self.dice.chance(0.1):
            yield from self._table("[report]", {"progression": [["v1", "v2"]]})

    def _options(self) -> list[str]:
        if self.dice.chance(0.8):
            return []
        chosen = self.dice.settings(["epochs", "seed", "augment", "save", "image_size", "precision"], 1, 2)
        return [word for key, value in chosen.items() for word in ("--set", f"{key}={toml(value)}")]
