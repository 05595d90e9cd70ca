"""A training step: the same network in our loop and in a notebook's, and our network beside two others.

These are sajnanshetty's, and what one would pick today: smp.Unet, of segmentation_models_pytorch on a ResNet-18. One
thread, so that other work on the machine disturbs least. The notebook's loop gets its batches ready made, ours gathers
them; ours has the shipped losses, the notebook's two cross-entropies. The limit is what a large convolution of the same
library reaches, forward and backward; shares of it compare the multiply-adds of the forward passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice

import torch
from support.drawn import ARRAY_SIZE, build, list_rows, make_arrays
from support.peers import build_smp_unet, train_by_hand
from support.shipped import SHIPPED_PARAMS
from support.timing import Case, Ratio, Times, measure, parse_options, report, speedup, summarise
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maskdepth.data.batches.batches import Batches
from maskdepth.device import has_bf16
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import build_model, count_multiply_adds, resolve_inputs
from maskdepth.models.network import INPUT_CHANNELS
from maskdepth.params import ModelParams, Params, load_params
from maskdepth.process.memory import keep_freed_memory
from maskdepth.training.fit import Epoch, Step, TrainState, fit

_CPU = torch.device("cpu")
_SAMPLES = 1000
_BATCH_SIZE, _QUICK_BATCH_SIZE = 16, 2  # the first as shipped
_LEARNING_RATE = 0.001
# Steps of one round; the networks of ours are faster.
_STEPS = {"sajnanshetty": 1, "dsunet": 4}
_BOTH, _DIFFERENCE = "background+composite", "background+composite+difference"
_LOAD_STEPS, _LOAD_EPOCHS = 8, 5
# Of the limit.
_WIDE_CHANNELS, _WIDE_SIDE = 256, 32


@dataclass(frozen=True)
class Setting:
    """What all cases share."""

    params: Params
    train: Batches
    val: Batches


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    keep_freed_memory()
    setting = prepare(_QUICK_BATCH_SIZE if options.quick else _BATCH_SIZE)
    cases = {}
    steps_of = dict.fromkeys(_STEPS, 1) if options.quick else _STEPS
    for name, steps in steps_of.items():
        cases[f"notebook's loop, fp32, {name}"] = by_hand_case(setting, build_model(name, _BOTH), steps)
        for precision in ("fp32", "bf16"):
            cases[f"fit, channels last, {precision}, {name}"] = fit_case(setting, name, _BOTH, precision, steps)
    smp, shipped = "notebook's loop, fp32, smp.Unet", "fit, channels last, bf16, dsunet as shipped"
    cases[smp] = by_hand_case(setting, build_smp_unet(INPUT_CHANNELS[_BOTH]), steps_of["dsunet"])
    cases[shipped] = fit_case(setting, "dsunet", _DIFFERENCE, "bf16", steps_of["dsunet"])
    for precision in ("fp32", "bf16"):
        cases[name_limit(precision)] = limit_case(precision, setting.train.batch_size)
    times = measure(cases, quick=options.quick)
    theirs, ours = "notebook's loop, fp32, {}", "fit, channels last, bf16, {}"
    ratios = [
        speedup(times, theirs.format("sajnanshetty"), ours.format("sajnanshetty"), ">= 1.9"),
        speedup(times, theirs.format("dsunet"), ours.format("dsunet"), ">= 1.9"),
        speedup(times, ours.format("sajnanshetty"), shipped, ">= 4"),
        speedup(times, theirs.format("sajnanshetty"), shipped),
        speedup(times, smp, shipped),
        *compare_multiply_adds(),
        share_of_limit(times, theirs.format("sajnanshetty"), setting, "sajnanshetty", "fp32"),
        share_of_limit(times, ours.format("sajnanshetty"), setting, "sajnanshetty", "bf16"),
        share_of_limit(times, shipped, setting, "dsunet", "bf16"),
        share_of_loading(setting, 1 if options.quick else _LOAD_EPOCHS),
    ]
    data = f"batches of {setting.train.batch_size} samples of {ARRAY_SIZE} px, noise in memory; units are steps"
    facts = {
        "torch threads": torch.get_num_threads(),
        "this processor has bfloat16": has_bf16(_CPU),
        "segmentation_models_pytorch": version("segmentation-models-pytorch"),
    }
    report("step", data, options, times, ratios, facts)


def prepare(batch_size: int) -> Setting:
    params = load_params(SHIPPED_PARAMS)
    few = {"batch_size": batch_size, "epochs": 1_000_000, "schedule": "constant", "learning_rate": _LEARNING_RATE}
    arrays = make_arrays(_SAMPLES, _SAMPLES, ARRAY_SIZE)
    rows = list_rows(arrays)
    train, val = Batches(arrays, rows, batch_size, _CPU), Batches(arrays, rows.head(batch_size), batch_size, _CPU)
    return Setting(params.model_copy(update={"train": params.train.model_copy(update=few)}), train, val)


def make_ready(setting: Setting, steps: int) -> list[tuple[Tensor, ...]]:
    """Give batches as a notebook's loader does: float, each channel's plane in one piece."""
    return [(*batch.inputs(), *batch.targets()) for batch in islice(setting.train.in_order(), steps)]


def by_hand_case(setting: Setting, model: nn.Module, steps: int) -> Case:
    """Train in the notebook's loop on where the last round ended, on the same batches each round."""
    return Case(partial(train_by_hand, model.train(), make_ready(setting, steps), _LEARNING_RATE), steps)


