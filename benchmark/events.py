"""The messages between scheduler and worker: frozen dataclasses, each one line of JSON.

A worker gets one `Job` and answers with events over a pipe of its own, because TensorFlow prints to stdout. Nothing is
pickled; NaN and infinities are tagged, so that a line is always strict JSON. A line that is no such message raises
`ProtocolError` and ends that attempt only.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeAlias

LINE_LIMIT_BYTES = 1 << 20
"""The longest allowed message; a longer line is a protocol error."""

NAMES_PER_LINE = 200
"""Names of classes in one message: of 255 bytes each, as names of folders may be, at most 300 kB in ASCII."""


class ProtocolError(ValueError):
    """A line that is not an event: broken JSON, an unknown kind, a missing or wrong field."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do in one attempt.

    Attributes:
        attempt_id: Number of the attempt in the database.
        cell: `Cell.to_dict()`.
        directory: The attempt's own folder for artifacts and its state file; exists already.
        earlier_directories: Folders of earlier attempts of the same execution, newest first: where to resume from.
        data_directory: The prepared dataset (see `training/programs/prepare.py`); None for a backend that trains nothing.
        parent_weights: Kept weights of the parent cell, or None.
        parent_weights_sha256: Their expected sha256.
        cores: Processors to pin the worker to; empty leaves it to the kernel.
        gpu: Index of the GPU that the worker may see; None hides all GPUs.
        isolation: How the process was made: `fork` or `spawn`.
        allow_plugins: Whether plug-ins may run that the trust file does not name (see `matrix/trust.py`).
        every_state: Whether a state is written after each epoch, and not as often as is cheap.
        trial_seconds: None trains the cell; a number only times a few of its steps, for so long or until SIGTERM.
        trial_stages: The stages to time, counted from 1.
        shared_stages: Folders for the states at the ends of stages that other cells of the run share, by the number of
            stages up to there, in decimal digits.
        stored_stages: Those of these numbers whose state other cells wait for; it is stored when it is reached.
    """

    attempt_id: int
    cell: dict[str, Any]
    directory: str
    earlier_directories: tuple[str, ...]
    data_directory: str | None
    parent_weights: str | None
    parent_weights_sha256: str | None
    cores: tuple[int, ...]
    gpu: int | None
    isolation: str
    allow_plugins: bool = False
    every_state: bool = False
    trial_seconds: float | None = None
    trial_stages: tuple[int, ...] = ()
    shared_stages: dict[str, str] = field(default_factory=dict)
    stored_stages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Launched:
    """From the guardian: guardian and worker are running."""

    guardian_pid: int
    worker_pid: int
    worker_start_ticks: int


@dataclass(frozen=True, slots=True)
class Started:
    """The worker has read its job; versions, threads and device are those observed, not those requested.

    Of a command bench knows no versions.
    """

    backend_version: str | None
    keras_version: str | None
    threads: int
    device_name: str


@dataclass(frozen=True, slots=True)
class ModelBuilt:
    """Data are open and the model is built.

    Attributes:
        parameters, trainable_parameters: None where a command has not told them; then the event may be sent once more.
        data_fingerprint: sha256 of the decoded arrays.
        weights_sha256: Digest of the weights the cell started from; None when random.
        compute_dtype: Observed on a layer of the model; None of a command.
        setup_seconds: From the start of the worker to this event.
    """

    parameters: int | None
    trainable_parameters: int | None
    train_examples: int
    validation_examples: int
    test_examples: int
    data_fingerprint: str
    weights_sha256: str | None
    compute_dtype: str | None
    setup_seconds: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The worker continues from a state file; the epochs up to `epoch` are sent again as `EpochFinished`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class StagesTaken:
    """The worker starts from the state of another cell after `stages` stages; their epochs follow as `EpochFinished`."""

    stages: int


@dataclass(frozen=True, slots=True)
class StageStored:
    """A stage ended whose state other cells start from; `stored` says whether it could be stored."""

    stage: int
    stored: bool


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins; the features of its frozen layers are ready, where they are computed once.

    For the last stage it is also sent when no epoch is left to train.

    Attributes:
        features: Whether this stage and those before it `computed` features, only `reused` those of other cells, or
            had `none`.
        features_seconds: How long that took, all these stages together.
        features_alone_seconds: How long it would have taken without other cells.
        shared_epochs: Epochs of earlier stages that another cell trained.
        shared_seconds: How long these took there, features included.
    """

    stage: int
    epochs: int
    trainable_parameters: int
    features: str = "none"
    features_seconds: float = 0.0
    features_alone_seconds: float = 0.0
    shared_epochs: int = 0
    shared_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The training thread makes progress; sent at most five times a second. `epoch` counts from 1 over the whole cell."""

    stage: int
    epoch: int
    batch: int
    batches: int


@dataclass(frozen=True, slots=True)
class EpochFinished:
    """An epoch ended. Losses are means over examples, accuracies fractions 0..1, validation None without a split.

    Attributes:
        stage: Counts from 1.
        epoch: Counts from 1 over the whole cell.
        stage_epoch: Counts from 1 within the stage.
        train_accuracy, train_loss: Running means over the epoch's batches, as Keras reports them. A command may leave
            these, the values of validation and the learning rate unsaid: None.
        learning_rate: Of this epoch; of a schedule the one after the epoch's last step.
        seconds: Training and validation of this epoch.
        input_seconds, step_seconds, validation_seconds, checkpoint_seconds: Its phases; `step_seconds` includes
            tracing in the first epoch of a stage.
        images_per_second: Training images over `input_seconds + step_seconds`.
        traced: Whether this epoch contained tracing (the first of each stage and the first after a resume).
        improved: Whether its weights are the best so far.
        replayed: Whether an earlier attempt or another cell trained it, and not this attempt.
        monitored: The metric that decides the best epoch; None where it is not finite, or without validation.
    """

    stage: int
    epoch: int
    stage_epoch: int
    train_accuracy: float | None
    train_loss: float | None
    val_accuracy: float | None
    val_loss: float | None
    learning_rate: float | None
    seconds: float
    input_seconds: float
    step_seconds: float
    validation_seconds: float
    checkpoint_seconds: float
    images_per_second: float
    traced: bool
    improved: bool
    replayed: bool = False
    monitored: float | None = None


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """The state could not be written, for example on a full disk; training continues, the previous state stays."""

    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class ArtifactWritten:
    """A file to keep was written. `name` is relative to the attempt's directory.

    Kinds: weights, history, predictions, figure, log; and of the setting `save` model, architecture, h5.
    """

    kind: str
    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The test set was evaluated, once, with the kept weights.

    Attributes:
        best_epoch: The epoch of the kept weights; None of a command that told no epochs.
        tta_accuracy, tta_loss: Of the probabilities averaged over augmented views; None without `tta`.
        plain_test_accuracy, plain_test_loss: Of the weights that the kept ones are the average of; None without `ema`.
    """

    test_accuracy: float
    test_loss: float
    best_epoch: int | None
    seconds: float
    tta_accuracy: float | None = None
    tta_loss: float | None = None
    plain_test_accuracy: float | None = None
    plain_test_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Predicted:
    """The artifact `name` holds the predictions for the test or validation images; sent after its `ArtifactWritten`.

    Many names are sent in several such events (`Predicted.parts`), because a line is bounded and they are not.

    Attributes:
        examples: Number of these images.
        class_names: In the order of the outputs.
    """

    name: str
    examples: int
    class_names: tuple[str, ...]

    def parts(self) -> Iterator[Predicted]:
        """The events that are sent for this one."""
        for start in range(0, max(len(self.class_names), 1), NAMES_PER_LINE):
            yield replace(self, class_names=self.class_names[start : start + NAMES_PER_LINE])

    def joined(self, earlier: Predicted | None) -> Predicted:
        """The event that this and the parts before it were sent for."""
        if earlier is None or earlier.name != self.name:
            return self
        return replace(self, class_names=earlier.class_names + self.class_names)


