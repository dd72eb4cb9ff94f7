"""Facts about the classifiers of torchvision and timm that are needed without importing either or fetching a file.

A test compares each fact with torchvision.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.catalog.keras_applications import PublishedWeights

TORCHVISION, TIMM = "torchvision:", "timm:"
"""Prefixes of their names in a matrix: `architecture = "torchvision:resnet18"`."""

_STORE = "https://download.pytorch.org/models"

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of values 0..1 by channel, as the weights of torchvision expect their images."""


@dataclass(frozen=True, slots=True)
class TorchvisionModel:
    """A classifier of torchvision.

    Attributes:
        name: Of its builder.
        minimum_image_size: The smallest images that it takes, in pixels.
        parameters: Their number with 1,000 classes.
        giga_multiply_adds: 10^9 of a forward pass of an image of the usual size.
        file: That with its best published weights.
    """

    name: str
    minimum_image_size: int
    parameters: int
    giga_multiply_adds: float
    file: str


class HubWeights(PublishedWeights):
    """A file of PyTorch's model hub, whose name ends with the first digits of its SHA-256."""

    __slots__ = ()

    @property
    def algorithm(self) -> str:
        return "sha256"

    @property
    def path(self) -> Path:
        """In the hub's cache: `$TORCH_HOME/hub/checkpoints`, by default below `~/.cache/torch`."""
        return torch_home() / "hub" / "checkpoints" / self.url.rpartition("/")[2]


