"""How a matrix writes what waits for a monitored metric: early stopping, and the reduction of the learning rate.

`training/callbacks.py` does both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import EarlyStopping, ReduceLearningRate
from benchmark.matrix.problems import INVALID, KeyPath, Problems, close_hint
from benchmark.matrix.values import Integer, Kind, Number, is_integer, read_table
from benchmark.prediction_metrics import METRICS, VAL


@dataclass(frozen=True)
class Monitor:
    """`val_` and the name of a metric, of bench or of a file of `[plugins] metrics`."""

    expected: str = "val_ and a metric, such as val_accuracy, val_loss or val_macro_f1, or one of [plugins] metrics"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        names = [f"{VAL}{name}" for name in (*METRICS, *sorted(problems.own_metrics or ()))]
        is_unseen = problems.own_metrics is None and isinstance(value, str) and value.removeprefix(VAL).isidentifier()
        if isinstance(value, str) and (value in names or (is_unseen and value.startswith(VAL))):
            return value
        return problems.add(path, self.expected, value, close_hint(value, names) or f"metrics are {', '.join(names)}")


MONITOR = Monitor()
PATIENCE = Integer(0, 1_000_000)


@dataclass(frozen=True)
class Patience:
    """false, a patience in epochs, or a table with `patience` and other fields, each with a default."""

    make: type[EarlyStopping | ReduceLearningRate]
    fields: tuple[tuple[str, Kind], ...]
    defaults: tuple[tuple[str, Any], ...]

    @property
    def expected(self) -> str:
        return f"false, a patience in epochs (integer ≥ 0), or a table of {', '.join(dict(self.fields))}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False:
            return None
        if is_integer(value) and 0 <= value <= PATIENCE.maximum:
            value = {"patience": value}
        fields = read_table(value, path, problems, self.expected, dict(self.fields), needed=("patience",))
        return fields if fields is INVALID else self.make(**{**dict(self.defaults), **fields})


EARLY_STOPPING = Patience(
    EarlyStopping,
    (("monitor", MONITOR), ("patience", PATIENCE), ("min_delta", Number(0))),
    (("monitor", "val_loss"), ("min_delta", 0.0)),
)
REDUCE_LEARNING_RATE = Patience(
    ReduceLearningRate,
    (
        ("monitor", MONITOR),
        ("factor", Number(0, 1, above=True, below=True)),
        ("patience", PATIENCE),
        ("min_learning_rate", Number(0)),
    ),
    (("monitor", "val_loss"), ("factor", 0.5), ("min_learning_rate", 0.0)),
)
