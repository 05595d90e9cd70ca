"""A trained network in one safe file.

Nothing here is ever unpickled into code, and nothing is trusted because it can be read: safetensors loads a flipped bit
as a wrong weight without a word, so the file carries the SHA-256 of what it holds.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maskdepth.models.catalogue import build_network, check_image_size
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.params import LARGEST_IMAGE, SMALLEST_IMAGE, Inputs
from maskdepth.process.files import parse_json, replacing

_FORMAT = "maskdepth-network-2"


def save_network(network: Network, path: Path) -> None:
    """Write weights, architecture, inputs, normalisation and image size as one safetensors file, replaced in one step.

    Args:
        network: The trained network, on any device.
        path: The file to write; its folder is made.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    card = {"format": _FORMAT, **asdict(network.spec)}
    card["sha256"] = _digest_network(card, weights)
    with replacing(path, durable=True) as partial:
        partial.write_bytes(save(weights, {"maskdepth": json.dumps(card)}))


def load_network(path: Path) -> Network:
    """Read a network that `save_network` wrote; on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not such a file, an unknown architecture, or damage anywhere in it; says which and what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `dvc repro train` makes it")
    try:
        with safe_open(path, framework="pt") as file:
            card = parse_json((file.metadata() or {}).get("maskdepth", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); {_RESTORE}") from error
    found = card.get("format") if isinstance(card, dict) else card
    if found != _FORMAT:
        raise ValueError(f"{path}: found format {found!r}, expected {_FORMAT!r}; {_RESTORE}")
    if card.pop("sha256", "none") != _digest_network(card, weights):
        raise ValueError(f"{path}: it is damaged (SHA-256 differs); {_RESTORE}")
    try:
        network = build_network(_read_spec(card))
        network.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit this version of maskdepth: {error}; {_RESTORE}") from error
    wrong = next((name for name, value in weights.items() if not torch.isfinite(value).all()), None)
    if wrong is not None:
        raise ValueError(f"{path}: its weights {wrong} are not finite, so that it predicts nothing; {_RESTORE}")
    return network.eval()


_RESTORE = "restore it with `dvc checkout --force` or make it again with `dvc repro --force train`"


_Moments = Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat], Field(strict=False)]  # JSON has lists alone


class _Normalisation(BaseModel):
    """What the card must say of `Normalisation`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    background_mean: _Moments
    background_std: _Moments
    composite_mean: _Moments
    composite_std: _Moments


class _Card(BaseModel):
    """What the card must say of `NetworkSpec`: right digests say who wrote it last, not that it is one of ours."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: str
    architecture: str
    inputs: Inputs
    normalisation: _Normalisation
    image_size: Annotated[int, Field(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)]


def _read_spec(card: dict[str, Any]) -> NetworkSpec:
    try:
        read = _Card.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    check_image_size(read.architecture, read.image_size)
    return NetworkSpec(read.architecture, read.inputs, Normalisation(**dict(read.normalisation)), read.image_size)


def _digest_network(card: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """Digest all that a network is: its card, and its weights by name, type and shape."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].dtype} {tuple(weights[name].shape)}".encode())
        digest.update(weights[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
