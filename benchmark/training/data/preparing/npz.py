"""Checks and prepares a user's `.npz` archive.

`x_train`, `y_train`, `x_test`, `y_test`, or `x` and `y` alone, of which a share of each class is split off for the test
set; and `x_val`, `y_val` for the source's own validation split. Images are [n, h, w] or [n, h, w, c]:
integers 0..255, or floats 0..1 or 0..255. Integers are never scaled. Of floats each array tells by its brightest value
which of both it is; `x_train` and `x_test` must agree. Labels are integers [n] from 0, or rows of 0 and 1 [n, classes]
where an image may have several. With `groups = "NAME"` the arrays `NAME_train`, `NAME_test` (and `NAME_val`), or `NAME`
beside `x`, hold a text or an integer for each image.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.absent_files import absence_of
from benchmark.catalog.source_files.npz_headers import DAMAGE
from benchmark.errors import DataError
from benchmark.images.pictures import resize_array
from benchmark.training.data.preparing.image_groups import group_text, numbered_groups
from benchmark.training.data.preparing.sources import (
    NO_VALIDATION,
    DatasetRequest,
    SourceSummary,
    check_channels,
    hold_out_test,
    new_images,
    save_labels,
)

_OVERSHOOT = 0.1
"""How far floats 0..1 may lie outside that range, and are clipped: resampling (cubic, Lanczos) overshoots at edges by less."""

_DARK = 32
"""Images whose brightest value is below this of 255 are nearly black: probably meant otherwise, and so remarked upon."""

_SPLIT, _WHOLE = ("x_train", "y_train", "x_test", "y_test"), ("x", "y")
_OWN_VALIDATION = ("x_val", "y_val")
_IMAGES, _LABELS = ("x", "x_train", "x_test", "x_val"), ("y", "y_train", "y_test", "y_val")

Arrays = dict[str, NDArray[Any]]


def prepare_npz(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the four arrays of a prepared dataset into `directory`.

    Raises:
        DataError: The archive is missing, damaged, or holds other arrays; nothing in it is executed.
    """
    arrays = _read(request)
    images = {name: _images(request, name, array) for name, array in arrays.items() if name in _IMAGES}
    labels = {name: _labels(request, name, array) for name, array in arrays.items() if name in _LABELS}
    for name, array in images.items():
        count = len(labels[name.replace("x", "y", 1)])
        if len(array) != count:
            raise DataError(
                f"{request.location}: expected as many labels as images, found {len(array)} in {name} and {count}"
            )
    scales = {name: _scale(request, name, array) for name, array in images.items()}
    _check_scales_agree(request, scales)
    notes = [note for name, array in images.items() if (note := _note_on_dark(request, name, array, scales[name]))]
    names = _class_names(request, _class_count(request, labels))
    groups = numbered_groups({name: _groups(request, name, arrays) for name in arrays if name in _IMAGES}, request)
    if "x" in images:
        positions = hold_out_test(labels["y"], request, names, groups.get("x"))
        for ending, chosen in zip(("train", "test"), positions, strict=True):
            images[f"x_{ending}"], labels[f"y_{ending}"] = images["x"][chosen], labels["y"][chosen]
            if groups:
                groups[f"x_{ending}"] = groups["x"][chosen]
    for part, ending in {"train": "train", "test": "test", "validation": "val"}.items():
        if (name := f"x_{ending}") in images:
            scale = scales.get(name) or scales.get("x") or 1
            own_groups = groups.get(name) if part != "validation" else None
            _write(directory, part, images[name], request, scale)
            save_labels(directory, part, labels[f"y_{ending}"], own_groups)
    return SourceSummary(names, tuple(notes))


