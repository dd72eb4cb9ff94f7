"""A cell: one fully resolved combination of a matrix, as frozen dataclasses that a worker reads without heavy imports.

Nothing here validates: values were checked when the matrix was read. `to_dict` and `from_dict` are exact inverses; the
database and the workers get the cell as this dictionary, as JSON. A record of an older version lacks later fields: each
of these has a default, with which the cell is what it was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

from benchmark.catalog.channels import channels_of
from benchmark.errors import NewerRecordError

Parameters: TypeAlias = tuple[tuple[str, Any], ...]
"""Sorted (name, value) pairs; lists inside are tuples."""

Stream: TypeAlias = Literal["split_seed", "weights_seed", "order_seed", "augment_seed"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
"""Parts of a cell's random numbers that have a seed of their own; it is the cell's while none is written."""


@dataclass(frozen=True, slots=True)
class Data:
    """Which images a cell uses, and how they are prepared.

    Attributes:
        source: Where the examples come from: `digits`, `tfds:NAME`, `folder:PATH`, `npz:PATH`, `plugin:NAME`.
        classes: Labels of the source that are kept, in this order (the new labels are 0, 1, …); None keeps all.
        num_classes: How many classes the model tells apart.
        image_size: Height and width in pixels after resizing.
        color: `grey` (one channel), `rgb` (three), or as `4-channel`; see `catalog/channels.py`.
        train_examples: Training and validation examples together, stratified and seeded; None takes all.
        test_examples: Test examples, stratified and seeded; None takes all.
        validation_fraction: Share of the training examples set apart for validation, 0 ≤ fraction < 1; with `folds`
            one of them.
        location: Absolute path of `folder:PATH` and `npz:PATH`; None for other sources.
        test_fraction: Share of each class that is split off for the test set where a source has none; None for 0.2.
        class_names: Names of the labels as the matrix gives them; None when the source knows them.
        version: Identifies the content of a user's source, in place of its path; None for none.
        background: Colour `#rrggbb` on which transparent images of a folder are shown; None for white.
        folds: Into how many parts cross-validation divides the training examples; None for a single split.
        fold: Which of these, from 0, is the validation set; None without `folds`.
        lockbox: Share of each class of the test examples that is set apart for one final comparison; 0 for none.
        resize: What makes squares of images that are none: `squeeze`, `crop` or `pad`.
        validation: Where the validation set comes from: `split` takes it off the training examples, `source` is the
            source's own.
        groups: Column of the source's table whose equal values are never divided between training, validation and test;
            None for none.
        labels_file: Table of labels of a folder, relative to it; None for class folders.
        image_column, label_column: Columns of a source of rows; None for the usual ones.
        multi_label: Whether an image may have several labels, or none: labels are rows of 0 and 1.
        code: Of a plug-in: sha256 of its file, or name and version of its package; None for other sources.
        file: Absolute path of the plug-in's file; None when it comes from an installed package.
    """

    source: str
    classes: tuple[int, ...] | None
    num_classes: int
    image_size: int
    color: str
    train_examples: int | None
    test_examples: int | None
    validation_fraction: float
    location: str | None = None
    test_fraction: float | None = None
    class_names: tuple[str, ...] | None = None
    version: str | None = None
    background: str | None = None
    folds: int | None = None
    fold: int | None = None
    lockbox: float = 0.0
    resize: str = "squeeze"
    validation: str = "split"
    groups: str | None = None
    labels_file: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False
    code: str | None = None
    file: str | None = None

    @property
    def channels(self) -> int:
        """How many the images have."""
        return channels_of(self.color)

    @property
    def has_validation(self) -> bool:
        """Whether any examples are validated on."""
        return self.validation == "source" or self.validation_fraction > 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which network is built.

    Attributes:
        name: A builder of `training/networks/network.py`, such as `simple_cnn`, `resnet18`, `vgg16`; or `plugin:NAME`;
            or `script` for a command.
        parameters: Arguments of the builder, such as `filters`, `dense_units`, `dropout`, or keys that a command may
            name; sorted by name.
        code: Of a plug-in: sha256 of its file, or name and version of its package; of a command: sha256 of the files that
            it names; None for built-in architectures.
        file: Absolute path of the plug-in's file; None when it comes from an installed package.
        command: Program and arguments, with braces as they are written (see `matrix/script_command.py`); None for a network.
        folder: Where a command is started: the absolute path of the matrix's folder.
        framework: What it is written in: `keras`, `torch` or `lightning`.
    """

    name: str
    parameters: Parameters
    code: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None
    folder: str | None = None
    framework: str = "keras"


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights come from before the first stage.

    Attributes:
        origin: `none` (random, from `weights_seed`), `imagenet`, `file`, or `parent`.
        path: The weights file when the origin is `file`.
        parent_cell_id: The cell whose kept weights are the start when the origin is `parent`.
    """

    origin: str
    path: str | None = None
    parent_cell_id: str | None = None


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Stop the stage when `monitor` has not improved by more than `min_delta` for `patience` epochs."""

    monitor: str
    patience: int
    min_delta: float


