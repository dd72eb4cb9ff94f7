"""The first schema: runs, cells, executions, attempts, epochs, artifacts, predictions, and the views `results` and `history`.

A migration never changes once it was released, and imports nothing of the program: what it builds stays what it was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_tables()
    for statement in VIEWS:
        op.execute(statement)
    for statement in TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


TYPES = {
    "INTEGER": sa.Integer,
    "BIGINT": sa.BigInteger,
    "TEXT": sa.Text,
    "DOUBLE": sa.Double,
    "BOOLEAN": sa.Boolean,
    "BLOB": sa.LargeBinary,
}


def create_table(
    table: str,
    columns: str,
    *,
    key: str,
    refers: str = "",
    unique: str = "",
    checks: dict[str, str] | None = None,
    **options: bool,
) -> None:
    """Creates a table.

    Args:
        table: Its name.
        columns: Names and types, separated by commas; `!` after the type means NOT NULL.
        key: Columns of the primary key, separated by spaces.
        refers: Columns that are foreign keys: `run_id` and `first_run_id` refer to `run.run_id`.
        unique: Columns that are unique together.
        checks: Conditions by name.
        options: Of SQLite.
    """
    pairs = [column.split() for column in columns.split(",")]
    targets = [(name, name.removeprefix("first_")) for name in refers.split()]
    op.create_table(
        table,
        *(sa.Column(name, TYPES[kind.rstrip("!")](), nullable="!" not in kind) for name, kind in pairs),
        *(sa.CheckConstraint(text, name=op.f(f"ck_{table}_{name}")) for name, text in (checks or {}).items()),
        *(
            sa.ForeignKeyConstraint([name], [f"{target.removesuffix('_id')}.{target}"], name=op.f(f"fk_{table}_{name}"))
            for name, target in targets
        ),
        sa.PrimaryKeyConstraint(*key.split(), name=op.f(f"pk_{table}")),
        *([sa.UniqueConstraint(*unique.split(), name=op.f(f"uq_{table}_{unique.partition(' ')[0]}"))] if unique else []),
        **options,
    )


def create_tables() -> None:
    create_table(
        "run",
        """
        run_id INTEGER!, name TEXT, machine TEXT!, matrix_name TEXT, matrix_path TEXT, matrix_text TEXT, command TEXT,
        executor TEXT!, jobs INTEGER, started_utc TEXT!, finished_utc TEXT, state TEXT!, exit_code INTEGER,
        package_version TEXT, git_commit TEXT, git_dirty BOOLEAN, python_version TEXT, backend_version TEXT,
        keras_version TEXT, numpy_version TEXT, os TEXT, cpu_model TEXT, cpu_cores INTEGER, memory_bytes BIGINT,
        gpu_names TEXT, gpu_driver TEXT, pid INTEGER, boot_id TEXT, process_start_ticks BIGINT,
        forecast_seconds DOUBLE""",
        key="run_id",
        checks={"state": "state IN ('running', 'completed', 'interrupted', 'failed', 'abandoned')"},
        sqlite_autoincrement=True,
    )
    create_table(
        "cell",
        """
        cell_id TEXT!, dataset TEXT!, model TEXT!, strategy TEXT!, strategy_label TEXT!, seed BIGINT!, backend TEXT!,
        device TEXT!, device_kind TEXT!, threads INTEGER!, precision TEXT!, image_size INTEGER!, color TEXT!,
        batch_size INTEGER, epochs_planned INTEGER!, learning_rate DOUBLE, optimizer TEXT, parent_cell_id TEXT,
        spec TEXT!, first_run_id INTEGER!""",
        key="cell_id",
        refers="first_run_id",
    )
    create_table(
        "execution",
        """
        execution_id INTEGER!, cell_id TEXT!, machine TEXT!, first_run_id INTEGER!, run_id INTEGER!, status TEXT!,
        cause TEXT, detail TEXT, epochs INTEGER, best_epoch INTEGER, train_accuracy DOUBLE, train_loss DOUBLE,
        val_accuracy DOUBLE, val_loss DOUBLE, test_accuracy DOUBLE, test_loss DOUBLE, tta_accuracy DOUBLE,
        tta_loss DOUBLE, parameters BIGINT, trainable_parameters BIGINT, train_examples INTEGER,
        validation_examples INTEGER, test_examples INTEGER, data_fingerprint TEXT, weights_sha256 TEXT,
        compute_dtype TEXT, setup_seconds DOUBLE, first_epoch_seconds DOUBLE, fit_seconds DOUBLE, features TEXT,
        features_seconds DOUBLE, features_alone_seconds DOUBLE, shared_epochs INTEGER, shared_seconds DOUBLE,
        evaluate_seconds DOUBLE, total_seconds DOUBLE, images_per_second DOUBLE, peak_rss_bytes BIGINT,
        peak_device_bytes BIGINT, timing_valid BOOLEAN!, resumed BOOLEAN!, started_utc TEXT, finished_utc TEXT,
        package_version TEXT, git_commit TEXT, digest TEXT, nan_metrics TEXT""",
        key="execution_id",
        refers="cell_id first_run_id run_id",
        checks={
            "cause": "cause IS NULL OR cause IN ('failed', 'diverged', 'timeout', 'oom', 'crashed', 'data_error', 'device_lost', 'interrupted', 'abandoned', 'parent', 'protocol')",
            "completed_without_cause": "status <> 'completed' OR cause IS NULL",
            "status": "status IN ('pending', 'running', 'completed', 'failed', 'diverged', 'blocked', 'skipped', 'interrupted')",
        },
        sqlite_autoincrement=True,
    )
    op.create_index("ix_execution_cell_id", "execution", ["cell_id", "machine"], unique=False)
    op.create_index(op.f("ix_execution_run_id"), "execution", ["run_id"], unique=False)
    create_table(
        "run_cell",
        """
        run_id INTEGER!, position INTEGER!, cell_id TEXT, dataset TEXT!, model TEXT!, strategy TEXT!, seed BIGINT,
        outcome TEXT!, reason TEXT""",
        key="run_id position",
        refers="cell_id run_id",
        checks={"outcome": "outcome IN ('planned', 'reused', 'left_out')"},
    )
    op.create_index(op.f("ix_run_cell_cell_id"), "run_cell", ["cell_id"], unique=False)
    create_table(
        "attempt",
        """
        attempt_id INTEGER!, execution_id INTEGER!, run_id INTEGER!, number INTEGER!, state TEXT!, detail TEXT,
        isolation TEXT, guardian_pid INTEGER, worker_pid INTEGER, worker_start_ticks BIGINT, boot_id TEXT, cores TEXT,
        gpu INTEGER, neighbours INTEGER, backend_version TEXT, keras_version TEXT, threads INTEGER, device_name TEXT,
        resumed_from_epoch INTEGER, last_epoch INTEGER, exit_code INTEGER, signal INTEGER, error_type TEXT,
        error_message TEXT, traceback TEXT, log_tail TEXT, user_seconds DOUBLE, system_seconds DOUBLE,
        peak_rss_bytes BIGINT, total_seconds DOUBLE, disturbed BOOLEAN, started_utc TEXT!, finished_utc TEXT""",
        key="attempt_id",
        refers="execution_id run_id",
        unique="execution_id number",
        checks={
            "state": "state IN ('running', 'completed', 'failed', 'diverged', 'timeout', 'oom', 'crashed', 'data_error', 'device_lost', 'interrupted', 'abandoned', 'protocol')"
        },
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_attempt_run_id"), "attempt", ["run_id"], unique=False)
    op.create_index(
        "ix_attempt_running",
        "attempt",
        ["execution_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    create_table(
        "artifact",
        """
        artifact_id INTEGER!, execution_id INTEGER!, attempt_id INTEGER!, kind TEXT!, path TEXT!, sha256 TEXT!,
        size_bytes BIGINT!""",
        key="artifact_id",
        refers="attempt_id execution_id",
        unique="attempt_id path",
    )
    op.create_index(op.f("ix_artifact_execution_id"), "artifact", ["execution_id"], unique=False)
    create_table(
        "epoch",
        """
        execution_id INTEGER!, epoch INTEGER!, attempt_id INTEGER!, run_id INTEGER!, stage INTEGER!,
        stage_epoch INTEGER!, train_accuracy DOUBLE, train_loss DOUBLE, val_accuracy DOUBLE, val_loss DOUBLE,
        learning_rate DOUBLE, seconds DOUBLE, input_seconds DOUBLE, step_seconds DOUBLE, validation_seconds DOUBLE,
        checkpoint_seconds DOUBLE, images_per_second DOUBLE, traced BOOLEAN!, improved BOOLEAN!, nan_metrics TEXT""",
        key="execution_id epoch",
        refers="attempt_id execution_id run_id",
        sqlite_with_rowid=False,
    )
    create_table(
        "prediction",
        """
        execution_id INTEGER!, examples INTEGER!, classes INTEGER!, class_names TEXT!, sha256 TEXT!, content BLOB!""",
        key="execution_id",
        refers="execution_id",
    )


VIEWS = (
    """
    CREATE VIEW results AS
    SELECT execution.cell_id, execution.run_id, run.name AS run_name, execution.machine,
           cell.dataset, cell.model, cell.strategy, cell.seed, cell.backend, cell.device, cell.threads, cell.precision,
           execution.status, execution.cause, cell.parent_cell_id, execution.epochs, execution.best_epoch,
           execution.train_accuracy, execution.train_loss, execution.val_accuracy, execution.val_loss,
           execution.test_accuracy, execution.test_loss, execution.parameters, execution.trainable_parameters,
           execution.fit_seconds, execution.total_seconds, execution.images_per_second, execution.peak_rss_bytes,
           execution.timing_valid, execution.started_utc, execution.finished_utc,
           execution.package_version, execution.git_commit
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
           epoch.input_seconds, epoch.step_seconds, epoch.validation_seconds, epoch.checkpoint_seconds
    FROM epoch
    JOIN execution ON execution.execution_id = epoch.execution_id
    JOIN cell ON cell.cell_id = execution.cell_id
    """,
)

# What has come to an end stays as it is: a late write of a replaced worker, or a slip of ours, fails here.
TRIGGERS = {
    "sqlite": (
        """
        CREATE TRIGGER execution_is_final BEFORE UPDATE ON execution
        WHEN OLD.status IN ('completed', 'diverged')
        BEGIN SELECT RAISE(ABORT, 'a final execution does not change'); END
        """,
        """
        CREATE TRIGGER attempt_is_final BEFORE UPDATE ON attempt
        WHEN OLD.state <> 'running'
        BEGIN SELECT RAISE(ABORT, 'a final attempt does not change'); END
        """,
        """
        CREATE TRIGGER epoch_is_final_insert BEFORE INSERT ON epoch
        WHEN (SELECT status FROM execution WHERE execution_id = NEW.execution_id) IN ('completed', 'diverged')
        BEGIN SELECT RAISE(ABORT, 'the epochs of a final execution do not change'); END
        """,
        """
        CREATE TRIGGER epoch_is_final_update BEFORE UPDATE ON epoch
        WHEN (SELECT status FROM execution WHERE execution_id = OLD.execution_id) IN ('completed', 'diverged')
        BEGIN SELECT RAISE(ABORT, 'the epochs of a final execution do not change'); END
        """,
        """
        CREATE TRIGGER prediction_is_final_insert BEFORE INSERT ON prediction
        WHEN (SELECT status FROM execution WHERE execution_id = NEW.execution_id) IN ('completed', 'diverged')
        BEGIN SELECT RAISE(ABORT, 'the predictions of a final execution do not change'); END
        """,
        """
        CREATE TRIGGER prediction_is_final_update BEFORE UPDATE ON prediction
        BEGIN SELECT RAISE(ABORT, 'predictions do not change'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION refuse_final_execution() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a final execution does not change' USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """,
        """
        CREATE TRIGGER execution_is_final BEFORE UPDATE ON execution FOR EACH ROW
        WHEN (OLD.status IN ('completed', 'diverged')) EXECUTE FUNCTION refuse_final_execution()
        """,
        """
        CREATE FUNCTION refuse_final_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a final attempt does not change' USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """,
        """
        CREATE TRIGGER attempt_is_final BEFORE UPDATE ON attempt FOR EACH ROW
        WHEN (OLD.state <> 'running') EXECUTE FUNCTION refuse_final_attempt()
        """,
        """
        CREATE FUNCTION refuse_final_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT status FROM execution WHERE execution_id = NEW.execution_id) IN ('completed', 'diverged') THEN
                RAISE EXCEPTION 'the epochs of a final execution do not change'
                USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """,
        """
        CREATE TRIGGER epoch_is_final BEFORE INSERT OR UPDATE ON epoch FOR EACH ROW
        EXECUTE FUNCTION refuse_final_epoch()
        """,
        """
        CREATE FUNCTION refuse_final_prediction() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT status FROM execution WHERE execution_id = NEW.execution_id) IN ('completed', 'diverged') THEN
                RAISE EXCEPTION 'the predictions of a final execution do not change'
                USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """,
        """
        CREATE TRIGGER prediction_is_final BEFORE INSERT OR UPDATE ON prediction FOR EACH ROW
        EXECUTE FUNCTION refuse_final_prediction()
        """,
    ),
}
