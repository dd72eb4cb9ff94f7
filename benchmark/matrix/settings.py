"""The table of training settings: the type of value, the default, the level and the documentation of each.

Reading a matrix, `--set`, selections, the flat record of a cell and the reference in `docs/matrix.md` all use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

from benchmark.catalog.backends import training_backends
from benchmark.matrix.cell import STREAMS, Cell, is_table
from benchmark.matrix.recipes.augmentations import Augmentation
from benchmark.matrix.recipes.callback_list import CALLBACKS
from benchmark.matrix.recipes.loss import BALANCED, CROSS_ENTROPY, LOSS, ClassWeights
from benchmark.matrix.recipes.optimizers import OPTIMIZERS, optimizers_with
from benchmark.matrix.recipes.patience import EARLY_STOPPING, MONITOR, REDUCE_LEARNING_RATE
from benchmark.matrix.recipes.schedule import Schedule
from benchmark.matrix.speed_key import AUTO
from benchmark.matrix.values import (
    BOOLEAN,
    BackendName,
    Channels,
    Choice,
    Integer,
    Kind,
    ListOf,
    Name,
    Number,
    OrFalse,
    WordList,
    pattern,
)

Level = Literal["cell", "data", "model", "stage"]
OF_CELL = "seed"
"""How a matrix writes that a stream has the cell's seed."""

UNSET = "…"
"""The default of a setting whose value comes from the definitions of the dataset or the model."""


@dataclass(frozen=True)
class Setting:
    """One training setting.

    Attributes:
        name: The key in the file.
        level: What it describes: the whole `cell`, its `data`, its `model`, or each `stage` for itself.
        kind: Which values it takes.
        default: Its value, in normal form, when nothing sets it; `UNSET` when the definitions do. Where the field in
            `cell.py` has a default too, it is this one, for good: with it the setting is in no id.
        doc: What it does, in a line.
        shown_default: What the reference shows as its default, where that is more than the value.
    """

    name: str
    level: Level
    kind: Kind
    default: Any
    doc: str
    shown_default: str = ""


