"""Finds which features of a dataset of TensorFlow Datasets hold images, labels and groups, and makes labels of them.

Several labels an image are a sequence of class labels, or a row of numbers 0 and 1, one for each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import DataError
from benchmark.training.data.preparing.sources import DatasetRequest

NO_LABEL = 255
"""Stands in a row of labels of which one is missing."""


@dataclass(frozen=True, slots=True)
class TfdsFeatures:
    """Which features of a dataset hold what.

    Attributes:
        image, label, group: Their names; None for no groups.
        channels: Of the images.
        labels: The feature of the labels.
        classes: With several labels an image how many there are; None with one label an image.
    """

    image: str
    label: str
    group: str | None
    channels: int
    labels: Any
    classes: int | None

    @classmethod
    def of(cls, name: str, builder: Any, request: DatasetRequest) -> TfdsFeatures:
        """Finds them.

        Raises:
            DataError: One of them is not there, or there is a choice.
        """
        image, label = feature_names(name, builder, multi_label=request.multi_label)
        features = dict(builder.info.features)
        if request.groups is not None and request.groups not in features:
            raise DataError(
                f'{request.source}: groups = "{request.groups}", but there is no such feature; found {", ".join(sorted(features))[:300]}; '
                "correct the name, or set groups = false"
            )
        classes = None
        if request.multi_label:
            classes = _class_count(features[label]) or int(features[label].num_classes)
        return cls(image, label, request.groups, features[image].shape[-1] or 3, features[label], classes)

    @property
    def is_sequence(self) -> bool:
        """Whether several labels an image are a list of classes, and no row of 0 and 1."""
        return self.classes is not None and hasattr(self.labels, "feature")

    def class_names(self, request: DatasetRequest) -> list[str]:
        """Names of the labels: the user's, else the source's, else numbers.

        Raises:
            DataError: The user names more or fewer.
        """
        names = getattr(getattr(self.labels, "feature", self.labels), "names", None)
        count = self.classes or self.labels.num_classes
        if request.class_names and len(request.class_names) != count:
            raise DataError(
                f"{request.source}: expected {count} class_names, one for each label of {self.label}, found {len(request.class_names)}"
            )
        return list(request.class_names or names or map(str, range(count)))

    def label_of(self, example: Any) -> Any:
        """The label of an example; of several a row of 0 and 1, of `NO_LABEL` where one is missing, with 2 for other numbers."""
        import tensorflow as tf

        label = example[self.label]
        if self.classes is None:
            return label
        if self.is_sequence or not label.shape.rank:
            row = tf.reduce_max(tf.one_hot(tf.reshape(label, [-1]), self.classes, dtype=tf.int32), axis=0)
        elif label.dtype == tf.bool:
            row = tf.cast(label, tf.int32)
        else:
            row = tf.where(label == 0, 0, tf.where(label == 1, 1, 2))
        is_missing = label.dtype != tf.bool and tf.reduce_any(label < 0)
        return tf.cast(tf.where(is_missing, NO_LABEL, row), tf.uint8)


def feature_names(name: str, builder: Any, *, multi_label: bool = False) -> tuple[str, str]:
    """Names of the features that hold the image and its label, or labels."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = _features_of(features, tfds.features.Image)
    labels = _features_of(features, tfds.features.ClassLabel)
    several = [key for key, feature in dict(features).items() if _class_count(feature) is not None]
    if multi_label:
        labels = several or labels
    keys = builder.info.supervised_keys
    if keys and keys[0] in images and keys[1] in labels:
        return keys[0], keys[1]
    chosen = [
        next((each for each in usual if each in candidates), candidates[0] if len(candidates) == 1 else None)
        for usual, candidates in ((("image",), images), (("label", "labels"), labels))
    ]
    if chosen[0] is None or chosen[1] is None:
        cure = f"; set multi_label = true, because {several[0]} holds several" if several and not labels else ""
        raise DataError(
            f"the TFDS dataset {name!r} does not hold images with one label each: its features are {features!s:.300}{cure}"
        )
    return chosen[0], chosen[1]


def _class_count(feature: Any) -> int | None:
    """How many labels a feature has room for, of which an image may have several; None where it is of another kind."""
    import tensorflow_datasets as tfds

    inner = getattr(feature, "feature", None)
    if isinstance(feature, tfds.features.Sequence) and isinstance(inner, tfds.features.ClassLabel):
        return int(inner.num_classes)
    shape = feature.shape if isinstance(feature, tfds.features.Tensor) else ()
    if isinstance(feature, tfds.features.Image | tfds.features.ClassLabel) or not isinstance(shape, tuple):
        return None
    is_row = len(shape) == 1 and (shape[0] or 0) > 1 and np.dtype(feature.np_dtype).kind in "buif"
    return int(shape[0]) if is_row else None


def _features_of(features: Any, kind: type) -> list[str]:
    return [key for key, feature in dict(features).items() if isinstance(feature, kind)]
