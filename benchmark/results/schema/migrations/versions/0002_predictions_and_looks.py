"""The second schema: settings and metrics as columns, predictions that SQL can read, looks, nodes, artifacts' folders."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

AT_ONCE = 1000


def upgrade() -> None:
    kind = op.get_bind().dialect.name
    for name in ("history", "results"):
        op.execute(f"DROP VIEW {name}")
    with without_triggers(kind):
        change_tables()
        fill_cells()
        fill_epochs()
        fill_predictions()
    for statement in (*VIEWS, PREDICTIONS[kind], EXECUTION_IS_FINAL[kind]):
        op.execute(statement)


@contextmanager
def without_triggers(kind: str) -> Iterator[None]:
    """Fills columns of what is final, which triggers refuse; the one of `execution` is not made again."""
    if kind == "postgresql":
        op.execute("DROP TRIGGER execution_is_final ON execution")
        for table in ("epoch", "prediction"):
            op.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in ("epoch", "prediction"):
            op.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        return
    # a view that a user made of ours would be in the way of renaming a table
    op.execute("PRAGMA legacy_alter_table=ON")
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('execution', 'epoch', 'prediction')"
    triggers = op.get_bind().exec_driver_sql(query).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name}")
    yield
    for name, sql in triggers:
        if name != "execution_is_final":
            op.execute(sa.text(sql))
    op.execute("PRAGMA legacy_alter_table=OFF")


TYPES = {"INTEGER": sa.Integer, "BIGINT": sa.BigInteger, "TEXT": sa.Text, "DOUBLE": sa.Double}


def columns(text: str) -> list[sa.Column[Any]]:
    """Columns of names and types, separated by commas; `!` after the type means NOT NULL."""
    pairs = [column.split() for column in text.split(",")]
    return [sa.Column(name, TYPES[kind.rstrip("!")](), nullable="!" not in kind) for name, kind in pairs]


ADDED = {
    "cell": "weight_decay DOUBLE, momentum DOUBLE, dropout DOUBLE, label_smoothing DOUBLE, train TEXT, framework TEXT",
    "execution": """
        test_balanced_accuracy DOUBLE, test_macro_f1 DOUBLE, test_weighted_f1 DOUBLE, test_top5_accuracy DOUBLE,
        test_auroc DOUBLE, test_average_precision DOUBLE, test_log_loss DOUBLE, test_brier DOUBLE, test_ece DOUBLE,
        test_mcc DOUBLE, test_kappa DOUBLE, test_map DOUBLE, test_subset_accuracy DOUBLE,
        steady_seconds_per_epoch DOUBLE, disturbed_epochs TEXT,
        plain_test_accuracy DOUBLE, plain_test_loss DOUBLE""",
    "attempt": "node TEXT, lease_until_utc TEXT, fence BIGINT",
    "epoch": "elapsed_seconds DOUBLE, monitored DOUBLE",
}


def change_tables() -> None:
    for table, added in ADDED.items():
        for column in columns(added):
            op.add_column(table, column)
    op.add_column("execution", sa.Column("forgotten", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_index("ix_execution_cell_id", "execution")
    op.create_index("ix_execution_cell_id", "execution", ["cell_id", "machine", "execution_id"])
    # SQLite makes the table anew, with the new columns before the content: what stands behind it is slow to reach
    anew = op.get_bind().dialect.name == "sqlite"
    after: Callable[[str], dict[str, Any]] = lambda name: {"insert_after": name} if anew else {}
    with op.batch_alter_table("prediction", recreate="always" if anew else "never") as prediction:
        split = sa.Column("split", sa.Text, nullable=False, server_default="test")
        prediction.add_column(split, **after("execution_id"))
        prediction.add_column(sa.Column("outcomes", sa.Text), **after("sha256"))
        prediction.drop_constraint("pk_prediction", type_="primary")
        prediction.create_primary_key(op.f("pk_prediction"), ["execution_id", "split"])
        prediction.create_check_constraint(op.f("ck_prediction_split"), "split IN ('validation', 'test', 'lockbox')")
    op.create_table(
        "look",
        *columns("""
            look_id INTEGER!, run_id INTEGER, kind TEXT!, campaign TEXT, a TEXT!, b TEXT!, executions TEXT!, n INTEGER,
            difference DOUBLE, low DOUBLE, high DOUBLE, alpha DOUBLE, verdict TEXT!, margin DOUBLE, details TEXT,
            looked_utc TEXT!, machine TEXT"""),
        sa.CheckConstraint("kind IN ('resolve', 'judge', 'lockbox')", name=op.f("ck_look_kind")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_look_run_id")),
        sa.PrimaryKeyConstraint("look_id", name=op.f("pk_look")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_look_run_id"), "look", ["run_id"])
    op.create_table(
        "artifact_folder",
        *columns("host TEXT!, path TEXT!"),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_artifact_folder")),
    )
    create_cluster_tables()


def create_cluster_tables() -> None:
    op.create_table(
        "node",
        *columns("""
            node_id INTEGER!, run_id INTEGER!, name TEXT!, host TEXT, boot_id TEXT, os TEXT, cpu_model TEXT,
            cpu_cores INTEGER, memory_bytes BIGINT, gpu_names TEXT, gpu_driver TEXT, python_version TEXT,
            joined_utc TEXT!, lease_until_utc TEXT!, left_utc TEXT, left_reason TEXT"""),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_node_run_id")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_node_run_id"), "node", ["run_id"])
    here = sa.text("left_utc IS NULL")
    op.create_index("ix_node_member", "node", ["run_id", "name"], unique=True, sqlite_where=here, postgresql_where=here)
    op.create_table(
        "message",
        *columns("message_id INTEGER!, run_id INTEGER!, node_id INTEGER!, direction TEXT!, number INTEGER!, body TEXT!"),
        sa.CheckConstraint("direction IN ('order', 'report')", name=op.f("ck_message_direction")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_message_run_id")),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_message_node_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_message_node_id"), "message", ["node_id"])


def fill_cells() -> None:
    """The settings of the last stage, and the dropout of the model, from the text of each cell."""
    names = ("weight_decay", "momentum", "label_smoothing", "train")
    rows = []
    for cell_id, spec in op.get_bind().execute(sa.text("SELECT cell_id, spec FROM cell")):
        settings = dict.fromkeys((*names, "dropout"))
        try:
            record = json.loads(spec)
            last = record["stages"][-1] if record["stages"] else {}
            dropout = dict(record["architecture"]["parameters"]).get("dropout")
            settings = {**{name: last.get(name) for name in names}, "dropout": dropout}
        except (ValueError, TypeError, KeyError, AttributeError):
            pass  # a damaged cell stays as it is, for `bench db check` to name
        rows.append({"cell": cell_id, "framework": "keras", **settings})
    assignments = ", ".join(f"{name} = :{name}" for name in (*names, "dropout", "framework"))
    update_all(f"UPDATE cell SET {assignments} WHERE cell_id = :cell", rows)


def fill_epochs() -> None:
    op.execute("""
        UPDATE epoch SET elapsed_seconds = summed.elapsed FROM (
            SELECT execution_id, epoch, sum(seconds) OVER (PARTITION BY execution_id ORDER BY epoch) AS elapsed
            FROM epoch
        ) AS summed
        WHERE summed.execution_id = epoch.execution_id AND summed.epoch = epoch.epoch
    """)


def fill_predictions() -> None:
    connection = op.get_bind()
    for execution_id in connection.scalars(sa.text("SELECT execution_id FROM prediction")).all():
        row = {"execution": execution_id}
        (found,) = connection.execute(
            sa.text("SELECT classes, content FROM prediction WHERE execution_id = :execution"), row
        )
        text = outcomes(found.content, found.classes)
        if text is not None:
            connection.execute(
                sa.text("UPDATE prediction SET outcomes = :outcomes WHERE execution_id = :execution"),
                {**row, "outcomes": text},
            )


def outcomes(content: bytes, classes: int) -> str | None:
    """The column `outcomes` of the content of a `predictions.npz`; None when it is damaged."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            indices, labels, predicted = (stored[name].astype(np.int64) for name in ("indices", "labels", "predicted"))
            confidence = stored["probabilities"][np.arange(len(predicted)), predicted].astype(np.float64)
        parts = np.rint(np.clip(np.nan_to_num(confidence), 0, 1) * 10_000).astype(np.int64)
        numbers = ((labels * classes + predicted) * 10_001 + parts).tolist()
    except (OSError, ValueError, TypeError, LookupError, AttributeError, MemoryError, EOFError, RuntimeError,
            zipfile.BadZipFile, zlib.error):  # fmt: skip
        return None
    whole = np.array_equal(indices, np.arange(len(numbers)))
    return json.dumps(numbers if whole else dict(zip(indices.tolist(), numbers, strict=True)), separators=(",", ":"))


