"""Resolves all settings of a cell, key by key, by precedence.

From low to high: defaults of the settings, built-in definitions (dataset < model < strategy), `[defaults]`, the user's
definitions (in the same order), axis values, overrides in their order, `--set`. Cells that differ only in seeds share
one `CellTemplate`; templates share their parts and the canonical JSON of these.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmark.catalog.backends import backend_for, command_backend
from benchmark.catalog.facts import KERAS, LIGHTNING, SOURCES
from benchmark.matrix.cell import STREAMS, Architecture, Data, Stage
from benchmark.matrix.identity import canonical_json, identity_value, part_texts
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.planning.cell_template import CellTemplate
from benchmark.matrix.planning.contradictions import Contradiction, contradictions, decided_twice
from benchmark.matrix.planning.feasibility import impossible
from benchmark.matrix.planning.named_functions import NamedFunctions, codes_of, files_of
from benchmark.matrix.problems import KeyPath
from benchmark.matrix.reading.definitions import Library, MergedDefinition
from benchmark.matrix.reading.plugins import Plugins, PluginSource
from benchmark.matrix.reading.specification import Override, Specification
from benchmark.matrix.reading.user_files import (
    CODE,
    FILE,
    FOLDER,
    FRAMEWORK,
    IMAGE_FACTS,
    LOCATION,
    ImageFacts,
    declared_classes,
    is_multi_label,
    parameters_of,
)
from benchmark.matrix.reading.validation_split import SPLITS_OFF
from benchmark.matrix.reading.weight_origins import NO_WEIGHTS, Origin
from benchmark.matrix.recipes.callback_list import callback_arguments
from benchmark.matrix.recipes.loss import BINARY
from benchmark.matrix.recipes.optimizers import LEFT_TO_MODULE, with_normal_optimizer
from benchmark.matrix.script_command import files_digest, named_files
from benchmark.matrix.selection import Rule
from benchmark.matrix.settings import CELL_SETTINGS, DATA_SETTINGS, DEFAULTS, SEEDS, STAGE_SETTINGS, common_or_list
from benchmark.matrix.speed_key import ASSUMED_THREADS, AUTO, speed_key_of

_KEPT_TEMPLATES = 20_000
"""The cache of templates is emptied at this size, so that memory stays bounded however many axes there are."""

_OF_ALL_SEEDS = sorted(CELL_SETTINGS - {*SEEDS, "keep"})
"""Settings of the whole cell that are always set; `keep` is left out, because its default depends on the data."""
_OF_SOURCE = (
    "classes",
    "test_fraction",
    "class_names",
    "version",
    "background",
    "labels_file",
    "image_column",
    "label_column",
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BaseSettings:
    """Everything that dataset, model and strategy determine together, before axis values.

    Attributes:
        stages: For each stage all settings, also those of the whole cell.
        excludes: The exclude rules that may match these names, reduced to their other terms, with their positions in
            the file.
        overrides: The overrides that may match these names, likewise.
        written: The settings that the user's definitions write for these cells; those of `[defaults]` are for all cells.
    """

    dataset: MergedDefinition
    model: MergedDefinition
    strategy: MergedDefinition
    origin: Origin
    stages: tuple[Mapping[str, Any], ...]
    excludes: tuple[tuple[int, Rule], ...]
    overrides: tuple[tuple[int, Override], ...]
    written: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, str, str]:
        return self.dataset.name, self.model.name, self.strategy.name

    @property
    def label(self) -> str:
        return str(self.strategy.own.get("label", self.strategy.name))

    def value_of(self, key: str) -> Any:
        return common_or_list(stage.get(key) for stage in self.stages)


class Resolver:
    """Resolves names and settings of one matrix, with caches for what many cells share."""

    def __init__(self, library: Library, specification: Specification, plugins: Plugins, machine: MachineKind) -> None:
        self._library = library
        self._specification = specification
        self._functions = NamedFunctions(plugins)
        self.remarks: dict[str, None] = {}
        self.machine = machine
        self._bases: dict[tuple[str, str, str], BaseSettings] = {}
        self._templates: dict[Hashable, tuple[CellTemplate, str | None]] = {}
        self._parts: dict[Hashable, tuple[Any, str]] = {}
        self._cells: dict[Hashable, tuple[Mapping[str, Any], Mapping[str, str]]] = {}
        self.override_hits = [0] * len(specification.overrides)

    def base(self, dataset: str, model: str, strategy: str) -> BaseSettings:
        names = (dataset, model, strategy)
        if names not in self._bases:
            self._bases[names] = self._make_base(*names)
        return self._bases[names]

    def _make_base(self, dataset: str, model: str, strategy: str) -> BaseSettings:
        chains = self._library
        d, m, s = chains["dataset"][dataset], chains["model"][model], chains["strategy"][strategy]
        names = {"dataset": dataset, "model": model, "strategy": strategy}
        layers = zip(s.builtin, s.user, strict=True)
        of_labels = {"loss": BINARY} if d.own.get("source") and is_multi_label(d.own) else {}
        own = {**of_labels, **native_image_settings(d), **_usual_backend(m)}
        builtin = {**DEFAULTS, **own, **d.builtin[0], **m.builtin[0]}
        users = [*map(_with_validation, (self._specification.defaults, d.user[0], m.user[0]))]
        excludes = [(n, rule.for_names(names)) for n, rule in enumerate(self._specification.excludes)]
        overrides = [(n, o, o.when.for_names(names)) for n, o in enumerate(self._specification.overrides)]
        return BaseSettings(
            d,
            m,
            s,
            s.own.get("weights", NO_WEIGHTS),
            tuple(dict(ChainMap(_with_validation(user), *users[::-1], {**builtin, **own})) for own, user in layers),
            tuple((n, rule) for n, rule in excludes if rule is not None),
            tuple((n, Override(when, override.changes)) for n, override, when in overrides if when is not None),
            {key: value for layer in (d.user[0], m.user[0], *s.user) for key, value in layer.items()},
        )

    def place_of(self, strategy: str, key: str) -> KeyPath:
        """Where a setting of a strategy's stages was written, as far as its value may come from there."""
        if key in self._specification.assigned:
            return (f"--set {key}",)
        if any(key in axis.keys for axis in self._specification.axes):
            return ("matrix", key)
        if key in self._specification.defaults and not self.is_set_by(strategy, key):
            return ("defaults", key)
        return ("strategy", strategy, key)

    def is_set_by(self, strategy: str, key: str) -> bool:
        """Whether a strategy itself sets a setting, in any stage."""
        definition = self._library["strategy"][strategy]
        return any(key in stage for stage in (*definition.builtin, *definition.user))

    def assign(self, base: BaseSettings, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings of this cell alone: axis values, then the overrides that match, then `--set`."""
        assigned = _with_validation(settings)
        for number, override in base.overrides:
            if override.when.matches(lambda key: _value_so_far(base, assigned, key)):
                assigned.update(_with_validation(override.changes))
                self.override_hits[number] += 1
        assigned.update(_with_validation(self._specification.assigned))
        return assigned

    def template(self, base: BaseSettings, assigned: Mapping[str, Any]) -> tuple[CellTemplate, str | None]:
        """Returns the template of a cell, and the reason why it is impossible, if it is; `assigned` has no seeds."""
        key = (base.names, tuple(assigned.items()))
        if key not in self._templates:
            if len(self._templates) >= _KEPT_TEMPLATES:
                self._templates.clear()
                self._parts.clear()
                self._cells.clear()
            template = self._make_template(base, assigned)
            seen = base.dataset.own.get(IMAGE_FACTS)
            self._templates[key] = (template, impossible(template, base.origin.origin, self.machine, seen))
        return self._templates[key]

    def _make_template(self, base: BaseSettings, assigned: Mapping[str, Any]) -> CellTemplate:
        merged = [{**stage, **assigned} for stage in base.stages]
        values = merged[0]
        data, data_json = self._data(base.dataset, values)
        architecture, architecture_json = self._architecture(base.model, values.get("dropout"))
        if architecture.command is not None:
            if any(stage["callbacks"] for stage in merged):
                self.remarks[f"model {base.model.name}: a command trains by itself, so that no callback is called"] = (
                    None
                )
            merged = [{**stage, "callbacks": ()} for stage in merged]
            values = {**merged[0], "backend": command_backend()}
        if architecture.framework == LIGHTNING:
            merged = [{**stage, **LEFT_TO_MODULE} for stage in merged]
        stages = [self._stage(stage) for stage in merged]
        speed_key = None
        if values["threads"] == AUTO:
            settings = {**values, "device_kind": self._device_kind(values["device"])}
            speed_key = speed_key_of(data, architecture, [stage for stage, _ in stages], settings)
            values = {**values, "threads": self.machine.threads.get(speed_key, ASSUMED_THREADS)}
        sources = {} if architecture.command is not None else self._functions.of_metrics(merged)
        cell, cell_json = self._cell(values, "best" if data.has_validation else "last", sources)
        stages_json = "[" + ",".join(text for _, text in stages) + "]"
        canonical = {**cell_json, "data": data_json, "architecture": architecture_json, "stages": stages_json}
        whole = tuple(stage for stage, _ in stages)
        if architecture.framework == LIGHTNING:
            wrong = self._decided_twice(base, assigned)
        else:
            wrong = (
                *(unknown for stage in whole for unknown in self._functions.of_loss(stage.loss)[1]),
                *contradictions(whole, keep=cell["keep"], monitor=cell["monitor"], multi_label=data.multi_label),
            )
        wrong += tuple(
            unknown for stage in whole for name in stage.callbacks for unknown in self._functions.of_callback(name)[1]
        )
        return CellTemplate(data, architecture, whole, cell, "keep" in values, canonical, wrong, speed_key)

    def _decided_twice(self, base: BaseSettings, assigned: Mapping[str, Any]) -> tuple[Contradiction, ...]:
        """What is written for a LightningModule that it decides itself.

        `[defaults]` are for the other models of the matrix, which is remarked on; where there are none, they are for it.
        """
        name, defaults, axes = base.model.name, self._specification.defaults, self._specification.axes
        models = {row[axis.keys.index("model")] for axis in axes if "model" in axis.keys for row in axis.rows}
        models.update(model for row in self._specification.includes for model in row.get("model", ()))
        if all(self._library["model"][model].own.get(FRAMEWORK) == LIGHTNING for model in models):
            return tuple(decided_twice(name, {**defaults, **base.written, **assigned}))
        if idle := [each.key for each in decided_twice(name, defaults)]:
            remark = f"{', '.join(idle)} of [defaults] {'is' if len(idle) == 1 else 'are'} not used"
            self.remarks[f"model {name}: {remark}: a LightningModule decides that itself"] = None
        return tuple(decided_twice(name, {**base.written, **assigned}))

    def _cell(
        self, values: Mapping[str, Any], keep: str, metrics: Mapping[str, PluginSource]
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Settings of the whole cell, and the canonical JSON of those that are part of its identity."""
        settings = {name: values[name] for name in _OF_ALL_SEEDS}
        settings["keep"] = values.get("keep", keep)
        settings |= {"metric_codes": codes_of(metrics), "metric_files": files_of(metrics)}
        key = tuple(settings.values())
        if key not in self._cells:
            settings["device_kind"] = self._device_kind(settings["device"])
            self._cells[key] = (settings, part_texts(settings))
        return self._cells[key]

    def _device_kind(self, device: str) -> str:
        if device == "auto":
            return "gpu" if self.machine.gpus else "cpu"
        return device.partition(":")[0]

    def _part(self, key: Hashable, make: Callable[[], _T]) -> tuple[_T, str]:
        if key not in self._parts:
            part = make()
            self._parts[key] = (part, canonical_json(identity_value(part)))
        return self._parts[key]

    def _data(self, dataset: MergedDefinition, values: Mapping[str, Any]) -> tuple[Data, str]:
        settings: dict[str, Any] = {name: values[name] for name in sorted(DATA_SETTINGS)}
        if settings["validation"] == "source":
            settings |= {"validation_fraction": 0.0, "folds": None, "fold": None}
        elif settings["folds"] is None:
            settings["fold"] = None
        else:
            settings["validation_fraction"] = 1 / settings["folds"]
        own: dict[str, Any] = {name: dataset.own.get(name) for name in _OF_SOURCE}
        return self._part(
            ("data", dataset.name, *settings.values()),
            lambda: Data(
                source=dataset.own["source"],
                num_classes=_class_count(dataset.own),
                location=dataset.own.get(LOCATION),
                multi_label=is_multi_label(dataset.own),
                code=dataset.own.get(CODE),
                file=dataset.own.get(FILE),
                **own,
                **settings,
            ),
        )

    def _architecture(self, model: MergedDefinition, dropout: float | None) -> tuple[Architecture, str]:
        def make() -> Architecture:
            parameters = parameters_of(model.own)
            if dropout is not None:
                parameters["dropout"] = dropout
            command, code, file = model.own.get("command"), model.own.get(CODE), model.own.get(FILE)
            if command is not None:
                folder, own = Path(model.own[FOLDER]), parameters_of(model.own)
                code = files_digest(named_files(command, own, folder), folder)
            framework = model.own.get(FRAMEWORK, KERAS)
            pairs = tuple(sorted(parameters.items()))
            return Architecture(model.own["architecture"], pairs, code, file, command, model.own.get(FOLDER), framework)

        return self._part(("architecture", model.name, dropout), make)

    def _stage(self, values: Mapping[str, Any]) -> tuple[Stage, str]:
        settings = with_normal_optimizer({name: values[name] for name in STAGE_SETTINGS})
        source, _ = self._functions.of_loss(settings["loss"])
        if source:
            settings |= {"loss_code": source.code, "loss_file": source.file}
        sources = {
            callback_arguments(each)[0]: source
            for each in settings["callbacks"]
            if (source := self._functions.of_callback(each)[0])
        }
        settings |= {"callback_codes": codes_of(sources), "callback_files": files_of(sources)}
        return self._part(("stage", *settings.values()), lambda: Stage(**settings))


def _with_validation(layer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one place, where a share or folds that are written say that the validation set is split off.

    So they win over `validation = "source"` in a weaker place.
    """
    splits_off = any(layer.get(key) is not None for key in SPLITS_OFF)
    return {**layer, "validation": layer.get("validation", "split")} if splits_off else dict(layer)


def _value_so_far(base: BaseSettings, assigned: Mapping[str, Any], key: str) -> Any:
    """The value of a setting as far as it is known; that of a stream without a seed of its own is the cell's."""
    value = assigned[key] if key in assigned else base.value_of(key)
    return _value_so_far(base, assigned, "seed") if value is None and key in STREAMS else value


def _class_count(own: Mapping[str, Any]) -> int:
    """The number of classes of a dataset: those that it keeps, else all of its source."""
    if "classes" in own:
        return len(own["classes"])
    facts = SOURCES.get(own["source"])
    return len(facts.class_names) if facts else int(declared_classes(own) or 0)


def _usual_backend(model: MergedDefinition) -> dict[str, Any]:
    """The backend of a model that is written in PyTorch, where none is named."""
    framework = model.own.get(FRAMEWORK, KERAS)
    return {} if framework == KERAS else {"backend": backend_for(framework)}


def native_image_settings(dataset: MergedDefinition) -> dict[str, Any]:
    """Returns size and colour of the source's own images, the defaults of definitions that set neither."""
    facts = SOURCES.get(dataset.own["source"])
    if facts is None:
        seen = dataset.own.get(IMAGE_FACTS) or ImageFacts()
        return {key: value for key in ("image_size", "color") if (value := getattr(seen, key)) is not None}
    return {"image_size": max(8, facts.image_size), "color": "grey" if facts.channels == 1 else "rgb"}