def _read(request: DatasetRequest) -> Arrays:
    path = Path(request.location or "")
    if absence := absence_of(path, "archive"):
        raise DataError(f"{path} cannot be read as an .npz archive: {absence}")
    try:
        if not zipfile.is_zipfile(path) and path.is_file():
            raise DataError(f"{path}: expected an .npz archive, found something else; write it with numpy.savez")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys: tuple[str, ...] | None
            keys = next((keys for keys in (_SPLIT, _WHOLE) if all(key in archive.files for key in keys)), None)
            if keys is None:
                raise DataError(
                    f"{path}: expected the arrays {', '.join(_SPLIT)}, or x and y; found {', '.join(archive.files)[:300]}"
                )
            if request.validation == "source":
                if not all(key in archive.files for key in _OWN_VALIDATION):
                    expected = f"the arrays {' and '.join(_OWN_VALIDATION)}"
                    raise DataError(NO_VALIDATION.format(source=request.source, expected=expected))
                keys += _OWN_VALIDATION
            if request.groups is not None:
                keys += tuple(_group_array(request.groups, key) for key in keys if key in _IMAGES)
                if missing := [key for key in keys if key not in archive.files]:
                    raise DataError(
                        f'{path}: expected the array {missing[0]}, because groups = "{request.groups}", found '
                        f"{', '.join(archive.files)[:300]}; save it, one value for each image, or set groups = false"
                    )
            return {key: archive[key] for key in keys}
    except FileNotFoundError as error:
        raise DataError(
            f"{request.source}: there is no file {path}; put it there, or correct the path (relative ones start at the "
            "matrix file)"
        ) from error
    except (OSError, ValueError, KeyError, MemoryError, *DAMAGE) as error:
        raise DataError(f"{path} cannot be read as an .npz archive of plain arrays: {error!s:.300}") from error


