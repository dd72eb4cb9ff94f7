"""Published weights of timm's networks: the files that the Hugging Face hub has, in its own cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.catalog.torch_models import TIMM
from benchmark.errors import DataError

_FILE = "model.safetensors"


def timm_file(name: str, *, offline: bool = True) -> Path:
    """The weights file of an architecture, as timm names its default weights: from the cache, else downloaded.

    Args:
        name: Of the architecture, with its prefix.
        offline: Whether downloads are forbidden, as they are in workers.

    Raises:
        DataError: None are published, or they cannot be had; the message names the cure.
    """
    try:
        import timm
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise DataError(f"timm is not installed here ({error}); pip install 'benchmark-matrix[timm]'") from error
    from benchmark.training.networks.torch_hubs import unknown_network

    if unknown := unknown_network(name.removeprefix(TIMM)):
        raise DataError(unknown)
    published: Any = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    repository = published.hf_hub_id if published else None
    if not repository:
        raise DataError(f"no weights are published for {name} on the Hugging Face hub; take weights of a file")
    try:
        return Path(hf_hub_download(repository, _FILE, local_files_only=offline))
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"the weights of {name} could not be downloaded ({reason:.300}); run `bench prepare` with a network, or bring them "
            f"with `hf download {repository} {_FILE}` into the same HF_HOME"
        ) from error
