"""Saves networks as Keras files for the setting `save`, and verifies each by loading it again.

    model           model.keras           the whole network without optimizer, for `keras.saving.load_model`
    h5              model.weights.h5      its weights as Keras's HDF5, for `model.load_weights`
    architecture    architecture.json     its layers, for `keras.models.model_from_json`

All are made from a clone that was never compiled: Keras would write the optimizer of a compiled one into the model, and
saving as HDF5 changes what a later `to_json` returns. Only files that this process has just written are loaded, with
`safe_mode`, to compare their predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark import layout
from benchmark.files import appearing, write_whole
from benchmark.training.data.dataset import Images

_TOLERANCE = 1e-5
"""Largest difference of a probability after loading: the same operations, perhaps in another order."""


class SavedModelError(RuntimeError):
    """A file that was just written does not give the same predictions when it is read again."""


def check_savable(core: keras.Model, kinds: Iterable[str], directory: Path, sample: Images) -> None:
    """Saves a network once before it trains, so that a user's layer that cannot be saved fails at once, not after hours.

    Args:
        core: The network, not trained yet.
        kinds: Keys of `layout.SAVED_NETWORKS`.
        directory: The attempt's own folder.
        sample: Some images [n, h, w, c].

    Raises:
        SavedModelError: A file cannot be written or read again; the message has the cure.

    Side effects:
        Writes files into `directory` and removes them.
    """
    for kind in kinds:
        try:
            save_network(core, kind, directory, sample)
        except OSError:
            raise
        except Exception as error:
            reason = str(error).partition(" Full object config:")[0].strip()[:600]
            raise SavedModelError(
                f"save = {kind!r}: {core.name} cannot be made again from what it saves: {reason}\n"
                f"give layers of your own `get_config` and @keras.saving.register_keras_serializable(), or leave "
                f"{kind!r} out of `save`"
            ) from error
        finally:
            (directory / layout.SAVED_NETWORKS[kind]).unlink(missing_ok=True)


def save_network(core: keras.Model, kind: str, directory: Path, sample: Images) -> str:
    """Writes one file into `directory`, whole or not at all, checks it, and returns its name.

    Args:
        core: The network with the weights to save; it is left as it is.
        kind: A key of `layout.SAVED_NETWORKS`.
        directory: The attempt's own folder.
        sample: Some images [n, h, w, c] to compare predictions on.

    Raises:
        SavedModelError: The file does not give the same predictions when it is loaded.
        OSError: The disk is full or not writable.
    """
    path = directory / layout.SAVED_NETWORKS[kind]
    clone = keras.models.clone_model(core)
    clone.set_weights(core.get_weights())
    if kind == "architecture":
        write_whole(path, clone.to_json(indent=1).encode())
        return path.name
    # Keras chooses the format by the ending
    with appearing(path, ending=path.name[path.name.index(".") :]) as aside:
        (clone.save_weights if kind == "h5" else clone.save)(aside)
    if kind == "h5":
        loaded = keras.models.clone_model(core)
        loaded.load_weights(path)
    else:
        loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    _compare(path, _probabilities(core, sample), _probabilities(loaded, sample))
    return path.name


def _probabilities(model: keras.Model, images: Images) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(model(images.astype(np.float32), training=False)))


def _compare(path: Path, expected: NDArray[Any], loaded: NDArray[Any]) -> None:
    if np.allclose(loaded, expected, rtol=0, atol=_TOLERANCE, equal_nan=True):
        return
    worst = float(np.abs(loaded - expected).max())
    raise SavedModelError(
        f"{path.name}: expected the predictions of the network that was saved, found probabilities that differ by up "
        f"to {worst:.2g} after loading; a layer of the model does not restore itself: leave {path.name} out of `save`"
    )