@dataclass(frozen=True, slots=True)
class ReduceLearningRate:
    """Multiply the learning rate by `factor` when `monitor` has not improved for `patience` epochs."""

    monitor: str
    factor: float
    patience: int
    min_learning_rate: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive epochs with the same trainable layers, optimizer and callbacks.

    Attributes:
        train: Which layers learn: `head`, `last:N` (the head and the last N layers of the backbone), or `all`.
        epochs: At most so many epochs.
        batch_size: Images in a batch; the last batch of an epoch may be smaller.
        optimizer: A name of `matrix/recipes/optimizers.py`.
        learning_rate: At the start of the stage; with a schedule what its factors refer to.
        momentum: Of `sgd` and `rmsprop`; None for the others.
        weight_decay: Decoupled weight decay, 0 for none.
        label_smoothing: 0 ≤ smoothing < 1.
        augment: Random transformations of the training images, sorted by name; empty for none.
        early_stopping, reduce_learning_rate: None when switched off.
        schedule: How the learning rate goes from update to update, see `matrix/recipes/schedule.py`: the name of a kind, or its
            parameters with `kind` among them.
        nesterov: Whether the momentum of `sgd` looks ahead.
        beta_1, beta_2, epsilon: Of the optimizer; None where they are Keras's defaults, or it has none.
        clip_norm: Largest norm of all gradients together; None for any.
        clip_value: Largest absolute value in a gradient; None for any.
        gradient_accumulation: Of how many batches an update takes the mean gradient.
        loss: What training makes small, see `matrix/recipes/loss.py`: a name, or its parameters with `kind` among them.
        loss_code: Of a plug-in's loss, the sha256 of the file, or the package that offers it; else None.
        loss_file: The absolute path of that file.
        callbacks: The user's own callbacks, in their order: names, or tables of arguments with `kind` among them.
        callback_codes, callback_files: By name what their code is known by, and the absolute path of the file, if any.
        class_weights: What the loss of an image is multiplied with: `balanced`, or (class, weight) pairs sorted by name,
            1 for a class without one; None for 1.
        ema: Share of the average of weights that each update leaves; that average is what is scored and kept. None for
            no average.
        sampling: `balanced` draws each image of an epoch from a class by chance; None takes each image once.
        mixup, cutmix: Alpha of the Beta distribution from which the shares of mixed images are drawn; 0 for none.
    """

    train: str
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float | None
    weight_decay: float
    label_smoothing: float
    augment: Parameters
    early_stopping: EarlyStopping | None
    reduce_learning_rate: ReduceLearningRate | None
    schedule: str | Parameters = "constant"
    nesterov: bool = False
    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    gradient_accumulation: int = 1
    loss: str | Parameters = "cross_entropy"
    class_weights: str | Parameters | None = None
    sampling: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float | None = None
    loss_code: str | None = None
    loss_file: str | None = None
    callbacks: tuple[str | Parameters, ...] = ()
    callback_codes: Parameters = ()
    callback_files: Parameters = ()

    @property
    def is_mixed(self) -> bool:
        """Whether the images of a batch are mixed with each other."""
        return bool(self.mixup or self.cutmix)


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of a matrix, fully resolved.

    Attributes:
        cell_id: Hash of everything that determines the result, without names and labels; see `matrix/identity.py`.
        dataset, model, strategy: The names in the matrix.
        strategy_label: The strategy's name in reports; its name when the matrix gives no label.
        seed: Seeds whatever has no seed of its own.
        split_seed: Seeds the choice of training examples, the validation split and folds; like the next three None
            where it is `seed`, see `stream_seed`.
        weights_seed: Seeds the initial weights.
        order_seed: Seeds the order of the training examples in each epoch.
        augment_seed: Seeds augmentation, dropout and the views of test-time augmentation.
        keep: Which epoch's weights are kept: `best` (by `monitor`) or `last`.
        monitor: `val_` and a metric; decides the best epoch. Ties of `val_accuracy` go to the lower validation loss, all
            others to the earlier epoch.
        labels: `integer` or `one_hot`: how labels reach the loss.
        threads: Intra- and inter-op threads of the worker.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
        backend: Name of one of `catalog/backends.py`: `tensorflow`, `jax` or `torch`; `script` for a command.
        device: As asked for: `auto`, `cpu`, `gpu` or `gpu:N`.
        device_kind: What that means on this machine: `cpu` or `gpu`.
        deterministic: Whether operations must be bit-repeatable.
        tta: Augmented views that test predictions are averaged over, beside the plain one; 0 for none.
        save: What is written beside weights and history: `model`, `h5`, `architecture`.
        reuse_features: Whether the output of frozen layers is computed once for a stage, where it cannot change.
        share_stages: Whether first stages that other cells of a run have too are trained once for all of them.
        metric_codes, metric_files: Of the user's own metrics that the cell monitors: by name, without `val_`, what their
            code is known by, and the absolute path of the file, if any.
    """

    cell_id: str
    dataset: str
    model: str
    strategy: str
    strategy_label: str
    seed: int
    data: Data
    architecture: Architecture
    weights: Weights
    stages: tuple[Stage, ...]
    keep: str
    monitor: str
    labels: str
    threads: int
    precision: str
    backend: str
    device: str
    device_kind: str
    deterministic: bool
    tta: int = 0
    save: tuple[str, ...] = ()
    reuse_features: bool = True
    share_stages: bool = True
    split_seed: int | None = None
    weights_seed: int | None = None
    order_seed: int | None = None
    augment_seed: int | None = None
    metric_codes: Parameters = ()
    metric_files: Parameters = ()

    @property
    def parent_cell_id(self) -> str | None:
        return self.weights.parent_cell_id

    @property
    def epochs(self) -> int:
        """The most epochs that all stages together can take."""
        return sum(stage.epochs for stage in self.stages)

    def stream_seed(self, stream: Stream) -> int:
        """The seed of a stream: its own, else the cell's."""
        own: int | None = getattr(self, stream)
        return self.seed if own is None else own

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Cell:
        """Reads a cell from the dictionary of `to_dict`, of this or an older version, also after a round trip through JSON.

        Raises:
            NewerRecordError: The record has fields that this version does not know.
            KeyError, TypeError, ValueError, AttributeError: It is no record of a cell.
        """
        try:
            return cls(**_values(cls, record))
        except NewerRecordError as error:
            raise NewerRecordError(f"cell {str(record.get('cell_id'))[:8]}: {error}") from None


