"""Facts about the networks of Keras Applications that are needed without importing Keras or fetching a file.

A test compares each fact with Keras: which file it fetches for `weights="imagenet"` and
`include_top=False`, with which digest, how many layers and parameters that network has, and what its own
preprocessing does to an image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "keras:"
"""Prefix of their names in a matrix: `architecture = "keras:MobileNetV2"`."""

HOME = "BENCH_KERAS_HOME"
"""Variable that tells workers where Keras keeps downloaded weights: their `KERAS_HOME` holds no `keras.json` (see `processes/environment`)."""

_STORE = "https://storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """The file with the ImageNet weights of a network without its top.

    Attributes:
        url: Where the file is downloaded from.
        digest: MD5 or SHA-256 of the file, as Keras states it; None where Keras states none.
        cached_as: The name of the file in Keras's cache, where it differs from that in the URL.
    """

    url: str
    digest: str | None
    cached_as: str = ""

    @property
    def algorithm(self) -> str:
        """The algorithm of the digest: `md5` or `sha256`."""
        return "sha256" if self.digest and len(self.digest) == 64 else "md5"

    @property
    def stamp(self) -> str:
        """The digest in words: `md5 6d6bbae1…`."""
        return f"{self.algorithm} {self.digest}" if self.digest else "no digest is published"

    @property
    def path(self) -> Path:
        """Path of the file in Keras's cache: `$KERAS_HOME/models`, by default `~/.keras/models`."""
        return keras_home() / "models" / (self.cached_as or self.url.rpartition("/")[2])


