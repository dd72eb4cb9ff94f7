"""For each type of values in `matrix/values.py` and `matrix/recipes/` the JSON Schema of the TOML values that it takes.

A schema takes whatever `Kind.read` takes, and refuses other keys, types and ranges. What it cannot say is left to `read`:
that a name exists, that numbers rise, and that `1.0` is no integer.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from benchmark.catalog.channels import MOST_CHANNELS
from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.problems import NAME_LIMIT
from benchmark.matrix.recipes.augmentations import AUGMENTATIONS, Augmentation, RandAugmentation
from benchmark.matrix.recipes.callback_list import Callbacks
from benchmark.matrix.recipes.loss import BALANCED, ClassWeights, Loss
from benchmark.matrix.recipes.patience import Monitor, Patience
from benchmark.matrix.recipes.schedule import Schedule
from benchmark.matrix.values import (
    Channels,
    Checked,
    Choice,
    Integer,
    Kind,
    ListOf,
    Name,
    NameOrTable,
    Number,
    OrFalse,
    WordList,
)
from benchmark.prediction_metrics import METRICS, VAL

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema: TypeAlias = dict[str, Any]

ARGUMENT = "argument"
"""The definition in `$defs` of a value for a function or a command of the user's."""

# what `name_problem` refuses: control characters, ends of lines, and nothing but blanks
_CONTROL = "\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029"
NAME: Schema = {"type": "string", "maxLength": NAME_LIMIT, "pattern": f"^[^{_CONTROL}]*[^{_CONTROL}\\s][^{_CONTROL}]*$"}
TEXT: Schema = {"type": "string", "minLength": 1}
_FALSE: Schema = {"const": False}
_IDENTIFIER = "[^\\W\\d]\\w*"


def schema_of(kind: Kind) -> Schema:
    """The JSON Schema of the values of a type.

    Raises:
        TypeError: The type has none yet; `_SCHEMAS` is where it belongs.
    """
    for each in type(kind).__mro__:
        if each in _SCHEMAS:
            return _SCHEMAS[each](kind)
    raise TypeError(f"{type(kind).__name__} has no JSON Schema")


def reference(name: str) -> Schema:
    """Points to a definition in `$defs`."""
    return {"$ref": f"#/$defs/{name}"}


def table(properties: Mapping[str, Schema], needed: Iterable[str] = (), **more: Any) -> Schema:
    """A table with these keys and no others."""
    needs = {"required": list(needed)} if needed else {}
    return {"type": "object", "properties": dict(properties), **needs, "additionalProperties": False, **more}


def either(*schemas: Schema) -> Schema:
    """What one of several schemas takes; of those that are alternatives themselves, each alone."""
    flat: list[Schema] = []
    for schema in schemas:
        flat += schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
    return {"anyOf": flat}


def some(item: Schema) -> Schema:
    """A value, or a list of such, which is not empty."""
    return {"anyOf": [item, {"type": "array", "items": item}], "minItems": 1}


def _integer(kind: Integer) -> Schema:
    number: Schema = {"type": "integer", "minimum": kind.minimum, "maximum": kind.maximum}
    return either(number, {"const": kind.word}) if kind.word else number


def _number(kind: Number) -> Schema:
    low = "exclusiveMinimum" if kind.above else "minimum"
    high = "exclusiveMaximum" if kind.below else "maximum"
    # infinity is a number in TOML
    highest = kind.maximum if kind.maximum < math.inf else sys.float_info.max
    return {"type": "number", low: kind.minimum, high: highest}


def _words(options: Iterable[str]) -> Schema:
    return {"enum": list(options)}


def _channels(kind: Channels) -> Schema:
    number: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_CHANNELS}
    return either(_words(kind.options), number, {"type": "string", "pattern": "^[0-9]+-channel$"})


def _word_list(kind: WordList) -> Schema:
    word = _words((*kind.options, *kind.implied))
    return either(_FALSE, word, {"type": "array", "items": word})


def _name_or_table(kind: NameOrTable) -> Schema:
    alone = [name for name, fields in kind.parameters.items() if not set(kind.needed) & fields.keys()]
    return either(_words(alone), *(_parameters(kind, name) for name in kind.parameters))


def _parameters(kind: NameOrTable, name: str) -> Schema:
    fields = kind.parameters[name]
    properties = {field: schema_of(field_kind) for field, (field_kind, _) in fields.items()}
    needed = ("kind", *(field for field in kind.needed if field in fields))
    return table({"kind": {"const": name}, **properties}, needed, title=name)


def _schedule(kind: Schedule) -> Schema:
    schema = _name_or_table(kind)
    step = next(each for each in schema["anyOf"] if each.get("title") == "step")
    step["oneOf"] = [{"required": ["every"]}, {"required": ["at"]}]
    return schema


def _loss(kind: Loss) -> Schema:
    name: Schema = {"type": "string", "pattern": f"^{PLUGIN}"}
    arguments: Schema = {"type": ["boolean", "number", "string"]}
    own = {"type": "object", "properties": {"kind": name}, "required": ["kind"], "additionalProperties": arguments}
    return either(_name_or_table(kind), name, own)


def _class_weights(kind: ClassWeights) -> Schema:
    del kind
    return either(_FALSE, {"const": BALANCED}, {"type": "object", "additionalProperties": _number(Number(0))})


def _callbacks(kind: Callbacks) -> Schema:
    del kind
    arguments = reference(ARGUMENT)
    own = {"type": "object", "properties": {"kind": TEXT}, "required": ["kind"], "additionalProperties": arguments}
    return either(_FALSE, TEXT, own, {"type": "array", "items": either(TEXT, own)})


def _monitor(kind: Monitor) -> Schema:
    del kind
    return either(_words(f"{VAL}{name}" for name in METRICS), {"type": "string", "pattern": f"^{VAL}{_IDENTIFIER}$"})


def _patience(kind: Patience) -> Schema:
    fields = {name: schema_of(field) for name, field in kind.fields}
    return either(_FALSE, fields["patience"], table(fields, ("patience",)))


def _augmentation(kind: Augmentation) -> Schema:
    del kind
    return either(_FALSE, table({name: schema_of(each) for name, each in AUGMENTATIONS.items()}))


def _randaugment(kind: RandAugmentation) -> Schema:
    del kind
    magnitude = _number(Number(0, 1))
    return either(_FALSE, magnitude, table({"layers": _integer(Integer(0, 16)), "magnitude": magnitude}))


_SCHEMAS: Mapping[type, Callable[[Any], Schema]] = {
    Integer: _integer,
    Number: _number,
    OrFalse: lambda kind: either(_FALSE, schema_of(kind.kind)),
    Checked: lambda kind: dict(kind.schema),
    Choice: lambda kind: _words(kind.options),
    Channels: _channels,
    WordList: _word_list,
    Name: lambda _: dict(NAME),
    ListOf: lambda kind: {"type": "array", "items": schema_of(kind.item), "minItems": 1},
    Schedule: _schedule,
    Loss: _loss,
    NameOrTable: _name_or_table,
    ClassWeights: _class_weights,
    Callbacks: _callbacks,
    Monitor: _monitor,
    Patience: _patience,
    Augmentation: _augmentation,
    RandAugmentation: _randaugment,
}