@dataclass(frozen=True, slots=True)
class Completed:
    """The cell completed; the last event of its worker.

    Attributes:
        epochs: Epochs trained over all stages.
        fit_seconds: Sum of the epochs' `seconds`, over all attempts of the execution and with those that another cell
            trained, and `features_seconds`.
        total_seconds: Of this attempt, from the start of the worker to this event.
        peak_device_bytes: Peak memory on the GPU; None on the CPU.
    """

    epochs: int
    fit_seconds: float
    total_seconds: float
    peak_device_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Diverged:
    """A loss became NaN or infinite at this epoch and batch; the epoch itself was sent before."""

    epoch: int
    batch: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker stopped on SIGTERM; the state up to `epoch` is saved."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Tried:
    """The last event of a trial, which times a few real steps and keeps no result; an entry for each stage.

    Attributes:
        tracing_seconds: From the start of the stage to the end of its first step and first prediction, less what a
            later step and prediction take.
        step_seconds: Median of the later steps of a full batch, input included.
        predict_seconds: Of a prediction for a full batch.
        step_ends: When the steps of the last stage ended, in monotonic seconds; the first entry is their start.
    """

    tracing_seconds: tuple[float, ...]
    step_seconds: tuple[float, ...]
    predict_seconds: tuple[float, ...]
    step_ends: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception ended the attempt.

    Attributes:
        cause: `failed`, `data_error`, `oom` or `device_lost`; of a command also `protocol`.
        error_type, message, traceback: Of the exception.
    """

    cause: str
    error_type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Exited:
    """From the guardian, always last: the worker ended. `signal` is 0 unless a signal ended it."""

    exit_code: int
    signal: int
    peak_rss_bytes: int
    user_seconds: float
    system_seconds: float


Event: TypeAlias = (
    Launched | Started | ModelBuilt | Resumed | StagesTaken | StageStored | StageStarted | Progress | EpochFinished
    | CheckpointFailed | ArtifactWritten | Evaluated | Predicted | Completed | Diverged | Interrupted | Tried | Failed
    | Exited
)  # fmt: skip

_KINDS: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Event)}
_TAG = "event"
"""The JSON key with the name of the message's class; no message has a field of this name."""

