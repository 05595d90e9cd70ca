"""The networks that params.yaml can name: one table, with where each comes from and what it accepts."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maskdepth.models.dsunet import DSUNet
from maskdepth.models.network import INPUT_CHANNELS, Network, NetworkSpec
from maskdepth.models.sajnanshetty import SajnanshettyUNet
from maskdepth.models.unet import UNet
from maskdepth.params import ModelParams

# Four halvings must leave a pixel.
SMALLEST_SIDE = 16

# Side of the pictures for which multiply-adds are counted [px].
_COUNTED_SIDE = 64


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        build: Makes the model, given the channels of its stacked pictures.
        inputs: The inputs that it accepts; the first is what "auto" means.
        origin: Where it comes from, for `maskdepth models`.
    """

    build: Callable[[int], nn.Module]
    inputs: tuple[str, ...]
    origin: str


MODELS = {
    "dsunet": Architecture(DSUNet, tuple(INPUT_CHANNELS), "separable encoder and mask decoder, plain depth decoder"),
    "unet": Architecture(UNet, tuple(INPUT_CHANNELS), "plain U-Net with two decoders"),
    "sajnanshetty": Architecture(SajnanshettyUNet, ("background+composite",), "student project sajnanshetty"),
}


def resolve_inputs(params: ModelParams) -> str:
    """Give the inputs that `params` asks for, with "auto" replaced by the architecture's own choice.

    Raises:
        ValueError: The architecture is unknown, or does not accept these inputs.
    """
    architecture = _find(params.name)
    if params.inputs == "auto":
        return architecture.inputs[0]
    if params.inputs not in architecture.inputs:
        allowed = ", ".join(("auto", *architecture.inputs))
        raise ValueError(f"model.inputs: {params.name} does not accept {params.inputs!r}; it accepts {allowed}")
    return params.inputs


def check_image_size(image_size: int) -> None:
    """Refuse pictures that four halvings would leave empty.

    Raises:
        ValueError: `image_size` [px] is too small.
    """
    if image_size < SMALLEST_SIDE:
        raise ValueError(f"data.image_size: found {image_size} px; the networks need {SMALLEST_SIDE} px or more")


def build_model(name: str, inputs: str) -> nn.Module:
    """Build an architecture with fresh weights, for the channels that `inputs` makes.

    Raises:
        ValueError: The architecture is unknown.
    """
    return _find(name).build(INPUT_CHANNELS[inputs])


def build_network(spec: NetworkSpec) -> Network:
    """Build the network that `spec` describes, with fresh weights.

    Raises:
        ValueError: The architecture is unknown.
    """
    return Network(build_model(spec.architecture, spec.inputs), spec)


def describe_models() -> list[dict[str, str]]:
    """Describe every architecture with its "auto" inputs, for people, in the order of the table.

    >>> next(row["parameters"] for row in describe_models() if row["name"] == "sajnanshetty")
    '8,631,810'
    """
    return [_describe(name, architecture) for name, architecture in MODELS.items()]


def count_parameters(model: nn.Module) -> int:
    """Count the numbers that training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters())


def _describe(name: str, architecture: Architecture) -> dict[str, str]:
    channels = INPUT_CHANNELS[architecture.inputs[0]]
    # On the meta device shapes are followed and nothing is computed.
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = architecture.build(channels).eval()
        model(torch.empty(1, channels, _COUNTED_SIDE, _COUNTED_SIDE))
    return {
        "name": name,
        "origin": architecture.origin,
        "parameters": f"{count_parameters(model):,}",
        f"multiply-adds at {_COUNTED_SIDE} px": f"{counter.get_total_flops() / 2e6:,.0f} M",
        "constraints": f"sides from {SMALLEST_SIDE} px; inputs {' or '.join(architecture.inputs)}",
    }


def _find(name: str) -> Architecture:
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"model.name: unknown network {name!r}; {hint}Known: {', '.join(MODELS)}")
    return MODELS[name]
