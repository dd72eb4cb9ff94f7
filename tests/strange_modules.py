"""Modules of PyTorch as strangers write them, right and wrong: a plug-in file of tests."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, classes, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.LazyLinear(classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(self.drop(x.view(x.size(0), -1)))


def good(input_shape, num_classes, *, width=8):
    return Net(input_shape[0], num_classes, width)


def flat(input_shape, num_classes):
    """Without dropout and normalisation: the same numbers as a plain loop."""
    channels = input_shape[0]
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes)
    )


def twin(input_shape, num_classes):
    """The catalogue's `simple_cnn` with filters 8 and 16, 16 units and dropout 0.25, with the initial weights of Keras."""
    side = ((input_shape[1] - 2) // 2 - 2) // 2
    module = nn.Sequential(
        *(nn.Conv2d(input_shape[0], 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * side**2, 16), nn.ReLU(), nn.Dropout(0.25), nn.Linear(16, num_classes)),
    )
    for name, parameter in module.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.xavier_uniform_(parameter)
    return module


class Averages(nn.Module):
    """Assigns a new tensor to its buffer in each step, and has a frozen parameter."""

    def __init__(self, channels, classes):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)
        self.hidden = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU())
        self.classes = nn.Linear(8, classes)
        self.bench_head = ["hidden", "classes"]

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3), keepdim=True)[0]
        return self.classes(self.hidden((x - self.mean) * self.scale))


def averages(input_shape, num_classes):
    return Averages(input_shape[0], num_classes)


def softmax(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.Softmax(1))


def sigmoid(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.Sigmoid())


def logarithms(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.LogSoftmax(1))


class Fourier(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.filter = nn.Parameter(torch.ones(input_shape, dtype=torch.cfloat))
        self.fc = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.fc(torch.fft.ifft2(torch.fft.fft2(x) * self.filter).real.flatten(1))


class Remembers(nn.Module):
    """Keeps the graph of a batch for the next one."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.fc = nn.LazyLinear(num_classes)
        self.last = 0

    def forward(self, x):
        logits = self.fc(x.flatten(1))
        made, self.last = logits + self.last, 0.1 * logits.mean()
        return made


def eleven(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes + 1))


class Pair(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.LazyLinear(classes)

    def forward(self, x):
        logits = self.fc(x.flatten(1))
        return logits, logits


def pair(input_shape, num_classes):
    return Pair(num_classes)


def nothing(input_shape, num_classes):
    class Nothing(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :num_classes] - 1

    return Nothing()


def large(input_shape, num_classes):
    return nn.Sequential(nn.Conv2d(input_shape[0], 2, 3), nn.Flatten(), nn.Linear(2 * 222 * 222, num_classes))


def cuda(input_shape, num_classes):
    return good(input_shape, num_classes).cuda()


def no_module(input_shape, num_classes):
    return lambda x: torch.zeros(len(x), num_classes)


def arguments(channels):
    return flat((channels, 16, 16), 10)


def head(input_shape, num_classes):
    module = flat(input_shape, num_classes)
    module.bench_head = ["classifier"]
    return module


def half(input_shape, num_classes):
    return flat(input_shape, num_classes).half()


class WithoutGradient(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.LazyLinear(classes)

    @torch.no_grad()
    def forward(self, x):
        return self.fc(x.flatten(1))


def without_gradient(input_shape, num_classes):
    return WithoutGradient(num_classes)


def frozen(input_shape, num_classes):
    return flat(input_shape, num_classes).requires_grad_(requires_grad=False)
