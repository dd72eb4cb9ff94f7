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


def create_tables() -> None:
    op.create_table(
        "run",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("matrix_name", sa.Text()),
        sa.Column("matrix_path", sa.Text()),
        sa.Column("matrix_text", sa.Text()),
        sa.Column("command", sa.Text()),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Integer()),
        sa.Column("started_utc", sa.Text(), nullable=False),
        sa.Column("finished_utc", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("package_version", sa.Text()),
        sa.Column("git_commit", sa.Text()),
        sa.Column("git_dirty", sa.Boolean()),
        sa.Column("python_version", sa.Text()),
        sa.Column("backend_version", sa.Text()),
        sa.Column("keras_version", sa.Text()),
        sa.Column("numpy_version", sa.Text()),
        sa.Column("os", sa.Text()),
        sa.Column("cpu_model", sa.Text()),
        sa.Column("cpu_cores", sa.Integer()),
        sa.Column("memory_bytes", sa.BigInteger()),
        sa.Column("gpu_names", sa.Text()),
        sa.Column("gpu_driver", sa.Text()),
        sa.Column("pid", sa.Integer()),
        sa.Column("boot_id", sa.Text()),
        sa.Column("process_start_ticks", sa.BigInteger()),
        sa.Column("forecast_seconds", sa.Double()),
        sa.CheckConstraint(
            "state IN ('running', 'completed', 'interrupted', 'failed', 'abandoned')", name=op.f("ck_run_state")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "cell",
        sa.Column("cell_id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("strategy_label", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("device_kind", sa.Text(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("image_size", sa.Integer(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        sa.Column("batch_size", sa.Integer()),
        sa.Column("epochs_planned", sa.Integer(), nullable=False),
        sa.Column("learning_rate", sa.Double()),
        sa.Column("optimizer", sa.Text()),
        sa.Column("parent_cell_id", sa.Text()),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("first_run_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["first_run_id"], ["run.run_id"], name=op.f("fk_cell_first_run_id")),
        sa.PrimaryKeyConstraint("cell_id", name=op.f("pk_cell")),
    )
    op.create_table(
        "execution",
        sa.Column("execution_id", sa.Integer(), nullable=False),
        sa.Column("cell_id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("first_run_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("epochs", sa.Integer()),
        sa.Column("best_epoch", sa.Integer()),
        sa.Column("train_accuracy", sa.Double()),
        sa.Column("train_loss", sa.Double()),
        sa.Column("val_accuracy", sa.Double()),
        sa.Column("val_loss", sa.Double()),
        sa.Column("test_accuracy", sa.Double()),
        sa.Column("test_loss", sa.Double()),
        sa.Column("tta_accuracy", sa.Double()),
        sa.Column("tta_loss", sa.Double()),
        sa.Column("parameters", sa.BigInteger()),
        sa.Column("trainable_parameters", sa.BigInteger()),
        sa.Column("train_examples", sa.Integer()),
        sa.Column("validation_examples", sa.Integer()),
        sa.Column("test_examples", sa.Integer()),
        sa.Column("data_fingerprint", sa.Text()),
        sa.Column("weights_sha256", sa.Text()),
        sa.Column("compute_dtype", sa.Text()),
        sa.Column("setup_seconds", sa.Double()),
        sa.Column("first_epoch_seconds", sa.Double()),
        sa.Column("fit_seconds", sa.Double()),
        sa.Column("features", sa.Text()),
        sa.Column("features_seconds", sa.Double()),
        sa.Column("features_alone_seconds", sa.Double()),
        sa.Column("shared_epochs", sa.Integer()),
        sa.Column("shared_seconds", sa.Double()),
        sa.Column("evaluate_seconds", sa.Double()),
        sa.Column("total_seconds", sa.Double()),
        sa.Column("images_per_second", sa.Double()),
        sa.Column("peak_rss_bytes", sa.BigInteger()),
        sa.Column("peak_device_bytes", sa.BigInteger()),
        sa.Column("timing_valid", sa.Boolean(), nullable=False),
        sa.Column("resumed", sa.Boolean(), nullable=False),
        sa.Column("started_utc", sa.Text()),
        sa.Column("finished_utc", sa.Text()),
        sa.Column("package_version", sa.Text()),
        sa.Column("git_commit", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("nan_metrics", sa.Text()),
        sa.CheckConstraint(
            "cause IS NULL OR cause IN ('failed', 'diverged', 'timeout', 'oom', 'crashed', 'data_error', 'device_lost', 'interrupted', 'abandoned', 'parent', 'protocol')",
            name=op.f("ck_execution_cause"),
        ),
        sa.CheckConstraint("status <> 'completed' OR cause IS NULL", name=op.f("ck_execution_completed_without_cause")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'diverged', 'blocked', 'skipped', 'interrupted')",
            name=op.f("ck_execution_status"),
        ),
        sa.ForeignKeyConstraint(["cell_id"], ["cell.cell_id"], name=op.f("fk_execution_cell_id")),
        sa.ForeignKeyConstraint(["first_run_id"], ["run.run_id"], name=op.f("fk_execution_first_run_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_execution_run_id")),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_execution")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_execution_cell_id", "execution", ["cell_id", "machine"], unique=False)
    op.create_index(op.f("ix_execution_run_id"), "execution", ["run_id"], unique=False)
    op.create_table(
        "run_cell",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cell_id", sa.Text()),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.CheckConstraint("outcome IN ('planned', 'reused', 'left_out')", name=op.f("ck_run_cell_outcome")),
        sa.ForeignKeyConstraint(["cell_id"], ["cell.cell_id"], name=op.f("fk_run_cell_cell_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_run_cell_run_id")),
        sa.PrimaryKeyConstraint("run_id", "position", name=op.f("pk_run_cell")),
    )
    op.create_index(op.f("ix_run_cell_cell_id"), "run_cell", ["cell_id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("execution_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text()),
        sa.Column("isolation", sa.Text()),
        sa.Column("guardian_pid", sa.Integer()),
        sa.Column("worker_pid", sa.Integer()),
        sa.Column("worker_start_ticks", sa.BigInteger()),
        sa.Column("boot_id", sa.Text()),
        sa.Column("cores", sa.Text()),
        sa.Column("gpu", sa.Integer()),
        sa.Column("neighbours", sa.Integer()),
        sa.Column("backend_version", sa.Text()),
        sa.Column("keras_version", sa.Text()),
        sa.Column("threads", sa.Integer()),
        sa.Column("device_name", sa.Text()),
        sa.Column("resumed_from_epoch", sa.Integer()),
        sa.Column("last_epoch", sa.Integer()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("signal", sa.Integer()),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("log_tail", sa.Text()),
        sa.Column("user_seconds", sa.Double()),
        sa.Column("system_seconds", sa.Double()),
        sa.Column("peak_rss_bytes", sa.BigInteger()),
        sa.Column("total_seconds", sa.Double()),
        sa.Column("disturbed", sa.Boolean()),
        sa.Column("started_utc", sa.Text(), nullable=False),
        sa.Column("finished_utc", sa.Text()),
        sa.CheckConstraint(
            "state IN ('running', 'completed', 'failed', 'diverged', 'timeout', 'oom', 'crashed', 'data_error', 'device_lost', 'interrupted', 'abandoned', 'protocol')",
            name=op.f("ck_attempt_state"),
        ),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.execution_id"], name=op.f("fk_attempt_execution_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_attempt_run_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("execution_id", "number", name=op.f("uq_attempt_execution_id")),
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
    op.create_table(
        "artifact",
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("execution_id", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.attempt_id"], name=op.f("fk_artifact_attempt_id")),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.execution_id"], name=op.f("fk_artifact_execution_id")),
        sa.PrimaryKeyConstraint("artifact_id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("attempt_id", "path", name=op.f("uq_artifact_attempt_id")),
    )
    op.create_index(op.f("ix_artifact_execution_id"), "artifact", ["execution_id"], unique=False)
    op.create_table(
        "epoch",
        sa.Column("execution_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_epoch", sa.Integer(), nullable=False),
        sa.Column("train_accuracy", sa.Double()),
        sa.Column("train_loss", sa.Double()),
        sa.Column("val_accuracy", sa.Double()),
        sa.Column("val_loss", sa.Double()),
        sa.Column("learning_rate", sa.Double()),
        sa.Column("seconds", sa.Double()),
        sa.Column("input_seconds", sa.Double()),
        sa.Column("step_seconds", sa.Double()),
        sa.Column("validation_seconds", sa.Double()),
        sa.Column("checkpoint_seconds", sa.Double()),
        sa.Column("images_per_second", sa.Double()),
        sa.Column("traced", sa.Boolean(), nullable=False),
        sa.Column("improved", sa.Boolean(), nullable=False),
        sa.Column("nan_metrics", sa.Text()),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.attempt_id"], name=op.f("fk_epoch_attempt_id")),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.execution_id"], name=op.f("fk_epoch_execution_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_epoch_run_id")),
        sa.PrimaryKeyConstraint("execution_id", "epoch", name=op.f("pk_epoch")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prediction",
        sa.Column("execution_id", sa.Integer(), nullable=False),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("classes", sa.Integer(), nullable=False),
        sa.Column("class_names", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.execution_id"], name=op.f("fk_prediction_execution_id")),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_prediction")),
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