_TABLE = (
    Setting("seed", "cell", Integer(0), 0, "seeds split, initial weights, order, dropout and augmentation"),
    Setting(
        "split_seed", "cell", Integer(0, word=OF_CELL), None,
        "seeds which examples are trained on: `train_examples`, the validation split, folds", shown_default=OF_CELL,
    ),
    Setting("weights_seed", "cell", Integer(0, word=OF_CELL), None, "seeds the initial weights", shown_default=OF_CELL),
    Setting(
        "order_seed", "cell", Integer(0, word=OF_CELL), None,
        "seeds the order of the training examples in each epoch", shown_default=OF_CELL,
    ),
    Setting(
        "augment_seed", "cell", Integer(0, word=OF_CELL), None,
        "seeds augmentation, dropout and the views of `tta`", shown_default=OF_CELL,
    ),
    Setting(
        "threads", "cell", Integer(1, 4096, word=AUTO, meaning=AUTO), 1,
        "intra-op and inter-op threads of the worker; auto takes the number with which this machine, fully loaded, trains fastest",
    ),
    Setting(
        "precision", "cell", Choice(("float32", "mixed_bfloat16", "mixed_float16")), "float32",
        "type that the network computes in; its weights and the last layer stay float32",
    ),
    Setting(
        "device", "cell", pattern("auto|cpu|gpu|gpu:[0-9]{1,4}", "auto, cpu, gpu or gpu:N"), "auto",
        "auto takes a GPU when there is one; gpu:N takes that one",
    ),
    Setting("backend", "cell", BackendName(training_backends()), "tensorflow", "which library Keras computes with"),
    Setting(
        "keep", "cell", Choice(("best", "last")), UNSET,
        "which epoch's weights are kept and tested", shown_default="best; last without validation data",
    ),
    Setting("monitor", "cell", MONITOR, "val_accuracy", "what decides which epoch is the best"),
    Setting("labels", "cell", Choice(("integer", "one_hot")), "integer", "how the labels are given to the loss"),
    Setting("deterministic", "cell", BOOLEAN, True, "whether operations must be reproducible bit for bit"),
    Setting(
        "reuse_features", "cell", BOOLEAN, True,
        "whether the output of frozen layers is computed once and kept where it cannot change: images neither augmented nor mixed, "
        "no dropout among them, more than one epoch",
    ),
    Setting(
        "share_stages", "cell", BOOLEAN, True,
        "whether first stages that cells of a run have in common are trained once, and continued by the others",
    ),
    Setting(
        "tta", "cell", Integer(0, 64), 0,
        "test-time augmentation: views that test predictions are averaged over, beside the plain one; 0 for none",
    ),
    Setting(
        "save", "cell", WordList(("model", "h5", "architecture"), implied=("weights", "history")), (),
        "what is written beside weights and history, which always are: the whole model as `.keras`, its weights as "
        "`.weights.h5`, its architecture as JSON",
        shown_default="weights, history",
    ),
    Setting(
        "image_size", "data", Integer(8, 1024), UNSET,
        "height and width of the images after resizing, in pixels", shown_default="of the dataset",
    ),
    Setting(
        "resize", "data", Choice(("squeeze", "crop", "pad")), "squeeze",
        "how images that are not square become so: squeezed, cropped to the middle, or whole between black bars",
    ),
    Setting(
        "color", "data", Channels(), UNSET,
        "one channel or three; grey images become three equal channels; a number, such as 4, takes images of so many as they are",
        shown_default="of the dataset",
    ),
    Setting(
        "train_examples", "data", Integer(1, word="all"), None,
        "how many training examples to take, validation included; stratified and seeded", shown_default="all",
    ),
    Setting(
        "test_examples", "data", Integer(1, word="all"), None,
        "how many test examples to take; stratified, the same for every seed", shown_default="all",
    ),
    Setting(
        "validation_fraction", "data", Number(0, 1, below=True), 0.1,
        "share of the training examples set apart for validation; seeded; no effect with `folds`",
    ),
    Setting(
        "validation", "data", Choice(("split", "source")), "split",
        "split takes the validation set from the training examples; source uses the source's own, where it has one",
    ),
    Setting(
        "groups", "data", OrFalse(Name("a column of the table of labels")), None,
        "column whose equal values (patients, sites) are never divided between training, validation and test",
    ),
    Setting(
        "folds", "data", Integer(2, 1000, word="none"), None,
        "cross-validation: into how many stratified parts the training examples are divided; needs `fold`",
        shown_default="none",
    ),
    Setting(
        "fold", "data", Integer(0, 999, word="none"), None,
        "which of the `folds`, from 0, is the validation set; mostly an axis", shown_default="none",
    ),
    Setting(
        "lockbox", "data", Number(0, 1, below=True), 0.0,
        "share of the test examples set apart, the same for every seed: in no score until "
        "`bench judge --open-lockbox` opens it, once",
    ),
    Setting(
        "dropout", "model", Number(0, 1, below=True), UNSET,
        "dropout before the last layer; 0 for none", shown_default="of the model",
    ),
    Setting(
        "train", "stage", pattern("head|all|last:[1-9][0-9]{0,5}", "head, last:N or all"), "all",
        "which layers learn: the head, the head and the last N layers of the backbone, or all",
    ),
    Setting("epochs", "stage", Integer(1, 1_000_000), 10, "at most this many epochs"),
    Setting("batch_size", "stage", Integer(1, 1_000_000), 64, "images in a batch"),
    Setting("optimizer", "stage", Choice(tuple(OPTIMIZERS)), "adam", "how the weights are updated"),
    Setting("learning_rate", "stage", Number(0, 1000, above=True), 1e-3, "learning rate at the start of the stage; of a schedule the highest"),
    Setting("momentum", "stage", Number(0, 1, below=True), 0.0, "of sgd and rmsprop; other optimizers have none"),
    Setting("weight_decay", "stage", Number(0, 1), 0.0, "decoupled weight decay; 0 for none"),
    Setting("label_smoothing", "stage", Number(0, 1, below=True), 0.0, "share of the label spread over all classes"),
    Setting(
        "augment", "stage", Augmentation(), (),
        "random transformations of the training images; rotation is a fraction of a turn",
    ),
    Setting("early_stopping", "stage", EARLY_STOPPING, None, "end the stage when the monitored value stops improving"),
    Setting(
        "reduce_learning_rate", "stage", REDUCE_LEARNING_RATE, None,
        "multiply the learning rate by `factor` when the monitored value stops improving",
    ),
    Setting("schedule", "stage", Schedule(), "constant", "how the learning rate changes from step to step"),
    Setting("nesterov", "stage", BOOLEAN, False, "whether sgd uses Nesterov momentum"),
    *(
        Setting(
            name, "stage", OrFalse(Number(0, 1, above=name == "epsilon", below=name != "epsilon")), None,
            f"{meaning} of {', '.join(optimizers_with(name))}; false for Keras's default",
        )
        for name, meaning in (
            ("beta_1", "decay of the first moment"),
            ("beta_2", "decay of the second moment"),
            ("epsilon", "term added to the divisor"),
        )
    ),
    Setting(
        "clip_norm", "stage", OrFalse(Number(0, above=True)), None,
        "largest norm of all gradients together; larger ones are scaled down to it",
    ),
    Setting(
        "clip_value", "stage", OrFalse(Number(0, above=True)), None,
        "largest absolute value in a gradient; larger ones are clipped",
    ),
    Setting(
        "gradient_accumulation", "stage", Integer(1, 65536), 1,
        "number of batches whose mean gradient makes one update; schedules count updates",
    ),
    Setting("loss", "stage", LOSS, CROSS_ENTROPY, "what training minimises; see [losses](#losses)"),
    Setting("class_weights", "stage", ClassWeights(), None, "factor of the loss of an image, by its class"),
    Setting(
        "sampling", "stage", OrFalse(Choice((BALANCED,))), None,
        "balanced draws the images of an epoch, as many as there are, so that all classes are equally likely",
    ),
    *(
        Setting(name, "stage", Number(0), 0.0, f"{meaning}; alpha of the Beta distribution of their shares, 0 for none")
        for name, meaning in (
            ("mixup", "mixes training images in pairs, pixel by pixel, and their labels"),
            ("cutmix", "pastes a rectangle of one training image into another, and mixes their labels"),
        )
    ),
    Setting(
        "ema", "stage", OrFalse(Number(0, 1, above=True, below=True)), None,
        "moving average of the weights, which keeps this share of itself at each update, such as 0.999; it is scored and kept",
    ),
    Setting(
        "callbacks", "stage", CALLBACKS, (),
        "your own [callbacks](your-own.md#a-callback), called while the stage is trained", shown_default="none",
    ),
)  # fmt: skip

SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _TABLE}
DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in _TABLE if setting.default is not UNSET}


def names_of(level: Level) -> frozenset[str]:
    """Returns the names of all settings of a level."""
    return frozenset(setting.name for setting in _TABLE if setting.level == level)


CELL_SETTINGS = names_of("cell")
STAGE_SETTINGS = names_of("stage")
DATA_SETTINGS = names_of("data")
SEEDS = ("seed", *STREAMS)
"""Settings in which repetitions of one thing differ, and nothing else."""

_COUNT = Integer(1, 65536)
PARAMETER_KINDS: dict[str, Kind] = {
    "filters": ListOf(_COUNT),
    "kernel_size": Integer(1, 15),
    "dense_units": Integer(0, 1_000_000),
    "stage_dropout": ListOf(Number(0, 1, below=True)),
}
"""Parameters of architectures beside `dropout`, which is a setting."""


def cell_settings(cell: Cell) -> dict[str, Any]:
    """Returns every setting of a cell as one flat, JSON-safe record.

    A setting of stages is a scalar when all stages agree, else a list with one entry for each stage. `augment`,
    `early_stopping` and `reduce_learning_rate` are tables, or None when switched off. The seed of a stream is the cell's
    where it has none of its own. `weights` is the origin of the weights: `none`, `imagenet`, `file:PATH` or `parent`.
    """
    record = {name: setting_of(cell, name) for name in SETTINGS}
    record["weights"] = f"file:{cell.weights.path}" if cell.weights.origin == "file" else cell.weights.origin
    return record


def setting_of(cell: Cell, name: str) -> Any:
    """Returns one setting of a cell, as in `cell_settings`."""
    match SETTINGS[name].level:
        case "cell" if name in STREAMS:
            return cell.stream_seed(name)
        case "cell":
            return json_value(getattr(cell, name))
        case "data":
            return json_value(getattr(cell.data, name))
        case "model":
            return dict(cell.architecture.parameters).get(name)
        case _:
            return common_or_list(json_value(getattr(stage, name)) for stage in cell.stages)


def json_value(value: Any) -> Any:
    """Converts a value in normal form to JSON: pairs to a table, other tuples to a list, an empty one to None."""
    if not isinstance(value, tuple):
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    if is_table(value):
        return {name: json_value(item) for name, item in value}
    return [json_value(item) for item in value] or None


def common_or_list(values: Iterable[Any]) -> Any:
    """Returns the common value when all stages agree, else the list of values."""
    entries = list(values)
    return entries[0] if all(entry == entries[0] for entry in entries) else entries
