"""The tables of the results database, with the meaning and unit of every column.

The texts given as `doc` become `docs/database.md`. Migrations do not read this module: each is a frozen step of its
own, and a test compares what they build with what stands here. The views that users read are in `views.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmark.status import ATTEMPT_STATES, RUN_STATES, Cause, Status
from benchmark.text import storable

SCHEMA_VERSION = 2
"""The schema that this program writes: `PRAGMA user_version` on SQLite, the row of table `schema_version` everywhere."""

APPLICATION_ID = 0x62656E63
"""`benc` in ASCII: the `PRAGMA application_id` by which bench, and the program `file`, recognize its databases."""

VERSION_TABLE = "schema_version"

OUTCOMES = ("planned", "reused", "left_out")
SPLITS = ("validation", "test", "lockbox")
LOOKS = ("resolve", "judge", "lockbox")
DIRECTIONS = ("order", "report")

TEST_METRICS = {
    "test_balanced_accuracy": "Mean recall of the classes on the test images, 0..1.",
    "test_macro_f1": "Mean F1 of the classes on the test images, 0..1.",
    "test_weighted_f1": "F1 of the classes on the test images, 0..1, weighted by their images.",
    "test_top5_accuracy": "Fraction 0..1 of test images whose class is among the five most probable.",
    "test_auroc": "Area under the ROC curve, mean of one class against the rest; NULL where a class is missing.",
    "test_average_precision": "Average precision, mean of one class against the rest; NULL where a class is missing.",
    "test_log_loss": "Cross-entropy on the test images, in nats.",
    "test_brier": "Brier score on the test images, summed over classes, 0..2.",
    "test_ece": "Expected calibration error on the test images, 15 bins of equal width.",
    "test_mcc": "Matthews correlation coefficient on the test images, -1..1.",
    "test_kappa": "Cohen's kappa on the test images, -1..1.",
    "test_map": "Mean average precision of several labels an image.",
    "test_subset_accuracy": "Fraction 0..1 of test images all of whose labels are right.",
}
"""Further metrics of the test set, by the names of their columns; NULL until they are computed."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class CleanText(sa.TypeDecorator[str]):
    """`TEXT` for what workers print and files are called: NUL and lone surrogates are replaced on the way in.

    PostgreSQL refuses both (https://www.postgresql.org/docs/current/datatype-character.html), and Python's `sqlite3`
    cannot encode the latter.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """The value as both databases can store it."""
        return value if value is None else storable(value)


def _key(name: str, doc: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=True, doc=doc)


def _column(kind: Any, name: str, doc: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, doc=doc, **options)


_text, _whole, _big = partial(_column, sa.Text), partial(_column, sa.Integer), partial(_column, sa.BigInteger)
_real, _flag = partial(_column, sa.Double), partial(_column, sa.Boolean)
_free_text = partial(_column, CleanText)
"""A column for text from outside, which nothing has checked."""


def _refers(name: str, target: str, doc: str, **options: Any) -> sa.Column[Any]:
    kind = sa.Text if target == "cell.cell_id" else sa.Integer
    return sa.Column(name, kind, sa.ForeignKey(target), doc=doc, **options)


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


run = sa.Table(
    "run",
    metadata,
    _key("run_id", "Number of the run, rising in the order of their beginning."),
    _free_text("name", "Name given with `--name`; NULL without one."),
    _text("machine", "Name of the computer that timings belong to.", nullable=False),
    _free_text("matrix_name", "`name` in the matrix file; NULL without one."),
    _free_text("matrix_path", "Path of the matrix file as it was given."),
    _free_text("matrix_text", "The matrix file, whole."),
    _free_text("command", "The command line of the run."),
    _text("executor", "What places the processes: `local`.", nullable=False),
    _whole("jobs", "Most cells that may run at once; NULL when the resources alone decide."),
    _text("started_utc", "When the run began (ISO 8601, UTC).", nullable=False),
    _text("finished_utc", "When the run ended (ISO 8601, UTC); NULL while it runs, and when it was killed."),
    _text("state", "`running`, `completed`, `interrupted`, `failed` or `abandoned` (it was killed).", nullable=False),
    _whole("exit_code", "Exit code of the command; NULL while it runs, and when it was killed."),
    _text("package_version", "Version of bench."),
    _free_text("git_commit", "Commit of the folder that the run was started in; NULL outside a repository."),
    _flag("git_dirty", "Whether that folder had uncommitted changes, the database not counted."),
    _text("python_version", "Version of Python."),
    _text("backend_version", "Version of TensorFlow."),
    _text("keras_version", "Version of Keras."),
    _text("numpy_version", "Version of NumPy."),
    _free_text("os", "Operating system and its release."),
    _free_text("cpu_model", "Model of the processor."),
    _whole("cpu_cores", "Processors that the run may use."),
    _big("memory_bytes", "Main memory in bytes."),
    _free_text("gpu_names", "Names of the GPUs, separated by `, `; NULL without any."),
    _free_text("gpu_driver", "Version of the GPU driver; NULL without one."),
    _whole("pid", "Process id of the command."),
    _text("boot_id", "Which start of the computer that process id belongs to."),
    _big("process_start_ticks", "When that process began, in clock ticks since the computer started."),
    _real(
        "forecast_seconds", "How long the run was expected to take when it began; NULL when there was nothing to do."
    ),
    _one_of("state", RUN_STATES),
    sqlite_autoincrement=True,
)

cell = sa.Table(
    "cell",
    metadata,
    sa.Column("cell_id", sa.Text, primary_key=True, doc="Hash of all that determines the cell's numbers."),
    _text("dataset", "Name of the dataset in the newest matrix that had this cell.", nullable=False),
    _text("model", "Name of the model in the newest matrix that had this cell.", nullable=False),
    _text("strategy", "Name of the strategy in the newest matrix that had this cell.", nullable=False),
    _text("strategy_label", "What reports call the strategy.", nullable=False),
    _big("seed", "Seeds split, initial weights, order, dropout and augmentation.", nullable=False),
    _text("backend", "`tensorflow`, `jax` or `torch`; `script` for a command.", nullable=False),
    _text("device", "Device as asked for: `auto`, `cpu`, `gpu`, `gpu:N`.", nullable=False),
    _text("device_kind", "What that means: `cpu` or `gpu`.", nullable=False),
    _whole("threads", "Threads of the worker.", nullable=False),
    _text("precision", "`float32`, `mixed_bfloat16` or `mixed_float16`.", nullable=False),
    _whole("image_size", "Height and width of the images in pixels.", nullable=False),
    _text("color", "`grey` (1 channel), `rgb` (3), or as `4-channel`.", nullable=False),
    _whole("batch_size", "Images in a batch, in the last stage."),
    _whole("epochs_planned", "Most epochs that all stages together can take.", nullable=False),
    _real("learning_rate", "Learning rate at the start of the last stage."),
    _text("optimizer", "Optimizer of the last stage."),
    _real("weight_decay", "Weight decay of the last stage; 0 for none."),
    _real("momentum", "Momentum of the last stage's optimizer; NULL where it has none."),
    _real("dropout", "Dropout of the model, 0..1; NULL where it has none."),
    _real("label_smoothing", "Label smoothing of the last stage, 0..1."),
    _text("train", "Layers that the last stage trains: `head`, `last:N` or `all`."),
    _text("framework", "What the model is written in: `keras`, `torch`, `lightning`, or `script` for a command."),
    _text("parent_cell_id", "Cell whose weights this one starts from; NULL when it has no parent."),
    _text("spec", "The cell as JSON: every setting, resolved.", nullable=False),
    _refers("first_run_id", "run.run_id", "Run that first had this cell.", nullable=False),
)

run_cell = sa.Table(
    "run_cell",
    metadata,
    sa.Column("run_id", sa.Integer, sa.ForeignKey("run.run_id"), primary_key=True, doc="The run."),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False, doc="Place in the run, from 0."),
    _refers("cell_id", "cell.cell_id", "The cell; NULL for one that was left out.", index=True),
    _text("dataset", "Name of the dataset in that run's matrix.", nullable=False),
    _text("model", "Name of the model in that matrix.", nullable=False),
    _text("strategy", "Name of the strategy in that matrix.", nullable=False),
    _big("seed", "Seed."),
    _text("outcome", "`planned`, `reused` (finished before) or `left_out`.", nullable=False),
    _text("reason", "Why the cell was left out; NULL otherwise."),
    _one_of("outcome", OUTCOMES),
)

execution = sa.Table(
    "execution",
    metadata,
    _key("execution_id", "Number of the execution: the attempts at a cell up to a final state."),
    _refers("cell_id", "cell.cell_id", "The cell.", nullable=False),
    _text("machine", "Name of the computer that the timings belong to.", nullable=False),
    _refers("first_run_id", "run.run_id", "Run that began it.", nullable=False),
    _refers("run_id", "run.run_id", "Run in which it last changed.", nullable=False, index=True),
    _text(
        "status",
        "`pending` (waits for another try), `running`, `completed`, `failed`, `diverged`, `blocked` "
        "or `interrupted`; cells that never began have no execution.",
        nullable=False,
    ),
    _text("cause", "Why it did not complete, from a closed list; NULL when completed or running."),
    _free_text("detail", "The cause in words."),
    _whole("epochs", "Epochs recorded so far; all of them when completed."),
    _whole("best_epoch", "Epoch whose weights are kept, counted from 1 over the whole cell."),
    _real("train_accuracy", "Fraction 0..1 of right answers on the training images, in the best epoch."),
    _real("train_loss", "Mean training loss in the best epoch."),
    _real("val_accuracy", "Fraction 0..1 on the validation images, in the best epoch; NULL without validation."),
    _real("val_loss", "Mean validation loss in the best epoch; NULL without validation."),
    _real("test_accuracy", "Fraction 0..1 on the test images, with the kept weights, measured once."),
    _real("test_loss", "Mean test loss with the kept weights."),
    _real("tta_accuracy", "Fraction 0..1 on the test images, averaged over augmented views; NULL without `tta`."),
    _real("tta_loss", "Mean test loss of these averages; NULL without `tta`."),
    _big("parameters", "Parameters of the model."),
    _big("trainable_parameters", "Parameters that the first stage trains."),
    _whole("train_examples", "Images that were trained on."),
    _whole("validation_examples", "Images set apart for validation."),
    _whole("test_examples", "Images of the test set."),
    _text("data_fingerprint", "sha256 of the prepared images and labels."),
    _text("weights_sha256", "sha256 of the weights it started from; NULL when random."),
    _text("compute_dtype", "Type that the model computes in, as observed."),
    _real("setup_seconds", "From the worker's first line to the model being built."),
    _real("first_epoch_seconds", "First epoch, tracing included."),
    _real("fit_seconds", "Sum of the epochs' seconds, shared ones too, and `features_seconds`."),
    _text(
        "features",
        "What became of the output of frozen layers: `computed` once for a stage, `reused` from other cells, or "
        "`none`; NULL before the first stage.",
    ),
    _real("features_seconds", "What that took this execution and its shared epochs; part of `fit_seconds`."),
    _real("features_alone_seconds", "What it would have taken without other cells' features."),
    _whole("shared_epochs", "Epochs of its first stages that another cell trained; NULL before the first stage."),
    _real(
        "shared_seconds", "What these took that cell, features included; part of `fit_seconds`, not of `total_seconds`."
    ),
    _real("evaluate_seconds", "Evaluation on the test set."),
    _real("total_seconds", "All attempts that the result was made in, from their first line to their last."),
    _real("images_per_second", "Training images over input and step seconds of the epochs without tracing."),
    _big("peak_rss_bytes", "Peak main memory of the worker in bytes."),
    _big("peak_device_bytes", "Peak GPU memory in bytes; NULL on the CPU."),
    _flag(
        "timing_valid",
        "Whether the timings may be compared: completed in one go, enough epochs undisturbed (half of the steady ones, and "
        "two).",
        nullable=False,
    ),
    _flag("resumed", "Whether the last attempt went on from an earlier one's state.", nullable=False),
    _text("started_utc", "When it began (ISO 8601, UTC); NULL for a blocked one."),
    _text("finished_utc", "When it ended (ISO 8601, UTC); NULL while it can go on."),
    _text("package_version", "Version of bench."),
    _text("git_commit", "Commit of the folder that the run was started in."),
    _text("digest", "sha256 of the cell id, the epochs' metrics and the kept results; no timings."),
    *(_real(name, doc) for name, doc in TEST_METRICS.items()),
    _flag("forgotten", "Whether reports leave it out.", nullable=False, server_default=sa.false()),
    _real("steady_seconds_per_epoch", "Median seconds of the undisturbed epochs without tracing; NULL without one."),
    _text(
        "disturbed_epochs", "Epochs whose timings other load disturbed, as a JSON list; NULL where it was not measured."
    ),
    _real(
        "plain_test_accuracy", "Fraction 0..1 on the test images with the weights that `ema` averages; NULL without it."
    ),
    _real("plain_test_loss", "Mean test loss with these weights; NULL without `ema`."),
    _text("nan_metrics", "Columns of this row that are NaN, separated by spaces (NaN itself is stored as NULL)."),
    _one_of("status", tuple(Status)),
    sa.CheckConstraint(
        "cause IS NULL OR cause IN ({})".format(", ".join(f"'{cause}'" for cause in Cause)), name="cause"
    ),
    sa.CheckConstraint(f"status <> '{Status.COMPLETED}' OR cause IS NULL", name="completed_without_cause"),
    # the newest execution of a cell and machine is found without a look at the others
    sa.Index("ix_execution_cell_id", "cell_id", "machine", "execution_id"),
    sqlite_autoincrement=True,
)

attempt = sa.Table(
    "attempt",
    metadata,
    _key("attempt_id", "Number of the attempt: one try, in a process of its own."),
    _refers("execution_id", "execution.execution_id", "The execution.", nullable=False),
    _refers("run_id", "run.run_id", "The run that made it.", nullable=False, index=True),
    _whole("number", "Which attempt of the execution, from 1.", nullable=False),
    _text("state", "`running`, `completed`, or the cause of its end.", nullable=False),
    _free_text("detail", "That cause in words, and notes such as a checkpoint that could not be written."),
    _text("isolation", "`fork` or `spawn`: how the process was made."),
    _whole("guardian_pid", "Process id of the guardian."),
    _whole("worker_pid", "Process id of the worker."),
    _big("worker_start_ticks", "When the worker began, in clock ticks since the computer started."),
    _text("boot_id", "Which start of the computer these process ids belong to."),
    _text("cores", "Processors that the worker was pinned to, separated by spaces; NULL when unpinned."),
    _whole("gpu", "Index of the GPU that the worker saw; NULL for none."),
    _whole("neighbours", "Cells that ran at the same time when it began."),
    _free_text("backend_version", "Version of the backend, as the worker saw it."),
    _free_text("keras_version", "Version of Keras, as the worker saw it."),
    _whole("threads", "Threads, as the worker saw them."),
    _free_text(
        "device_name", "Device that was computed on, as the worker saw it, and variables that chose libraries for it."
    ),
    _whole("resumed_from_epoch", "Last epoch of the state it went on from; NULL when it began from scratch."),
    _whole("last_epoch", "Last epoch that it trained; NULL when none."),
    _whole("exit_code", "Exit code of the worker."),
    _whole("signal", "Signal that ended the worker; 0 for none."),
    _free_text("error_type", "Type of the exception that ended it."),
    _free_text("error_message", "Its message."),
    _free_text("traceback", "Its traceback."),
    _free_text("log_tail", "The last of what the worker printed."),
    _real("user_seconds", "Processor time in user mode."),
    _real("system_seconds", "Processor time in the kernel."),
    _big("peak_rss_bytes", "Peak main memory of the worker in bytes."),
    _real("total_seconds", "From the worker's first line to its last, or as the scheduler saw it."),
    _flag("disturbed", "Whether other load disturbed the timings."),
    _free_text("node", "Computer of a cluster that it ran on; NULL on the computer of the run itself."),
    _text("lease_until_utc", "Until when that node may keep silent (ISO 8601, UTC); NULL without a cluster."),
    _big("fence", "Number that tells this hold of the cell from earlier ones; NULL without a cluster."),
    _text("started_utc", "When it began (ISO 8601, UTC).", nullable=False),
    _text("finished_utc", "When it ended (ISO 8601, UTC); NULL while it runs, and when its end was not seen."),
    _one_of("state", ATTEMPT_STATES),
    sa.UniqueConstraint("execution_id", "number"),
    # at most one attempt of an execution can be running: a second scheduler, or a defect in this one, fails here
    sa.Index(
        "ix_attempt_running",
        "execution_id",
        unique=True,
        sqlite_where=sa.text(f"state = '{Status.RUNNING}'"),
        postgresql_where=sa.text(f"state = '{Status.RUNNING}'"),
    ),
    sqlite_autoincrement=True,
)

epoch = sa.Table(
    "epoch",
    metadata,
    _refers("execution_id", "execution.execution_id", "The execution.", primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False, doc="From 1 over the whole cell."),
    _refers("attempt_id", "attempt.attempt_id", "Attempt that trained it, or took it over.", nullable=False),
    _refers("run_id", "run.run_id", "Run that trained it, or took it over.", nullable=False),
    _whole("stage", "Stage, from 1.", nullable=False),
    _whole("stage_epoch", "From 1 within the stage.", nullable=False),
    _real("train_accuracy", "Fraction 0..1, mean over the epoch's batches."),
    _real("train_loss", "Mean over the epoch's batches."),
    _real("val_accuracy", "Fraction 0..1 on the validation images; NULL without validation."),
    _real("val_loss", "Mean over the validation images; NULL without validation."),
    _real("learning_rate", "Learning rate of the epoch; of a schedule the one after its last step."),
    _real("seconds", "Training and validation of this epoch; the first of a stage compiles the network as well."),
    _real("input_seconds", "Part of it spent waiting for images."),
    _real("step_seconds", "Part of it spent in training steps, tracing included."),
    _real("validation_seconds", "Part of it spent in validation."),
    _real("checkpoint_seconds", "Writing the state that a resumed attempt goes on from."),
    _real("images_per_second", "Training images over input and step seconds."),
    _flag("traced", "Whether the epoch contained tracing.", nullable=False),
    _flag("improved", "Whether its weights were the best so far.", nullable=False),
    _real(
        "elapsed_seconds",
        "Sum of `seconds` of this epoch and those before it, shared ones too; without loading and features.",
    ),
    _real(
        "monitored",
        "What decides the best epoch, the metric that `monitor` names; NULL without validation, and in older results.",
    ),
    _text("nan_metrics", "Columns of this row that are NaN, separated by spaces (NaN itself is stored as NULL)."),
    sqlite_with_rowid=False,
)

artifact = sa.Table(
    "artifact",
    metadata,
    _key("artifact_id", "Number of the artifact."),
    _refers("execution_id", "execution.execution_id", "The execution.", nullable=False, index=True),
    _refers("attempt_id", "attempt.attempt_id", "The attempt that left it.", nullable=False),
    _text("kind", "`weights`, `history`, `predictions`, `model`, `figure`, …", nullable=False),
    _text("path", "`<cell_id>/<attempt_id>/<name>` in the artifacts folder.", nullable=False),
    _text("sha256", "sha256 of the file.", nullable=False),
    _big("size_bytes", "Size of the file in bytes.", nullable=False),
    sa.UniqueConstraint("attempt_id", "path"),
)

prediction = sa.Table(
    "prediction",
    metadata,
    _refers("execution_id", "execution.execution_id", "The execution, completed.", primary_key=True),
    sa.Column(
        "split",
        sa.Text,
        primary_key=True,
        server_default="test",
        doc="Which images: `validation`, `test` or `lockbox`.",
    ),
    _whole("examples", "Number of these images.", nullable=False),
    _whole("classes", "Classes that the model tells apart.", nullable=False),
    _text("class_names", "Their names in the order of the outputs, as a JSON list.", nullable=False),
    _text("sha256", "sha256 of the content.", nullable=False),
    _text(
        "outcomes",
        "What the view `predictions` reads, as JSON: a whole number for each image, (label * classes + predicted) * 10001 "
        "+ confidence in ten-thousandths; a list of the images 0, 1, …, or an object by image. NULL when the content "
        "cannot be read, and of the lockbox, which the view does not show.",
    ),
    sa.Column(
        "content",
        sa.LargeBinary,
        nullable=False,
        doc="The file `predictions.npz`: for each image its index, label, predicted label and probabilities.",
    ),
    _one_of("split", SPLITS),
)

look = sa.Table(
    "look",
    metadata,
    _key("look_id", "Number of the look: a verdict on two sides, at the results that there were."),
    _refers("run_id", "run.run_id", "Run that looked; NULL outside of one.", index=True),
    _text("kind", "`resolve`, `judge` or `lockbox`: what asked for it.", nullable=False),
    _free_text("campaign", "Name of the campaign whose error budget it spent; NULL without one."),
    _free_text("a", "Selection of the one side.", nullable=False),
    _free_text("b", "Selection of the other side.", nullable=False),
    _text("executions", "Executions of both sides, as a JSON list of two lists of numbers.", nullable=False),
    _whole("n", "Pairs, or executions of the smaller side."),
    _real("difference", "Mean of B - A."),
    _real("low", "Lower end of its interval."),
    _real("high", "Upper end of its interval."),
    _real("alpha", "Error probability that the look spent, 0..1."),
    _text("verdict", "`better`, `worse`, `equivalent`, `not resolved` or `not comparable`.", nullable=False),
    _real("margin", "Differences below it do not count; NULL without one."),
    _text("details", "More about it, as a JSON object."),
    _text("looked_utc", "When it was (ISO 8601, UTC).", nullable=False),
    _text("machine", "Name of the computer that the results belong to."),
    _one_of("kind", LOOKS),
    sqlite_autoincrement=True,
)

artifact_folder = sa.Table(
    "artifact_folder",
    metadata,
    sa.Column(
        "host",
        sa.Text,
        primary_key=True,
        doc="Name of a computer that has run cells of this database; `*` for all of them.",
    ),
    _free_text("path", "Absolute path of the artifacts folder there, or a URL.", nullable=False),
)

node = sa.Table(
    "node",
    metadata,
    _key("node_id", "Number of the membership: a computer of a cluster, or a part of one, from when it joined a run."),
    _refers("run_id", "run.run_id", "The run.", nullable=False, index=True),
    _free_text("name", "Address or id that the cluster knows it by; `attempt.node` has it too.", nullable=False),
    _free_text("host", "Name that the computer gives itself."),
    _text("boot_id", "Which start of the computer it was."),
    _free_text("os", "Operating system and its release."),
    _free_text("cpu_model", "Model of the processor."),
    _whole("cpu_cores", "Processors that it lends to the run."),
    _big("memory_bytes", "Main memory in bytes."),
    _free_text("gpu_names", "Names of the GPUs that it lends, separated by `, `; NULL without any."),
    _free_text("gpu_driver", "Version of the GPU driver; NULL without one."),
    _text("python_version", "Version of Python."),
    _text("joined_utc", "When it joined (ISO 8601, UTC), by the clock of the database.", nullable=False),
    _text(
        "lease_until_utc", "Until when it may keep silent, by the same clock; later it counts as lost.", nullable=False
    ),
    _text("left_utc", "When it left, or was found lost, by the same clock; NULL while it is a member."),
    _free_text("left_reason", "Why, in words."),
    # two that go by one name could not be told apart by their attempts
    sa.Index(
        "ix_node_member",
        "run_id",
        "name",
        unique=True,
        sqlite_where=sa.text("left_utc IS NULL"),
        postgresql_where=sa.text("left_utc IS NULL"),
    ),
    sqlite_autoincrement=True,
)

message = sa.Table(
    "message",
    metadata,
    _key("message_id", "Number of the message, which is deleted when it is taken."),
    _refers("run_id", "run.run_id", "The run.", nullable=False),
    _refers("node_id", "node.node_id", "The node that it is for, or from.", nullable=False, index=True),
    _text("direction", "`order` for the node, `report` for the scheduler.", nullable=False),
    _whole("number", "Which of its sender's messages, rising: one that was sent again is taken once.", nullable=False),
    _text("body", "What it says, as JSON.", nullable=False),
    _one_of("direction", DIRECTIONS),
    sqlite_autoincrement=True,
)

TABLES = (run, cell, run_cell, execution, attempt, epoch, artifact, prediction, look, artifact_folder, node, message)
"""All tables, each after those that its foreign keys refer to."""
