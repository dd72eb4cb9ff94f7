"""Says what settings ask for that the source of the images does not have, as far as it is known without opening any."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark import units
from benchmark.catalog.channels import channels_of, color_of, is_convertible
from benchmark.catalog.facts import SOURCES
from benchmark.matrix.cell import Data
from benchmark.matrix.problems import nearest_hint, quoted
from benchmark.matrix.reading.user_files import ROW_KINDS, ImageFacts


def missing_in_source(data: Data, seen: ImageFacts | None) -> Iterator[str]:
    """The reasons why a source cannot give what is asked for: a validation split, groups, channels."""
    splits = frozenset({"train", "test"}) if data.source in SOURCES else seen.splits if seen else None
    if data.validation == "source" and splits is not None and "val" not in splits:
        yield (
            f'validation = "source", but {data.source} has no validation split beside its training and test images; set '
            'validation = "split"'
        )
    yield from _of_groups(data, seen)
    yield from _of_channels(data, seen)


def _of_groups(data: Data, seen: ImageFacts | None) -> Iterator[str]:
    kind, columns = data.source.partition(":")[0], seen.columns if seen else ()
    # looked for when the images are prepared
    is_unknown = kind in {*ROW_KINDS, "plugin"} or (kind == "tfds" and data.source not in SOURCES)
    if data.groups is None or is_unknown or (kind == "npz" and (seen is None or seen.problem)):
        return
    if kind == "npz":
        if data.groups not in columns:
            yield (
                f'groups = "{data.groups}", but {data.source} has no arrays {data.groups}_train and {data.groups}_test, nor '
                f"{data.groups} beside x, with a value for each image; add them, or set groups = false"
            )
    elif not columns:
        yield (
            f'groups = "{data.groups}", but {data.source} has no table with such a column; set groups = false, or give it a '
            "labels_file"
        )
    elif data.groups.lower() not in {column.lower() for column in columns}:
        hint = nearest_hint(data.groups, columns)
        yield f'groups = "{data.groups}" is no column of its table, which has {", ".join(columns)[:200]}' + (
            f"; {hint}" if hint else ""
        )


def _of_channels(data: Data, seen: ImageFacts | None) -> Iterator[str]:
    """What `color` asks for that images cannot become, as far as they are known."""
    facts, kind = SOURCES.get(data.source), data.source.partition(":")[0]
    channels = facts.channels if facts else channels_of(seen.color) if seen and seen.color else None
    asked = f'"{data.color}"' if data.channels in {1, 3} else str(data.channels)
    if channels is not None and not is_convertible(channels, data.channels):
        yield (
            f"color = {asked}, but the images of {data.source} have {units.plural(channels, 'channel')}; leave color out, or set "
            f"color = {quoted(color_of(channels)) if channels in {1, 3} else channels}"
        )
    elif kind in {"folder", "webdataset"} and data.channels not in {1, 3, 4}:
        yield f"color = {asked}, but pictures have one channel, three, or with transparency four; give such images as an npz archive"