def _images(request: DatasetRequest, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Checks images and adds the axis of channels where it is missing, [n, h, w, c]; values stay as they are."""
    shaped = array[..., None] if array.ndim == 3 else array
    where = f"{request.location}: {name}"
    if shaped.ndim != 4 or 0 in shaped.shape:
        raise DataError(f"{where}: expected images [n, h, w], [n, h, w, 1] or [n, h, w, 3], found shape {array.shape}")
    check_channels(array, where, request, before="n, ")
    if array.dtype.kind not in "uif":
        hint = "; save x * numpy.uint8(255)" if array.dtype.kind == "b" else ""
        raise DataError(f"{where}: expected integers 0..255 or floats, found {array.dtype}{hint}")
    low, high = float(shaped.min()), float(shaped.max())
    if not np.isfinite((low, high)).all():
        count = int(shaped.size - np.isfinite(shaped).sum())
        raise DataError(
            f"{where}: expected finite values, found {count} that are NaN or infinite; replace or remove them"
        )
    lowest = -_OVERSHOOT if array.dtype.kind == "f" and high <= 1 + _OVERSHOOT else 0
    if low < lowest or high > 255:
        raise DataError(
            f"{where}: expected values 0..255 (or floats 0..1), found {low:g} to {high:g}; {_cure(array.dtype, high)}"
        )
    return shaped


def _cure(dtype: np.dtype[Any], high: float) -> str:
    if dtype.kind in "ui" and high > 255:
        return "save images of 16 bits as numpy.rint(x / 257).astype('uint8')"
    if dtype == np.int8:
        return "bytes of images are not signed: save x.view('uint8')"
    return "save the images as they are, not normalised: networks scale them"


def _scale(request: DatasetRequest, name: str, array: NDArray[Any]) -> int | None:
    """What the values are multiplied by to lie in 0..255; None where all are 0, which is black either way."""
    high = float(array.max())
    if array.dtype.kind != "f":
        return 1
    if high <= 0:
        return None
    if 1 + _OVERSHOOT < high < 2:
        raise DataError(
            f"{request.location}: {name}: expected floats 0..1 or 0..255, found {float(array.min()):g} to {high:g}, which is "
            "neither; clip the one or scale to the other"
        )
    return 255 if high <= 1 + _OVERSHOOT else 1


def _check_scales_agree(request: DatasetRequest, scales: Mapping[str, int | None]) -> None:
    ranges = {name: "0..1" if scale == 255 else "0..255" for name, scale in scales.items() if scale is not None}
    if len(set(ranges.values())) > 1:
        described = " and ".join(f"{name} with values {values}" for name, values in ranges.items())
        raise DataError(
            f"{request.location}: expected training and test images of one range, found {described}; save both in the same one"
        )


def _note_on_dark(request: DatasetRequest, name: str, array: NDArray[Any], scale: int | None) -> str | None:
    high = float(array.max())
    if scale != 1 or not 0 < high < _DARK:
        return None
    return (
        f"{request.source}: {name} is nearly black: its brightest value is {high:g} of 255; if that is meant to be white, "
        f"save x * (255 / {high:g})"
    )


def _labels(request: DatasetRequest, name: str, array: NDArray[Any]) -> NDArray[Any]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    where = f"{request.location}: {name}"
    if request.multi_label:
        return _rows(array, where)
    if flat.ndim != 1 or flat.dtype.kind not in "ui" or not len(flat):
        hint = f"; for one-hot vectors save {name}.argmax(axis=1)" if array.ndim == 2 else ""
        hint += "; for several labels an image set multi_label = true" if array.ndim == 2 else ""
        if flat.ndim == 1 and flat.dtype.kind in "bf" and np.array_equal(flat, np.rint(flat.astype(float))):
            hint = f"; save {name}.astype('int64')"
        raise DataError(f"{where}: expected integer labels [n], found {array.dtype} of shape {array.shape}{hint}")
    if int(flat.min()) < 0 or int(flat.max()) > 65535:
        raise DataError(f"{where}: expected labels 0, 1, …, found {int(flat.min())} to {int(flat.max())}")
    return flat.astype(np.int32)


def _rows(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Checks labels of images that may have several: rows of 0 and 1, [n, classes]."""
    is_shaped = array.ndim == 2 and array.shape[1] > 1 and len(array) and array.dtype.kind in "buif"
    if not is_shaped or not np.isin(array, (0, 1)).all():
        found = f"{array.dtype} of shape {array.shape}"
        if is_shaped:
            place = tuple(int(number) for number in np.argwhere(~np.isin(array, (0, 1)))[0])
            found = f"{array[place]} at {list(place)}"
        one_hot = "; for one label an image save integers [n], and leave multi_label out" if array.ndim != 2 else ""
        raise DataError(
            f"{where}: expected rows of 0 and 1 for several labels an image, [n, classes], found {found}{one_hot}"
        )
    return array.astype(np.uint8)


def _group_array(groups: str, images: str) -> str:
    """The name of the array with the groups of an array of images: `site_train` of `x_train`."""
    return groups + images.removeprefix("x")


def _groups(request: DatasetRequest, name: str, arrays: Arrays) -> list[str]:
    """The group of each image of an array; empty where no groups are asked for."""
    if request.groups is None:
        return []
    own = _group_array(request.groups, name)
    array = arrays[own]
    values = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if values.ndim != 1 or values.dtype.kind not in "uibUS" or len(values) != len(arrays[name]):
        raise DataError(
            f"{request.location}: {own}: expected integers or texts [{len(arrays[name])}], the group of each image, found "
            f"{array.dtype} of shape {array.shape}"
        )
    return [group_text(value) for value in values.tolist()]


def _class_count(request: DatasetRequest, labels: Mapping[str, NDArray[Any]]) -> int:
    if not request.multi_label:
        return max(int(array.max()) for array in labels.values()) + 1
    widths = {name: array.shape[1] for name, array in labels.items()}
    if len(set(widths.values())) > 1:
        described = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise DataError(f"{request.location}: expected as many classes in all labels, found {described} columns")
    return next(iter(widths.values()))


def _class_names(request: DatasetRequest, count: int) -> list[str]:
    if request.class_names is None:
        return [str(label) for label in range(count)]
    if len(request.class_names) < count:
        raise DataError(
            f"{request.location}: expected labels below {len(request.class_names)}, as there are class_names, found {count - 1}"
        )
    return list(request.class_names)


def _write(directory: Path, part: str, images: NDArray[Any], request: DatasetRequest, scale: int) -> None:
    array = new_images(directory, part, len(images), request)
    for index, image in enumerate(images):
        eight_bits = image if image.dtype == np.uint8 else np.rint(image * float(scale)).clip(0, 255).astype(np.uint8)
        array[index] = resize_array(eight_bits, request.image_size, request.channels, request.resize)
    array.flush()
