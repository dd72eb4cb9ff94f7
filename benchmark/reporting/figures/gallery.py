"""Which pictures a report has: one function that finds them all, and one that draws them into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure

from benchmark.matrix.cell import Cell, Data
from benchmark.reporting.figures.accuracy_by_time import draw_time
from benchmark.reporting.figures.class_counts import draw_labels
from benchmark.reporting.figures.confusion import draw_confusion
from benchmark.reporting.figures.curves import SeedCurve, draw_curves
from benchmark.reporting.figures.drawing.figure_files import save
from benchmark.reporting.figures.drawing.picture import LeftOut, Picture, UndrawableError, file_stem
from benchmark.reporting.figures.drawing.prepared_images import Images, open_images
from benchmark.reporting.figures.evidence_maps import draw_explanation, read_explanation
from benchmark.reporting.figures.figure_index import Entry
from benchmark.reporting.figures.mistakes import draw_mistakes
from benchmark.reporting.figures.training_images import draw_samples
from benchmark.reporting.figures.transfer_curves import Side, draw_transfer
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.matching import where
from benchmark.reporting.rows.metrics import TEST_ACCURACY
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.rows.predictions import Predictions
from benchmark.reporting.tables.transfer import Pair

EXPLANATION_FILE = "figures/explanation.npz"
"""Where `bench explain` leaves its maps, inside the folder of an attempt."""

Epochs: TypeAlias = Mapping[int, Sequence[Mapping[str, Any]]]


@dataclass(slots=True)
class Material:
    """What pictures are made of.

    Attributes:
        groups: What the report shows.
        transfers: The comparisons of fine-tuned with scratch.
        epochs: Gives the rows of the view `history` by execution id.
        predictions: Gives the stored predictions by execution id; those without are left out.
        cache_root: Where prepared datasets lie.
        artifacts_root: Where the folders of attempts lie.
    """

    groups: Sequence[Group]
    transfers: Sequence[Pair]
    epochs: Callable[[Iterable[int]], Epochs]
    predictions: Callable[[Iterable[int]], Mapping[int, Predictions]]
    cache_root: Path
    artifacts_root: Path
    _images: dict[Data, Images] = field(default_factory=dict)

    def images(self, data: Data) -> Images:
        """The prepared dataset of these data, opened once.

        Raises:
            UndrawableError: It is not in the cache.
        """
        if data not in self._images:
            self._images[data] = open_images(data, self.cache_root)
        return self._images[data]


def find_pictures(material: Material) -> Iterator[Picture]:
    """All pictures of a report: of its datasets, of its groups, of its comparisons."""
    yield from _of_datasets(material)
    varying = varying_settings(material.groups)
    for group in material.groups:
        if group.completed:
            yield from _of_group(material, group, varying)
        else:
            yield from _of_unfinished(material, group, varying)
    for pair in material.transfers:
        if pair.scratch is not None and pair.scratch.completed and pair.fine_tuned.completed:
            yield _transfer(material, pair, varying)
    yield from _times(material, varying)


def draw_all(
    pictures: Iterable[Picture], directory: Path, told: Callable[[Path], object]
) -> tuple[list[Entry], list[LeftOut]]:
    """Draws pictures into a folder, one after the other.

    Args:
        pictures: Those of `find_pictures`.
        directory: An existing folder.
        told: Called with each file as it is there.

    Returns:
        What was written, and what could not be drawn, with the reasons.

    Raises:
        StorageError: The disk does not let us.
    """
    written: list[Entry] = []
    left_out: list[LeftOut] = []
    for picture in pictures:
        try:
            figure = picture.draw()
        except UndrawableError as error:
            left_out.append(LeftOut(picture.kind, picture.title, str(error)))
            continue
        for path in save(figure, directory, picture.name):
            written.append(Entry(picture.kind, picture.title, picture.cells, path))
            told(path)
    return written, left_out


def _of_datasets(material: Material) -> Iterator[Picture]:
    """Samples and labels of each dataset at each size and colour, as the first cell on it sees it."""
    places: dict[tuple[str, Data], list[str]] = {}
    for group in material.groups:
        for row in group.completed.values():
            if row.get("spec"):
                places.setdefault((group.dataset, _cell(row).data), []).append(row["cell_id"])
    for (dataset, data), cells in places.items():
        for kind, draw in (("samples", draw_samples), ("labels", draw_labels)):
            yield Picture(
                kind,
                file_stem(kind, dataset, distinction=_data_distinction(data)),
                f"{kind} of {dataset} at {data.image_size} pixels",
                tuple(cells),
                partial(_draw_dataset, draw, dataset, material, data),
            )


def _data_distinction(data: Data) -> str:
    parts = [f"{data.image_size}px", data.color]
    parts += [] if data.train_examples is None else [str(data.train_examples)]
    parts += [] if data.test_examples is None else [f"test{data.test_examples}"]
    return "-".join([*parts, f"v{round(data.validation_fraction * 100)}"])


def _draw_dataset(draw: Callable[[str, Images], Figure], dataset: str, material: Material, data: Data) -> Figure:
    return draw(dataset, material.images(data))


def _of_group(material: Material, group: Group, varying: Sequence[str]) -> Iterator[Picture]:
    title = f"{where(group, varying)}, {group.strategy}"
    cells = tuple(row["cell_id"] for row in group.completed.values())
    kinds: dict[str, Callable[..., Figure]] = {
        "curves": _draw_curves,
        "confusion": _draw_confusion,
        "mistakes": _draw_mistakes,
    }
    for kind, draw in kinds.items():
        name = file_stem(kind, *group.names, distinction=cells[0][:8])
        yield Picture(kind, name, f"{kind} of {title}", cells, partial(draw, material, group, title))
    for seed, row in group.completed.items():
        found = _explanation_file(material.artifacts_root, row["cell_id"])
        if found is not None:
            of_seed = f"{title}, seed {seed}"
            name = file_stem("explanation", *group.names, distinction=row["cell_id"][:8])
            draw = partial(_draw_explanation, of_seed, found)
            yield Picture("explanation", name, f"Grad-CAM of {of_seed}", (row["cell_id"],), draw)


def _of_unfinished(material: Material, group: Group, varying: Sequence[str]) -> Iterator[Picture]:
    """The curves of a group without any result: how it diverged, or how far it came."""
    begun = {each.seed: each.row for each in group.missing if each.row and each.row.get("epochs")}
    if begun:
        title = f"{where(group, varying)}, {group.strategy}"
        cells = tuple(row["cell_id"] for row in begun.values())
        name = file_stem("curves", *group.names, distinction=cells[0][:8])
        draw = partial(_draw_curves, material, group, f"{title}, not completed", begun)
        yield Picture("curves", name, f"curves of {title}, not completed", cells, draw)


def _execution_ids(group: Group) -> list[int]:
    return [row["execution_id"] for row in group.completed.values()]


def _curves(material: Material, rows: Mapping[int, ResultRow]) -> list[SeedCurve]:
    epochs = material.epochs([row["execution_id"] for row in rows.values()])
    found = [
        SeedCurve(seed, epochs[row["execution_id"]], row.get("best_epoch"))
        for seed, row in rows.items()
        if epochs.get(row["execution_id"])
    ]
    if not found:
        raise UndrawableError("no epoch of it is recorded")
    return found


def _draw_curves(material: Material, group: Group, title: str, rows: Mapping[int, ResultRow] | None = None) -> Figure:
    rows = rows or group.completed
    row = next(iter(rows.values()))
    trained = [stage.train for stage in _cell(row).stages] if row.get("spec") else []
    return draw_curves(title, _curves(material, rows), trained, reasons(group))


def _predictions(material: Material, group: Group) -> list[Predictions]:
    found = material.predictions(_execution_ids(group))
    if not found:
        raise UndrawableError(
            "no test predictions of it are recorded; record them with: bench run --rerun"
            f" --select dataset={group.dataset},model={group.model},strategy={group.strategy}"
        )
    members = [found[number] for number in _execution_ids(group) if number in found]
    return [member for member in members if member.class_names == members[0].class_names]


def _draw_confusion(material: Material, group: Group, title: str) -> Figure:
    return draw_confusion(title, _predictions(material, group))


def _draw_mistakes(material: Material, group: Group, title: str) -> Figure:
    members = _predictions(material, group)
    row = next(iter(group.completed.values()))
    if not row.get("spec"):
        raise UndrawableError("the settings of its cells are not known")
    images = material.images(_cell(row).data)
    fingerprint = row.get("data_fingerprint")
    if fingerprint not in {None, images.fingerprint}:
        raise UndrawableError("the prepared dataset in the cache is another one than its cells were tested on")
    return draw_mistakes(title, members, images)


def _explanation_file(artifacts_root: Path, cell_id: str) -> Path | None:
    """That of the newest attempt that was explained."""
    found = [path for path in artifacts_root.glob(f"{cell_id}/*/{EXPLANATION_FILE}") if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _draw_explanation(title: str, path: Path) -> Figure:
    try:
        return draw_explanation(title, read_explanation(path.read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise UndrawableError(f"{path} cannot be read ({error}); make it again with: bench explain") from error


def _transfer(material: Material, pair: Pair, varying: Sequence[str]) -> Picture:
    fine, scratch = pair.fine_tuned, pair.scratch
    assert scratch is not None
    cells = tuple(row["cell_id"] for group in (fine, scratch) for row in group.completed.values())
    title = where(fine, varying)
    return Picture(
        "transfer",
        file_stem("transfer", *fine.names, f"against-{scratch.strategy}", distinction=cells[0][:8]),
        f"transfer of {title}, {fine.strategy} against {scratch.strategy}",
        cells,
        lambda: draw_transfer(title, _side(material, fine), _side(material, scratch)),
    )


def _side(material: Material, group: Group) -> Side:
    return Side(group.strategy, _curves(material, group.completed), list(group.values(TEST_ACCURACY).values()))


def _times(material: Material, varying: Sequence[str]) -> Iterator[Picture]:
    for dataset in dict.fromkeys(group.dataset for group in material.groups):
        groups = [group for group in material.groups if group.dataset == dataset and group.completed]
        if groups:
            cells = tuple(row["cell_id"] for group in groups for row in group.completed.values())
            draw = partial(draw_time, dataset, groups, varying)
            yield Picture("time", file_stem("time", dataset), f"accuracy against time on {dataset}", cells, draw)


def _cell(row: Mapping[str, Any]) -> Cell:
    spec = row["spec"]
    return Cell.from_dict({"cell_id": row["cell_id"], **(json.loads(spec) if isinstance(spec, str) else spec)})
