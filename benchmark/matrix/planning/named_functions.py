"""Functions of the user's own that settings name (losses, callbacks, metrics): where each comes from, and what is wrong with its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.cell import Parameters
from benchmark.matrix.planning.contradictions import Contradiction
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.plugins import Plugins, PluginSource
from benchmark.matrix.recipes.callback_list import callback_arguments
from benchmark.matrix.recipes.loss import is_plugin_loss, loss_parameters
from benchmark.prediction_metrics import METRICS, VAL


class NamedFunctions:
    """Finds functions of plug-ins by their names in settings, each once for a matrix."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._known: dict[tuple[str, str], tuple[PluginSource | None, tuple[Contradiction, ...]]] = {}

    def of_loss(self, loss: str | Parameters) -> tuple[PluginSource | None, tuple[Contradiction, ...]]:
        """Where the user's function of a loss comes from, and what is wrong with its name; nothing for losses of bench."""
        kind, _ = loss_parameters(loss)
        return self._source(kind, "losses", "loss") if is_plugin_loss(kind) else (None, ())

    def of_callback(self, callback: str | Parameters) -> tuple[PluginSource | None, tuple[Contradiction, ...]]:
        """Where a callback comes from, and what is wrong with its name."""
        return self._source(PLUGIN + callback_arguments(callback)[0], "callbacks", "callbacks")

    def of_metrics(self, stages: Sequence[Mapping[str, Any]]) -> dict[str, PluginSource]:
        """Where the user's own metrics come from that anything in a cell monitors, by name without `val_`."""
        rules = (stage[key] for stage in stages for key in ("early_stopping", "reduce_learning_rate"))
        monitors = [stages[0]["monitor"], *(rule.monitor for rule in rules if rule)]
        own = sorted({monitor.removeprefix(VAL) for monitor in monitors} - {*METRICS})
        return {name: source for name in own if (source := self._source(PLUGIN + name, "metrics", "monitor")[0])}

    def _source(self, named: str, kind: str, setting: str) -> tuple[PluginSource | None, tuple[Contradiction, ...]]:
        """Where a plug-in comes from that a setting names, and what is wrong with its name."""
        if (named, kind) not in self._known:
            problems = Problems()
            source = self._plugins.source_of(named, kind, (setting,), problems)
            wrong = [Contradiction(setting, each.expected, named, each.hint) for each in problems.located({})]
            self._known[named, kind] = source, tuple(wrong)
        return self._known[named, kind]


def codes_of(sources: Mapping[str, PluginSource]) -> Parameters:
    """What identifies the code of functions, by their names."""
    return tuple((name, source.code) for name, source in sorted(sources.items()))


def files_of(sources: Mapping[str, PluginSource]) -> Parameters:
    """The files of functions, by their names."""
    return tuple((name, source.file) for name, source in sorted(sources.items()))
