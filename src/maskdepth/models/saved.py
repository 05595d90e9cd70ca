"""A trained network in one safe file.

Nothing here is ever unpickled into code, and nothing is trusted because it can be read: safetensors loads a flipped bit
as a wrong weight without a word, so the file carries the SHA-256 of what it holds.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.process.files import replacing

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
            card = json.loads((file.metadata() or {}).get("maskdepth", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); {_RESTORE}") from error
    found = card.get("format") if isinstance(card, dict) else card
    if found != _FORMAT:
        raise ValueError(f"{path}: found format {found!r}, expected {_FORMAT!r}; {_RESTORE}")
    if card.pop("sha256", "none") != _digest_network(card, weights):
        raise ValueError(f"{path}: it is damaged (SHA-256 differs); {_RESTORE}")
    try:
        network = build_network(_read_spec(card))
        network.load_state_dict(weights)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not fit this version of maskdepth: {error}; {_RESTORE}") from error
    return network.eval()


_RESTORE = "restore it with `dvc checkout --force` or make it again with `dvc repro --force train`"


def _read_spec(card: dict[str, Any]) -> NetworkSpec:
    moments = {name: tuple(values) for name, values in card["normalisation"].items()}
    return NetworkSpec(card["architecture"], card["inputs"], Normalisation(**moments), card["image_size"])


def _digest_network(card: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """Digest all that a network is: its card, and its weights by name, type and shape."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].dtype} {tuple(weights[name].shape)}".encode())
        digest.update(weights[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
