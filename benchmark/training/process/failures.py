"""Why an attempt failed: the exceptions that training raises, and the cause of any exception."""

from __future__ import annotations

from benchmark.errors import BenchError, DataError
from benchmark.status import Cause

EXIT_DATA_ERROR = 3
"""Exit status of the programs in `training/programs` where they report a `DataError`."""

_MEMORY_CLASSES = frozenset({"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"})
_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "OOM when allocating")
_DEVICE_WORDS = ("CUDA_ERROR_", "cudaError", "device lost", "Device lost", "CUDNN_STATUS_EXECUTION_FAILED", "XID")
_BACKEND_MODULES = ("tensorflow", "jax", "jaxlib", "torch")


class DeviceError(BenchError):
    """The device that the cell needs is not there, or is lost."""


class DivergedError(BenchError):
    """A loss became NaN or infinite."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__(f"the loss became NaN or infinite in epoch {epoch}, batch {batch}")
        self.epoch = epoch
        self.batch = batch


class StopRequestedError(BenchError):
    """SIGTERM came; raised between two batches, where nothing is half done."""


def cause_of(error: BaseException) -> str:
    """`data_error`, `oom`, `device_lost` or `failed`.

    Classes of backends are told by name and by the backend's own status words, so that this module imports none of
    them: TensorFlow raises `ResourceExhaustedError`, JAX one class for everything with the status in its message,
    PyTorch `OutOfMemoryError`.
    """
    if isinstance(error, DataError):
        return Cause.DATA_ERROR
    if isinstance(error, DeviceError):
        return Cause.DEVICE_LOST
    if any(kind.__name__ in _MEMORY_CLASSES for kind in type(error).__mro__):
        return Cause.OOM
    if type(error).__module__.partition(".")[0] in _BACKEND_MODULES or type(error) is RuntimeError:
        message = str(error)
        if any(word in message for word in _MEMORY_WORDS):
            return Cause.OOM
        if any(word in message for word in _DEVICE_WORDS):
            return Cause.DEVICE_LOST
    return Cause.FAILED
