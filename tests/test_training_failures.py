from __future__ import annotations

import pytest

from benchmark.training.process.failures import DataError, DeviceError, cause_of


def raised(name, module="tensorflow.python.framework.errors_impl", message=""):
    return type(name, (Exception,), {"__module__": module})(message)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DataError("gone"), "data_error"),
        (DeviceError("no GPU"), "device_lost"),
        (MemoryError(), "oom"),
        (raised("ResourceExhaustedError", message="OOM when allocating tensor with shape[64,512]"), "oom"),
        (raised("OutOfMemoryError", "torch.cuda", "CUDA out of memory"), "oom"),
        (raised("XlaRuntimeError", "jaxlib.xla_extension", "RESOURCE_EXHAUSTED: Out of memory"), "oom"),
        (raised("InternalError", message="CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"), "device_lost"),
        (RuntimeError("cudaErrorLaunchFailure"), "device_lost"),
        (raised("InvalidArgumentError", message="shapes do not match"), "failed"),
        (ValueError("RESOURCE_EXHAUSTED, says a user's own code"), "failed"),
        (FileNotFoundError("x"), "failed"),
    ],
)
def test_every_exception_has_one_cause(error, cause):
    assert cause_of(error) == cause