def torch_home() -> Path:
    """Where PyTorch keeps downloaded weights: `$TORCH_HOME`, by default `$XDG_CACHE_HOME/torch` or `~/.cache/torch`."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser()


_TABLE: tuple[tuple[str, int, int, float, str], ...] = (
    ("alexnet", 63, 61_100_840, 0.714, "alexnet-owt-7be5be79.pth"),
    ("convnext_base", 32, 88_591_464, 15.355, "convnext_base-6075fbad.pth"),
    ("convnext_large", 32, 197_767_336, 34.361, "convnext_large-ea097f82.pth"),
    ("convnext_small", 32, 50_223_688, 8.684, "convnext_small-0c510722.pth"),
    ("convnext_tiny", 32, 28_589_128, 4.456, "convnext_tiny-983f1562.pth"),
    ("densenet121", 29, 7_978_856, 2.834, "densenet121-a639ec97.pth"),
    ("densenet161", 29, 28_681_000, 7.728, "densenet161-8d451a50.pth"),
    ("densenet169", 29, 14_149_480, 3.36, "densenet169-b2777c0a.pth"),
    ("densenet201", 29, 20_013_928, 4.291, "densenet201-c1103571.pth"),
    ("efficientnet_b0", 8, 5_288_548, 0.386, "efficientnet_b0_rwightman-7f5810bc.pth"),
    ("efficientnet_b1", 8, 7_794_184, 0.687, "efficientnet_b1-c27df63c.pth"),
    ("efficientnet_b2", 8, 9_109_994, 1.088, "efficientnet_b2_rwightman-c35c1473.pth"),
    ("efficientnet_b3", 8, 12_233_232, 1.827, "efficientnet_b3_rwightman-b3899882.pth"),
    ("efficientnet_b4", 8, 19_341_616, 4.394, "efficientnet_b4_rwightman-23ab8bcd.pth"),
    ("efficientnet_b5", 8, 30_389_784, 10.266, "efficientnet_b5_lukemelas-1a07897c.pth"),
    ("efficientnet_b6", 8, 43_040_704, 19.068, "efficientnet_b6_lukemelas-24a108a5.pth"),
    ("efficientnet_b7", 8, 66_347_960, 37.746, "efficientnet_b7_lukemelas-c5b4e57e.pth"),
    ("efficientnet_v2_l", 33, 118_515_272, 56.08, "efficientnet_v2_l-59c71312.pth"),
    ("efficientnet_v2_m", 33, 54_139_356, 24.582, "efficientnet_v2_m-dc08266a.pth"),
    ("efficientnet_v2_s", 33, 21_458_488, 8.366, "efficientnet_v2_s-dd5fe13b.pth"),
    ("googlenet", 15, 6_624_904, 1.498, "googlenet-1378be20.pth"),
    ("inception_v3", 75, 27_161_264, 5.713, "inception_v3_google-0cc3c7bd.pth"),
    ("maxvit_t", 224, 30_919_624, 5.558, "maxvit_t-bc5ab103.pth"),
    ("mnasnet0_5", 8, 2_218_512, 0.104, "mnasnet0.5_top1_67.823-3ffadce67e.pth"),
    ("mnasnet0_75", 8, 3_170_208, 0.215, "mnasnet0_75-7090bc5f.pth"),
    ("mnasnet1_0", 8, 4_383_312, 0.314, "mnasnet1.0_top1_73.512-f206786ef8.pth"),
    ("mnasnet1_3", 8, 6_282_256, 0.526, "mnasnet1_3-a4c69d6f.pth"),
    ("mobilenet_v2", 8, 3_504_872, 0.301, "mobilenet_v2-7ebf99e0.pth"),
    ("mobilenet_v3_large", 8, 5_483_032, 0.217, "mobilenet_v3_large-5c1a4163.pth"),
    ("mobilenet_v3_small", 8, 2_542_856, 0.057, "mobilenet_v3_small-047dcff4.pth"),
    ("regnet_x_16gf", 8, 54_278_536, 15.941, "regnet_x_16gf-ba3796d7.pth"),
    ("regnet_x_1_6gf", 8, 9_190_136, 1.603, "regnet_x_1_6gf-a12f2b72.pth"),
    ("regnet_x_32gf", 8, 107_811_560, 31.736, "regnet_x_32gf-6eb8fdc6.pth"),
    ("regnet_x_3_2gf", 8, 15_296_552, 3.177, "regnet_x_3_2gf-7071aa85.pth"),
    ("regnet_x_400mf", 8, 5_495_976, 0.414, "regnet_x_400mf-62229a5f.pth"),
    ("regnet_x_800mf", 8, 7_259_656, 0.8, "regnet_x_800mf-94a99ebd.pth"),
    ("regnet_x_8gf", 8, 39_572_648, 7.995, "regnet_x_8gf-2b70d774.pth"),
    ("regnet_y_128gf", 8, 644_812_894, 374.57, "regnet_y_128gf_swag-c8ce3e52.pth"),
    ("regnet_y_16gf", 8, 83_590_140, 15.912, "regnet_y_16gf-3e4a00f9.pth"),
    ("regnet_y_1_6gf", 8, 11_202_430, 1.612, "regnet_y_1_6gf-0d7bc02a.pth"),
    ("regnet_y_32gf", 8, 145_046_770, 32.28, "regnet_y_32gf-8db6d4b5.pth"),
    ("regnet_y_3_2gf", 8, 19_436_338, 3.176, "regnet_y_3_2gf-9180c971.pth"),
    ("regnet_y_400mf", 8, 4_344_144, 0.402, "regnet_y_400mf-e6988f5f.pth"),
    ("regnet_y_800mf", 8, 6_432_512, 0.834, "regnet_y_800mf-58fc7688.pth"),
    ("regnet_y_8gf", 8, 39_381_472, 8.473, "regnet_y_8gf-dc2b1b54.pth"),
    ("resnet101", 8, 44_549_160, 7.801, "resnet101-cd907fc2.pth"),
    ("resnet152", 8, 60_192_808, 11.514, "resnet152-f82ba261.pth"),
    ("resnet18", 8, 11_689_512, 1.814, "resnet18-f37072fd.pth"),
    ("resnet34", 8, 21_797_672, 3.664, "resnet34-b627a593.pth"),
    ("resnet50", 8, 25_557_032, 4.089, "resnet50-11ad3fa6.pth"),
    ("resnext101_32x8d", 8, 88_791_336, 16.414, "resnext101_32x8d-110c445d.pth"),
    ("resnext101_64x4d", 8, 83_455_272, 15.46, "resnext101_64x4d-173b62eb.pth"),
    ("resnext50_32x4d", 8, 25_028_904, 4.23, "resnext50_32x4d-1a0047aa.pth"),
    ("shufflenet_v2_x0_5", 8, 1_366_792, 0.04, "shufflenetv2_x0.5-f707e7126e.pth"),
    ("shufflenet_v2_x1_0", 8, 2_278_604, 0.145, "shufflenetv2_x1-5666bf0f80.pth"),
    ("shufflenet_v2_x1_5", 8, 3_503_624, 0.296, "shufflenetv2_x1_5-3c479a10.pth"),
    ("shufflenet_v2_x2_0", 8, 7_393_996, 0.583, "shufflenetv2_x2_0-8be3c8ee.pth"),
    ("squeezenet1_0", 21, 1_248_424, 0.819, "squeezenet1_0-b66bff10.pth"),
    ("squeezenet1_1", 17, 1_235_496, 0.349, "squeezenet1_1-b8a52dc0.pth"),
    ("swin_b", 32, 87_768_224, 15.431, "swin_b-68c6b09e.pth"),
    ("swin_s", 32, 49_606_258, 8.741, "swin_s-5e29d889.pth"),
    ("swin_t", 32, 28_288_354, 4.491, "swin_t-704ceda3.pth"),
    ("swin_v2_b", 32, 87_930_848, 20.325, "swin_v2_b-781e5279.pth"),
    ("swin_v2_s", 32, 49_737_442, 11.546, "swin_v2_s-637d8ceb.pth"),
    ("swin_v2_t", 32, 28_351_570, 5.94, "swin_v2_t-b137f0e2.pth"),
    ("vgg11", 32, 132_863_336, 7.609, "vgg11-8a719046.pth"),
    ("vgg11_bn", 32, 132_868_840, 7.609, "vgg11_bn-6002323d.pth"),
    ("vgg13", 32, 133_047_848, 11.308, "vgg13-19584684.pth"),
    ("vgg13_bn", 32, 133_053_736, 11.308, "vgg13_bn-abd245e5.pth"),
    ("vgg16", 32, 138_357_544, 15.47, "vgg16-397923af.pth"),
    ("vgg16_bn", 32, 138_365_992, 15.47, "vgg16_bn-6c64b313.pth"),
    ("vgg19", 32, 143_667_240, 19.632, "vgg19-dcbb9e9d.pth"),
    ("vgg19_bn", 32, 143_678_248, 19.632, "vgg19_bn-c79401a0.pth"),
    ("vit_b_16", 16, 86_567_656, 17.564, "vit_b_16-c867db91.pth"),
    ("vit_b_32", 32, 88_224_232, 4.409, "vit_b_32-d86f8d99.pth"),
    ("vit_h_14", 14, 633_470_440, 1016.72, "vit_h_14_swag-80465313.pth"),
    ("vit_l_16", 16, 304_326_632, 61.555, "vit_l_16-852ce7e3.pth"),
    ("vit_l_32", 32, 306_535_400, 15.378, "vit_l_32-c7638314.pth"),
    ("wide_resnet101_2", 8, 126_886_696, 22.753, "wide_resnet101_2-d733dc28.pth"),
    ("wide_resnet50_2", 8, 68_883_240, 11.398, "wide_resnet50_2-9ba9bcbe.pth"),
)  # fmt: skip
"""Name, smallest images, parameters, multiply-adds, file."""

TORCHVISION_MODELS: Mapping[str, TorchvisionModel] = {TORCHVISION + row[0]: TorchvisionModel(*row) for row in _TABLE}
"""By the name of the architecture."""

TORCHVISION_WEIGHTS: Mapping[str, PublishedWeights] = {
    name: HubWeights(f"{_STORE}/{model.file}", model.file.removesuffix(".pth").rpartition("-")[2])
    for name, model in TORCHVISION_MODELS.items()
}
"""Published weights by the name of the architecture."""
