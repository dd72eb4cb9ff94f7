"""Users' own metrics of labels and probabilities: what reports show of test images, and what training monitors.

def g_mean(labels, probabilities):        # integers [n], numbers 0..1 [n, classes]
...
return 0.5

g_mean.higher_is_better = False           # True where it is not written
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Cell
from benchmark.training.process.plugin_code import PluginError, PluginFunction, naming_plugin_line, plugin_function


@dataclass(frozen=True, slots=True)
class PluginMetric:
    """A user's metric.

    Attributes:
        name: Without `val_` or `test_`.
        function: Of labels and probabilities.
        file: It is of; None for a package's.
        place: Of its definition, for messages.
    """

    name: str
    function: PluginFunction
    file: str | None
    place: str

    @property
    def higher_is_better(self) -> bool:
        return bool(getattr(self.function, "higher_is_better", True))

    def value(self, labels: NDArray[Any], probabilities: NDArray[Any]) -> float | None:
        """The metric of labels [n] and probabilities [n, classes]; None where it is not finite, and so not defined.

        Raises:
            PluginError: It raises, or returns no number.
        """
        with naming_plugin_line(self.file, self.place):
            value = self.function(labels.copy(), probabilities.astype(np.float64))
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            raise PluginError(
                f"{self.place}: expected {self.name} to return a number, found {type(value).__name__}; return float(…)"
            )
        return float(value) if math.isfinite(value) else None


def load_metric(name: str, code: str, file: str | None, *, allowed: bool) -> PluginMetric:
    """A user's metric; arguments and errors as of `plugin_function`."""
    function, place = plugin_function(name, "metrics", code, file, allowed=allowed)
    return PluginMetric(name, function, file, place)


def monitored_metrics(cell: Cell, *, allowed: bool) -> dict[str, PluginMetric]:
    """The user's own metrics that anything in a cell monitors, as `val_g_mean`.

    Raises:
        PluginError: One may not run, or cannot be loaded.

    Side effects:
        Runs their files, in this process.
    """
    files = dict(cell.metric_files)
    return {f"val_{name}": load_metric(name, code, files[name], allowed=allowed) for name, code in cell.metric_codes}
