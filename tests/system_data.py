"""What the presets need, made up in the true formats: TFDS datasets by TFDS's own builders, and ImageNet weights.

As a program, `python system_data.py FOLDER` fills the folder; `environment(FOLDER)` is what `bench` is then started
with. TFDS keeps MNIST's first images only (its own option), for the file holds black ones beyond them. The weights have
the layers and shapes of the published files; a `sitecustomize` makes their digests the expected ones, so that the code
that verifies them is the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

MNIST_EXAMPLES = 400

_CUSTOMIZE = """
import json, pathlib
from dataclasses import replace
from benchmark.catalog.keras_applications import PUBLISHED
for name, digest in json.loads((pathlib.Path(__file__).parent / "digests.json").read_text()).items():
    PUBLISHED[name] = replace(PUBLISHED[name], digest=digest)
"""


def environment(folder: Path) -> dict[str, str]:
    return {
        "TFDS_DATA_DIR": str(folder / "tfds"),
        "KERAS_HOME": str(folder / "keras"),
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(Path(__file__).parent.parent)]),
    }


def make_datasets(folder: Path) -> None:
    import tensorflow_datasets as tfds
    from training_archives import put_cifar10, put_imagenette, put_mnist

    place = folder / "tfds"
    put_mnist(place, MNIST_EXAMPLES, MNIST_EXAMPLES)
    put_cifar10(place, per_batch=40, test=100)
    put_imagenette(place, train=200, test=100)
    (place / "SYNTHETIC").write_text("Nothing here is a real photograph or digit.\n")
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(max_examples_per_split=MNIST_EXAMPLES)
    tfds.builder("mnist", data_dir=place).download_and_prepare(download_config=config)


def make_weights(folder: Path, names: tuple[str, ...] = ("vgg16", "resnet50")) -> None:
    """Seeded weights of networks without their top, in the legacy format of the published files."""
    import h5py
    import keras
    import numpy as np

    from benchmark.catalog.keras_applications import APPLICATIONS, PUBLISHED

    digests = {}
    for name in names:
        keras.utils.set_random_seed(1)
        path = folder / "keras" / "models" / PUBLISHED[name].path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        model = getattr(keras.applications, APPLICATIONS[name].name)(include_top=False, weights=None)
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
            for layer in model.layers:
                group = file.create_group(layer.name)
                weights = [*layer.trainable_weights, *layer.non_trainable_weights]
                called = [f"{layer.name}/{number}:0".encode() for number in range(len(weights))]
                group.attrs["weight_names"] = called
                for each, weight in zip(called, weights, strict=True):
                    group.create_dataset(each.decode(), data=np.asarray(weight))
        digests[name] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "digests.json").write_text(json.dumps(digests))
    (site / "sitecustomize.py").write_text(_CUSTOMIZE)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    make_datasets(Path(sys.argv[1]))
    make_weights(Path(sys.argv[1]))