def update_all(statement: str, rows: list[dict[str, Any]]) -> None:
    for first in range(0, len(rows), AT_ONCE):
        op.get_bind().execute(sa.text(statement), rows[first : first + AT_ONCE])


VIEWS = (
    """
    CREATE VIEW results AS
    SELECT execution.cell_id, execution.run_id, run.name AS run_name, execution.machine,
           cell.dataset, cell.model, cell.strategy, cell.seed, cell.backend, cell.device, cell.threads, cell.precision,
           execution.status, execution.cause, cell.parent_cell_id, execution.epochs, execution.best_epoch,
           execution.train_accuracy, execution.train_loss, execution.val_accuracy, execution.val_loss,
           execution.test_accuracy, execution.test_loss, execution.parameters, execution.trainable_parameters,
           execution.fit_seconds, execution.total_seconds, execution.images_per_second, execution.peak_rss_bytes,
           CAST(execution.timing_valid AS INTEGER) AS timing_valid, execution.started_utc, execution.finished_utc,
           execution.package_version, execution.git_commit,
           execution.execution_id,
           CASE WHEN execution.execution_id = (
               SELECT newest.execution_id FROM execution AS newest
               WHERE newest.cell_id = execution.cell_id AND newest.machine = execution.machine AND NOT EXISTS (
                   SELECT 1 FROM run AS began WHERE began.run_id = newest.first_run_id
                   AND (began.name = 'reproduce ' || substr(newest.cell_id, 1, 8)
                        OR substr(began.name, 1, 6) = 'retime'))
               ORDER BY newest.execution_id DESC LIMIT 1
           ) THEN 1 ELSE 0 END AS is_latest,
           cell.image_size, cell.color, execution.train_examples, cell.batch_size, cell.optimizer, cell.learning_rate,
           cell.weight_decay, cell.momentum, cell.dropout, cell.label_smoothing, cell.train, cell.framework,
           execution.shared_epochs, execution.shared_seconds, execution.features_seconds,
           execution.features_alone_seconds,
           execution.test_balanced_accuracy, execution.test_macro_f1, execution.test_weighted_f1,
           execution.test_top5_accuracy, execution.test_auroc, execution.test_average_precision,
           execution.test_log_loss, execution.test_brier, execution.test_ece, execution.test_mcc, execution.test_kappa,
           execution.test_map, execution.test_subset_accuracy,
           CAST(execution.forgotten AS INTEGER) AS forgotten,
           (SELECT attempt.node FROM attempt WHERE attempt.execution_id = execution.execution_id
            ORDER BY attempt.number DESC LIMIT 1) AS node,
           execution.digest, execution.plain_test_accuracy, execution.plain_test_loss
    FROM execution
    JOIN cell ON cell.cell_id = execution.cell_id
    JOIN run ON run.run_id = execution.run_id
    """,
    """
    CREATE VIEW history AS
    SELECT execution.cell_id, epoch.run_id, execution.machine, cell.dataset, cell.model, cell.strategy, cell.seed,
           epoch.stage, epoch.epoch, epoch.stage_epoch,
           epoch.train_accuracy, epoch.train_loss, epoch.val_accuracy, epoch.val_loss, epoch.learning_rate,
           epoch.seconds, epoch.images_per_second,
           epoch.input_seconds, epoch.step_seconds, epoch.validation_seconds, epoch.checkpoint_seconds,
           epoch.execution_id, epoch.elapsed_seconds, epoch.monitored
    FROM epoch
    JOIN execution ON execution.execution_id = epoch.execution_id
    JOIN cell ON cell.cell_id = execution.cell_id
    """,
    """
    CREATE VIEW looks AS
    SELECT look_id, run_id, campaign, a, b, n, difference, low, high, alpha, verdict, looked_utc FROM look
    """,
)