def defaults_of(kind: type) -> dict[str, Any]:
    """Returns the fields of a part of a cell that a record may lack, with their defaults."""
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


def is_table(value: Any) -> bool:
    """Whether a value is a sequence of (name, value) pairs, the form of a table; in records the pairs are lists."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in value)
    )


_MAY_BE_NONE = {"early_stopping": EarlyStopping, "reduce_learning_rate": ReduceLearningRate}
_PARTS = {"data": Data, "architecture": Architecture, "weights": Weights, **_MAY_BE_NONE}
"""The fields that hold one other part of a cell; no two parts have a field of one name."""


def _values(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    known = _field_names(kind)
    if not record.keys() <= known:
        name = min(record.keys() - known)
        raise NewerRecordError(
            f"{kind.__name__.lower()}.{name} is nothing that this version of bench knows, so a newer one recorded it. "
            "Upgrade bench to read it"
        )
    return {name: _value(name, value) for name, value in record.items()}


@cache
def _field_names(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def _value(name: str, value: Any) -> Any:
    if name == "stages":
        return tuple(Stage(**_values(Stage, record)) for record in value)
    if name not in _PARTS or (value is None and name in _MAY_BE_NONE):
        return _frozen(value)
    return _PARTS[name](**_values(_PARTS[name], value))


def _frozen(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple([_frozen(item) if isinstance(item, list | tuple) else item for item in value])
