"""The audited fields: what must agree, or be named, before two results are compared; one list for all comparing commands."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Effect: TypeAlias = Literal["prevents", "marks", "marks timings"]


class AuditedField(NamedTuple):
    """A column of results or runs.

    Attributes:
        name: The column.
        area: The heading under which `bench reproduce` shows it.
        effect: What a difference does to a comparison: it `prevents` a verdict (`not comparable`), or it marks the row.
        of_run: Whether table `run` holds it, for all executions of the run.
    """

    name: str
    area: str
    effect: Effect = "marks"
    of_run: bool = False


AUDITED = (
    AuditedField("package_version", "code", of_run=True),
    AuditedField("git_commit", "code", of_run=True),
    AuditedField("git_dirty", "code", of_run=True),
    AuditedField("python_version", "versions", of_run=True),
    AuditedField("backend_version", "versions", of_run=True),
    AuditedField("keras_version", "versions", of_run=True),
    AuditedField("numpy_version", "versions", of_run=True),
    AuditedField("os", "hardware", of_run=True),
    AuditedField("cpu_model", "hardware", of_run=True),
    AuditedField("cpu_cores", "hardware", of_run=True),
    AuditedField("gpu_names", "hardware", of_run=True),
    AuditedField("gpu_driver", "hardware", of_run=True),
    AuditedField("libraries", "hardware"),
    AuditedField("data_fingerprint", "data", "prevents"),
    AuditedField("test_examples", "data", "prevents"),
    AuditedField("weights_sha256", "data"),
    AuditedField("train_examples", "data"),
    AuditedField("validation_examples", "data"),
    AuditedField("threads", "settings"),
    AuditedField("device_name", "settings"),
    AuditedField("compute_dtype", "settings"),
    AuditedField("isolation", "settings"),
    AuditedField("resumed", "timing", "marks timings"),
    AuditedField("neighbours", "timing", "marks timings"),
)
"""All of them. The labels of stored predictions are audited where predictions are read."""