_DECODED = """
    CREATE VIEW predictions AS
    SELECT execution.execution_id, execution.cell_id, execution.machine, cell.dataset, cell.model, cell.strategy,
           cell.seed, prediction.split, {image} AS image,
           {number} / 10001 / prediction.classes AS label, {number} / 10001 % prediction.classes AS predicted,
           {number} % 10001 / {scale} AS confidence
    FROM prediction
    JOIN execution ON execution.execution_id = prediction.execution_id
    JOIN cell ON cell.cell_id = execution.cell_id
    {unnested}
"""

PREDICTIONS = {
    # the key of an element is its place in a list, and the name of a member of an object
    "sqlite": _DECODED.format(
        image="CAST(outcome.key AS INTEGER)",
        number="outcome.value",
        scale="10000.0",
        unnested="JOIN json_each(prediction.outcomes) AS outcome",
    ),
    "postgresql": _DECODED.format(
        image="outcome.image",
        number="outcome.number",
        scale="10000.0::double precision",
        unnested="""
    CROSS JOIN LATERAL (
        SELECT element.place - 1 AS image, element.value::bigint AS number
        FROM json_array_elements_text(CASE WHEN prediction.outcomes LIKE '[%' THEN prediction.outcomes::json END)
             WITH ORDINALITY AS element(value, place)
        UNION ALL
        SELECT member.key::bigint, member.value::bigint
        FROM json_each_text(CASE WHEN prediction.outcomes LIKE '{%' THEN prediction.outcomes::json END) AS member
    ) AS outcome""",
    ),
}