def fit_case(setting: Setting, name: str, inputs: str, precision: str, steps: int) -> Case:
    """Train on where the last round ended, so many steps a round."""
    params = setting.params.train.model_copy(update={"precision": precision})
    state = TrainState(build(name, inputs), params, len(setting.train))
    events = fit(state, setting.train, setting.val, build_criterion(setting.params.loss), params)
    updates = (event for event in events if isinstance(event, Step))
    return Case(partial(take, updates, steps), steps)


def take(updates: Iterator[Step], steps: int) -> None:
    for _ in range(steps):
        next(updates)


def compare_multiply_adds() -> list[Ratio]:
    """Count the networks' multiply-adds of a forward pass; the counts do not vary."""
    channels = INPUT_CHANNELS[_BOTH]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_smp_unet(channels).eval()(torch.empty(1, channels, ARRAY_SIZE, ARRAY_SIZE))
    theirs = count_multiply_adds("sajnanshetty", _BOTH, ARRAY_SIZE)
    ours = count_multiply_adds("dsunet", _DIFFERENCE, ARRAY_SIZE)
    return [
        summarise("multiply-adds of sajnanshetty / dsunet as shipped", [theirs / ours], ">= 8"),
        summarise("multiply-adds of smp.Unet / dsunet as shipped", [counter.get_total_flops() / 2 / ours]),
    ]


def name_limit(precision: str) -> str:
    return f"a wide convolution, forward and backward, {precision}"


def limit_case(precision: str, batch_size: int) -> Case:
    """Convolve as fast as the library can; units are multiply-adds of the forward pass."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layer = nn.Conv2d(_WIDE_CHANNELS, _WIDE_CHANNELS, 3, padding=1, bias=False, dtype=dtype)
    layer.to(memory_format=torch.channels_last)
    pictures = torch.rand(batch_size, _WIDE_CHANNELS, _WIDE_SIDE, _WIDE_SIDE, dtype=dtype, requires_grad=True)
    pictures = pictures.to(memory_format=torch.channels_last)
    return Case(lambda: layer(pictures).sum().backward(), layer.weight.numel() * _WIDE_SIDE**2 * batch_size)


def share_of_limit(times: Times, case: str, setting: Setting, name: str, precision: str) -> Ratio:
    """Give what a step does in a second as a share of what the limit does: multiply-adds of the forward pass."""
    inputs = resolve_inputs(ModelParams(name=name, inputs="auto"))
    multiply_adds = setting.train.batch_size * count_multiply_adds(name, inputs, ARRAY_SIZE)
    limits = times[name_limit(precision)]
    shares = [limit * multiply_adds / step for step, limit in zip(times[case], limits, strict=True)]
    return summarise(f"share of the throughput of a wide convolution: {case}", shares)


def share_of_loading(setting: Setting, epochs: int) -> Ratio:
    """Give the share of a step of the shipped network that waits for its batch, as each epoch's own record tells."""
    params = setting.params.train.model_copy(update={"epochs": epochs, "augment": []})
    arrays = make_arrays(setting.train.batch_size * _LOAD_STEPS, setting.train.batch_size * _LOAD_STEPS, ARRAY_SIZE)
    train = Batches(arrays, list_rows(arrays), setting.train.batch_size, _CPU)
    state = TrainState(build("dsunet", _DIFFERENCE), params, len(train))
    events = fit(state, train, setting.val, build_criterion(setting.params.loss), params)
    parts = [event.seconds for event in events if isinstance(event, Epoch)]
    shares = [part["load"] / (part["load"] + part["forward"] + part["backward"]) for part in parts]
    return summarise("share of a training step that waits for the batch, dsunet as shipped", shares, "<= 0.03")


if __name__ == "__main__":
    main()
