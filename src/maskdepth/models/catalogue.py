"""The networks that params.yaml can name: one table, with where each comes from and what it accepts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from maskdepth.models.dsunet import DSUNet
from maskdepth.models.network import INPUT_CHANNELS, Network, NetworkSpec
from maskdepth.models.students.deepjyotisaha85 import Deepjyotisaha85ResNet
from maskdepth.models.students.mshilpaa import MshilpaaUNet
from maskdepth.models.students.sajnanshetty import SajnanshettyUNet
from maskdepth.models.students.sudhakarmlal import SudhakarmlalConvGen, SudhakarmlalNet
from maskdepth.models.students.sumankanukollu import SumankanukolluDepthMask
from maskdepth.models.unet import UNet
from maskdepth.params import ModelParams
from maskdepth.process.console import suggest

# Four halvings must leave a pixel.
SMALLEST_SIDE = 16

# Sides of the pictures for which multiply-adds are counted [px]: what most of the students trained on, and what most of
# their pictures have.
_COUNTED_SIDES = (64, 224)


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        build: Makes the model, given the channels of its stacked pictures.
        inputs: The inputs that it accepts; the first is what "auto" means.
        origin: Where it comes from, for `maskdepth models`.
        multiple: The sides of its pictures are multiples of this [px].
    """

    build: Callable[[int], nn.Module]
    inputs: tuple[str, ...]
    origin: str
    multiple: int = 1


_OURS = (
    "background+composite+difference",
    "background+composite",
    "background+composite+difference+background_depth",
    "background+composite+background_depth",
)
_STUDENTS = ("background+composite", "background+composite+background_depth")

MODELS = {
    "dsunet": Architecture(DSUNet, _OURS, "separable encoder and mask decoder, plain depth decoder at half the size"),
    "unet": Architecture(UNet, _OURS, "plain U-Net with two decoders, depth at half the size"),
    "sajnanshetty": Architecture(SajnanshettyUNet, _STUDENTS, "student project sajnanshetty"),
    "sajnanshetty-transposed": Architecture(
        partial(SajnanshettyUNet, bilinear=False), _STUDENTS, "the same, enlarging by transposed convolutions"
    ),
    "sumankanukollu": Architecture(SumankanukolluDepthMask, _STUDENTS, "student project sumankanukollu"),
    "sumankanukollu-colour": Architecture(
        partial(SumankanukolluDepthMask, depth_channels=3), _STUDENTS, "its first version: a depth head of 3 channels"
    ),
    "deepjyotisaha85": Architecture(Deepjyotisaha85ResNet, _STUDENTS, "student project deepjyotisaha85"),
    "mshilpaa": Architecture(MshilpaaUNet, _STUDENTS, "student project mshilpaa", multiple=16),
    "sudhakarmlal": Architecture(SudhakarmlalNet, _STUDENTS, "student project sudhakarmlal, Model1"),
    "sudhakarmlal-convgen": Architecture(
        SudhakarmlalConvGen, _STUDENTS, "its Model2: one output served as mask and as depth"
    ),
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


def check_image_size(name: str, image_size: int) -> None:
    """Refuse pictures that a network cannot take.

    Raises:
        ValueError: `image_size` [px] is too small, or not a multiple of what the network halves; names one that fits.
    """
    if image_size < SMALLEST_SIDE:
        raise ValueError(f"data.image_size: found {image_size} px; the networks need {SMALLEST_SIDE} px or more")
    multiple = _find(name).multiple
    if image_size % multiple:
        fitting = math.ceil(image_size / multiple) * multiple
        raise ValueError(
            f"data.image_size: found {image_size} px; {name} needs a multiple of {multiple}, for example {fitting}"
        )


def build_model(name: str, inputs: str) -> nn.Module:
    """Build an architecture with fresh weights, for the channels that `inputs` makes.

    Raises:
        ValueError: The architecture is unknown.
    """
    return _find(name).build(INPUT_CHANNELS[inputs])


def build_network(spec: NetworkSpec) -> Network:
    """Build the network that `spec` describes, with fresh weights, laid out as convolutions compute fastest.

    Raises:
        ValueError: The architecture is unknown.
    """
    return Network(build_model(spec.architecture, spec.inputs), spec).to(memory_format=torch.channels_last)


def describe_models() -> list[dict[str, str]]:
    """Describe every architecture with its "auto" inputs, for people, in the order of the table.

    >>> next(row["parameters"] for row in describe_models() if row["name"] == "sajnanshetty")
    '8,631,810'
    """
    return [_describe(name, architecture) for name, architecture in MODELS.items()]


def count_parameters(model: nn.Module) -> int:
    """Count all numbers of a model, also those that it keeps but never trains."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(name: str, inputs: str, image_size: int) -> int:
    """Count the multiply-adds of one forward pass for one pair of pictures of this side [px]."""
    from torch.utils.flop_counter import FlopCounterMode  # loads triton

    # On the meta device shapes are followed and nothing is computed.
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_model(name, inputs).eval()(torch.empty(1, INPUT_CHANNELS[inputs], image_size, image_size))
    return int(counter.get_total_flops()) // 2


def _describe(name: str, architecture: Architecture) -> dict[str, str]:
    inputs = architecture.inputs[0]
    with torch.device("meta"):
        parameters = count_parameters(build_model(name, inputs))
    counts = {side: count_multiply_adds(name, inputs, side) for side in _COUNTED_SIDES}
    sides = f"multiples of {architecture.multiple} px" if architecture.multiple > 1 else f"{SMALLEST_SIDE} px or more"
    return {
        "name": name,
        "parameters": f"{parameters:,}",
        f"multiply-adds at {' / '.join(map(str, counts))} px": " / ".join(f"{n / 1e6:,.0f} M" for n in counts.values()),
        "what it is": f"{architecture.origin}; sides of {sides}",
    }


def _find(name: str) -> Architecture:
    if name not in MODELS:
        raise ValueError(f"model.name: unknown network {name!r}; {suggest(name, MODELS)}")
    return MODELS[name]