# What a final execution can still be given: metrics that are computed from its predictions, and whether it is forgotten.
FINAL_COLUMNS = """
    execution_id, cell_id, machine, first_run_id, run_id, status, cause, detail, epochs, best_epoch, train_accuracy,
    train_loss, val_accuracy, val_loss, test_accuracy, test_loss, tta_accuracy, tta_loss, parameters,
    trainable_parameters, train_examples, validation_examples, test_examples, data_fingerprint, weights_sha256,
    compute_dtype, setup_seconds, first_epoch_seconds, fit_seconds, features, features_seconds, features_alone_seconds,
    shared_epochs, shared_seconds, evaluate_seconds, total_seconds, images_per_second, peak_rss_bytes,
    peak_device_bytes, timing_valid, resumed, started_utc, finished_utc, package_version, git_commit, digest
"""

EXECUTION_IS_FINAL = {
    "sqlite": f"""
        CREATE TRIGGER execution_is_final BEFORE UPDATE OF {FINAL_COLUMNS} ON execution
        WHEN OLD.status IN ('completed', 'diverged')
        BEGIN SELECT RAISE(ABORT, 'a final execution does not change'); END
    """,
    "postgresql": f"""
        CREATE TRIGGER execution_is_final BEFORE UPDATE OF {FINAL_COLUMNS} ON execution FOR EACH ROW
        WHEN (OLD.status IN ('completed', 'diverged')) EXECUTE FUNCTION refuse_final_execution()
    """,
}