_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_line(event: Event | Job) -> bytes:
    """The message as one line of strict JSON, its name first; non-finite numbers become `{"float": "nan"}`."""
    record = {_TAG: type(event).__name__}
    record.update({field.name: _tagged(getattr(event, field.name)) for field in fields(event)})
    return json.dumps(record, allow_nan=False, ensure_ascii=True).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """The event of a line that `to_line` wrote.

    Raises:
        ProtocolError: The line is too long, not JSON or of an unknown kind, or fields are missing or wrong.
    """
    record = _parsed(line)
    kind = _KINDS.get(str(record.pop(_TAG, None)))
    if kind is None:
        raise ProtocolError("unknown kind of event")
    return typing.cast("Event", _build(kind, record))


def job_from_line(line: bytes) -> Job:
    """The job of a line that `to_line` wrote.

    Raises:
        ProtocolError: As of `from_line`.
    """
    record = _parsed(line, limit=None)  # it comes from the scheduler, and all names of a matrix may stand in it
    if record.pop(_TAG, None) != "Job":
        raise ProtocolError("not a job")
    return typing.cast("Job", _build(Job, record))


def _parsed(line: bytes, limit: int | None = LINE_LIMIT_BYTES) -> dict[str, Any]:
    if limit is not None and len(line) > limit:
        raise ProtocolError(f"a line of {len(line)} bytes; at most {limit} are allowed")
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a JSON line: {error}") from error
    if not isinstance(record, dict):
        raise ProtocolError("not a JSON object")
    return record


def _refuse_constant(name: str) -> float:
    raise ProtocolError(f"bare {name} in JSON")


_field_types = cache(typing.get_type_hints)


def _build(kind: type, record: Mapping[str, Any]) -> Any:
    expected = _field_types(kind)
    required = {field.name for field in fields(kind) if field.default is field.default_factory}
    if not required <= record.keys() <= expected.keys():
        raise ProtocolError(f"{kind.__name__}: wrong fields {sorted(record.keys() ^ expected.keys())}")
    return kind(**{name: _checked(kind, name, expected[name], value) for name, value in record.items()})


def _checked(kind: type, name: str, expected: Any, value: Any) -> Any:
    value = _untagged(value)
    if typing.get_origin(expected) is tuple:
        item = typing.get_args(expected)[0]
        elements = [_untagged(element) for element in value] if isinstance(value, list) else [value]
        if isinstance(value, list) and all(_is(element, item) for element in elements):
            return tuple(map(float, elements) if item is float else elements)
    elif typing.get_origin(expected) in {types.UnionType, typing.Union}:
        if any(_is(value, option) for option in typing.get_args(expected)):
            return float(value) if float in typing.get_args(expected) and value is not None else value
    elif _is(value, typing.get_origin(expected) or expected):
        return float(value) if expected is float else value
    raise ProtocolError(f"{kind.__name__}.{name}: wrong value {value!r:.80}")


def _is(value: Any, expected: Any) -> bool:
    if isinstance(value, bool):
        return expected is bool
    if expected is float:
        return isinstance(value, int | float)
    if expected is int:
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return isinstance(value, expected)


def _tagged(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_tagged(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    return value


def _untagged(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"float"}:
        try:
            return _NONFINITE[value["float"]]
        except (KeyError, TypeError) as error:
            raise ProtocolError("unknown non-finite number") from error
    return value