def keras_home() -> Path:
    """Where Keras keeps downloaded weights: `$KERAS_HOME`, by default `~/.keras`."""
    return Path(os.environ.get(HOME) or os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


@dataclass(frozen=True, slots=True)
class Application:
    """A network of Keras Applications, without its top.

    Attributes:
        name: The function of `keras.applications` that builds it.
        preprocessing: How pixels 0..255 are scaled: `caffe` (BGR, ImageNet's means subtracted), `torch`
            (ImageNet's means subtracted, divided by its deviations), `symmetric` (to -1..1), `centred` (128 becomes 0,
            0 becomes -1), `inside` (layers of the network itself do what `torch` does).
        minimum_image_size: The smallest images it takes, in pixels.
        layers, parameters: Their numbers, without the input layer and without preprocessing that is not `inside`.
        giga_multiply_adds, mega_activations: Of a forward pass of one image of 224x224 pixels: 10^9 multiply-adds,
            10^6 output values of all layers together.
    """

    name: str
    preprocessing: str
    minimum_image_size: int
    layers: int
    parameters: int
    giga_multiply_adds: float
    mega_activations: float


_TABLE: tuple[tuple[str, str, int, int, int, float, float, str, str | None], ...] = (
    ("ConvNeXtBase", "torch", 32, 257, 87_566_464, 15.4, 61.6, "tensorflow/keras-applications/convnext/convnext_base_notop.h5", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    ("ConvNeXtLarge", "torch", 32, 257, 196_230_336, 34.4, 92.3, "tensorflow/keras-applications/convnext/convnext_large_notop.h5", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    ("ConvNeXtSmall", "torch", 32, 257, 49_454_688, 8.68, 46.2, "tensorflow/keras-applications/convnext/convnext_small_notop.h5", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    ("ConvNeXtTiny", "torch", 32, 131, 27_820_128, 4.45, 28.6, "tensorflow/keras-applications/convnext/convnext_tiny_notop.h5", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    ("ConvNeXtXLarge", "torch", 32, 257, 348_147_968, 60.9, 123, "tensorflow/keras-applications/convnext/convnext_xlarge_notop.h5", "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
    ("DenseNet121", "torch", 32, 426, 7_037_504, 2.83, 49.8, "tensorflow/keras-applications/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
    ("DenseNet169", "torch", 32, 594, 12_642_880, 3.36, 59.9, "tensorflow/keras-applications/densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5", "b8c4d4c20dd625c148057b9ff1c1176b"),
    ("DenseNet201", "torch", 32, 706, 18_321_984, 4.29, 77.1, "tensorflow/keras-applications/densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    ("EfficientNetB0", "inside", 32, 236, 4_049_571, 0.385, 25, "keras-applications/efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    ("EfficientNetB1", "inside", 32, 338, 6_575_239, 0.568, 34.4, "keras-applications/efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
    ("EfficientNetB2", "inside", 32, 338, 7_768_569, 0.658, 36, "keras-applications/efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    ("EfficientNetB3", "inside", 32, 383, 10_783_535, 0.961, 47.7, "keras-applications/efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
    ("EfficientNetB4", "inside", 32, 473, 17_673_823, 1.5, 62, "keras-applications/efficientnetb4_notop.h5", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    ("EfficientNetB5", "inside", 32, 575, 28_513_527, 2.35, 84.9, "keras-applications/efficientnetb5_notop.h5", "38879255a25d3c92d5e44e04ae6cec6f"),
    ("EfficientNetB6", "inside", 32, 665, 40_960_143, 3.36, 108, "keras-applications/efficientnetb6_notop.h5", "9ecce42647a20130c1f39a5d4cb75743"),
    ("EfficientNetB7", "inside", 32, 812, 64_097_687, 5.17, 145, "keras-applications/efficientnetb7_notop.h5", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    ("EfficientNetV2B0", "torch", 32, 267, 5_919_312, 0.717, 16, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    ("EfficientNetV2B1", "torch", 32, 331, 6_931_124, 1.01, 21.3, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
    ("EfficientNetV2B2", "torch", 32, 346, 8_769_374, 1.17, 23, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
    ("EfficientNetV2B3", "torch", 32, 406, 12_930_622, 1.61, 28.7, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
    ("EfficientNetV2L", "centred", 32, 1026, 117_746_848, 12.2, 120, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
    ("EfficientNetV2M", "centred", 32, 738, 53_150_388, 5.36, 68, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
    ("EfficientNetV2S", "centred", 32, 511, 20_331_360, 2.85, 41.8, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    ("InceptionResNetV2", "symmetric", 75, 779, 54_336_736, 6.47, 40.6, "tensorflow/keras-applications/inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "d19885ff4a710c122648d3b5c3b684e4"),
    ("InceptionV3", "symmetric", 75, 310, 21_802_784, 2.84, 16.6, "tensorflow/keras-applications/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    ("MobileNet", "symmetric", 32, 85, 3_228_864, 0.568, 16.7, "tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5", None),
    ("MobileNetV2", "symmetric", 32, 153, 2_257_984, 0.299, 21.7, "tensorflow/keras-applications/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", None),
    ("MobileNetV3Large", "symmetric", 32, 185, 2_996_352, 0.214, 15.3, "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5", "07fb09a5933dd0c8eaafa16978110389"),
    ("MobileNetV3Small", "symmetric", 32, 155, 939_120, 0.0549, 5.21, "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    ("NASNetLarge", "symmetric", 32, 1038, 84_916_818, 10.3, 129, "tensorflow/keras-applications/nasnet/NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"),
    ("NASNetMobile", "symmetric", 32, 768, 4_269_716, 0.563, 27.5, "tensorflow/keras-applications/nasnet/NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
    ("ResNet101", "caffe", 32, 344, 42_658_176, 7.57, 55.7, "tensorflow/keras-applications/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
    ("ResNet101V2", "symmetric", 32, 376, 42_626_560, 7.19, 51.1, "tensorflow/keras-applications/resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "c0ed64b8031c3730f411d2eb4eea35b5"),
    ("ResNet152", "caffe", 32, 514, 58_370_944, 11.3, 78.9, "tensorflow/keras-applications/resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("ResNet152V2", "symmetric", 32, 563, 58_331_648, 10.9, 75.6, "tensorflow/keras-applications/resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "ed17cf2e0169df9d443503ef94b23b33"),
    ("ResNet50", "caffe", 32, 174, 23_587_712, 3.86, 37, "tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
    ("ResNet50V2", "symmetric", 32, 189, 23_564_800, 3.48, 31.2, "tensorflow/keras-applications/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "fac2f116257151a9d068a22e544a4917"),
    ("VGG16", "caffe", 32, 18, 14_714_688, 15.3, 15.1, "tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    ("VGG19", "caffe", 32, 21, 20_024_384, 19.5, 16.4, "tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"),
    ("Xception", "symmetric", 71, 131, 20_861_480, 4.55, 34.4, "tensorflow/keras-applications/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
)  # fmt: skip
"""Name, preprocessing, smallest images, layers, parameters, multiply-adds, activations, file, digest."""

_CACHED_AS = {"NASNetLarge": "nasnet_large_no_top.h5", "NASNetMobile": "nasnet_mobile_no_top.h5"}
_BUILT_IN = {"VGG16": "vgg16", "ResNet50": "resnet50"}
"""Architectures that also have a name without the prefix; both names mean the same."""


def canonical(name: str) -> str:
    """The preferred name of an architecture: `vgg16` for `keras:VGG16`."""
    return _BUILT_IN.get(name.removeprefix(PREFIX), name) if name.startswith(PREFIX) else name


APPLICATIONS: Mapping[str, Application] = {canonical(PREFIX + row[0]): Application(*row[:7]) for row in _TABLE}
"""By the name of the architecture."""

PUBLISHED: dict[str, PublishedWeights] = {
    canonical(PREFIX + row[0]): PublishedWeights(f"{_STORE}/{row[7]}", row[8], _CACHED_AS.get(row[0], ""))
    for row in _TABLE
}
"""ImageNet weights by the name of the architecture."""
