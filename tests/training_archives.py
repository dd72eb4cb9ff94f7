"""Small raw archives in the true formats, put where TFDS looks for what it has downloaded.

TFDS takes a file in its download cache for the genuine one, so its real builders run over these. The pictures are
made up: coloured squares whose place tells the class.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np


def picture(label: int, size: int, random: np.random.Generator) -> np.ndarray:
    """An RGB image [size, size, 3] uint8 in which the class can be seen."""
    image = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
    column, row = label % 4 * size // 4, label // 4 * size // 4
    image[row : row + size // 4, column : column + size // 4, label % 3] += 180
    return image


def put_cifar10(data_directory: Path, per_batch: int, test: int) -> None:
    """CIFAR-10's tar of binary batches: records of one label byte and 3 x 1024 pixel bytes, plane by plane."""
    random = np.random.default_rng(0)

    def batch(count: int) -> bytes:
        labels = np.arange(count) % 10
        return b"".join(
            bytes([label]) + picture(int(label), 32, random).transpose(2, 0, 1).tobytes() for label in labels
        )

    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files = {"batches.meta.txt": "\n".join(names).encode() + b"\n", "test_batch.bin": batch(test)}
    files |= {f"data_batch_{number}.bin": batch(per_batch) for number in range(1, 6)}
    _put(
        data_directory,
        "cifar10",
        "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{name}": content for name, content in files.items()},
    )


def put_mnist(data_directory: Path, train: int, test: int) -> None:
    """MNIST's four IDX files, gzipped. TFDS insists on 60,000 and 10,000 images: black zeros follow the real ones."""
    random = np.random.default_rng(0)
    for part, count, whole in (("train", train, 60_000), ("t10k", test, 10_000)):
        labels = np.zeros(whole, dtype=np.uint8)
        labels[:count] = np.arange(count) % 10
        images = np.zeros((whole, 28, 28), dtype=np.uint8)
        for number in range(count):
            images[number] = picture(int(labels[number]), 28, random).max(axis=-1)
        header = struct.pack(">IIII", 2051, whole, 28, 28)
        _keep(data_directory, "mnist", f"{part}-images-idx3-ubyte.gz", gzip.compress(header + images.tobytes(), 1))
        header = struct.pack(">II", 2049, whole)
        _keep(data_directory, "mnist", f"{part}-labels-idx1-ubyte.gz", gzip.compress(header + labels.tobytes(), 1))


def put_imagenette(data_directory: Path, train: int, test: int) -> None:
    """Imagenette's tar of JPEG files of varying shapes, in a folder for each WordNet id."""
    from PIL import Image

    ids = [
        "n01440764",
        "n02102040",
        "n02979186",
        "n03000684",
        "n03028079",
        "n03394916",
        "n03417042",
        "n03425413",
        "n03445777",
        "n03888257",
    ]
    random = np.random.default_rng(0)
    files = {}
    for split, count in (("train", train), ("val", test)):
        for number in range(count):
            label = number % 10
            shape = (160, 160 + 20 * (number % 4))
            encoded = io.BytesIO()
            Image.fromarray(picture(label, 200, random)).resize(shape[::-1]).save(encoded, "JPEG", quality=95)
            files[f"imagenette2-160/{split}/{ids[label]}/{ids[label]}_{number}.JPEG"] = encoded.getvalue()
    _put(data_directory, "imagenette", "imagenette2-160.tgz", files)


def put_flowers(data_directory: Path, count: int) -> None:
    """The tar of tf_flowers: JPEG files in a folder for each of five flowers; TFDS has one split of them."""
    from PIL import Image

    random = np.random.default_rng(0)
    files = {}
    for number in range(count):
        name = ("dandelion", "daisy", "tulips", "sunflowers", "roses")[number % 5]
        encoded = io.BytesIO()
        Image.fromarray(picture(number % 5, 80, random)).resize((90, 60)).save(encoded, "JPEG", quality=95)
        files[f"flower_photos/{name}/{number}.jpg"] = encoded.getvalue()
    _put(data_directory, "tf_flowers", "flower_photos.tgz", files)


def _put(data_directory: Path, dataset: str, archive: str, files: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    _keep(data_directory, dataset, archive, packed.getvalue())


def _keep(data_directory: Path, dataset: str, archive: str, content: bytes) -> None:
    """A file in TFDS's download cache, under the name that stands for its address and its registered digest."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import resource

    infos = tfds.builder_cls(dataset).url_infos
    url, info = next((url, info) for url, info in infos.items() if url.endswith(archive))
    folder = data_directory / "downloads" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / resource.get_dl_fname(url, info.checksum)
    path.write_bytes(content)
    about = {
        "dataset_names": [dataset],
        "original_fname": archive,
        "urls": [url],
        "url_info": {"checksum": info.checksum, "filename": archive, "size": info.size},
    }
    path.with_name(f"{path.name}.INFO").write_text(json.dumps(about))
