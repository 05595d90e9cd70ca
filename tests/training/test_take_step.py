"""Proves that a step looks at no value, brings nothing over from the host, and starts no more kernels than it may."""

from collections import Counter

import pytest
import torch
from support.tiny import LOSS, SETTINGS, SPEC, Tiny, change, make_arrays, make_batches
from torch.utils._python_dispatch import TorchDispatchMode

from maskdepth.data.batches.augmentation import AUGMENTATIONS
from maskdepth.losses import mask
from maskdepth.losses.catalogue import DEPTH_LOSSES, MASK_LOSSES, build_criterion
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec
from maskdepth.params import LossParams
from maskdepth.training.fit import TrainState, take_step

# For each of these a CUDA device would have to finish its work first; `lift_fresh` makes a tensor of numbers of the
# host. On the CPU all of them are free, hence the look at what is called instead of a clock.
WAITS = {
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "equal",
    "lift_fresh",
    "repeat_interleave",
    "unique_dim",
    "_unique2",
    "bincount",
}
# Of the sums of an epoch: a few numbers, of which float32 would lose digits.
FEW = 16
# The distances of a mask's pixels are roots of whole numbers, in float64 as on the CPU.
IN_FLOAT64 = {"boundary"}
# Kernels of a step of the shipped network by optimiser, and a few more. Muon's are those of 25 matrices of eight sizes.
BUDGET = {"adamw": 600, "muon": 950}


class Watch(TorchDispatchMode):
    """Notes what is called: waits, large tensors of float64, and how many kernels would be started."""

    def __init__(self):
        super().__init__()
        self.waits, self.doubles, self.kernels = Counter(), Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        self.waits[name] += name in WAITS or (name.startswith("index") and self.has_bool_index(args))
        made = func(*args, **(kwargs or {}))
        outputs = made if isinstance(made, tuple | list) else [made]
        self.doubles[name] += any(
            isinstance(one, torch.Tensor) and one.dtype == torch.float64 and one.numel() > FEW for one in outputs
        )
        is_view = any(one.alias_info and not one.alias_info.is_write for one in func._schema.returns)
        self.kernels[name] += not (is_view or name.startswith("empty"))
        return made

    @staticmethod
    def has_bool_index(args):
        indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
        return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in indices)


@pytest.fixture(scope="module")
def batch():
    return next(make_batches(make_arrays()).in_order())


def watch_step(batch, settings=SETTINGS, loss=LOSS, network=None):
    """Do two steps, and watch the second: the first makes what is made once."""
    torch.manual_seed(0)
    state = TrainState(network or Network(Tiny(), SPEC), settings, 3)
    criterion, generator = build_criterion(loss), torch.Generator()

    def step():
        take_step(state, criterion, settings, lambda part: None, batch, generator)
        if settings.schedule != "plateau":  # which moves once an epoch
            state.scheduler.step()

    step()
    with Watch() as watch:
        step()
    return watch


@pytest.fixture(autouse=True)
def distances_as_on_a_device(monkeypatch):
    monkeypatch.setattr(mask, "_measure_with_scipy", mask.measure_on_device)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "sgd"])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_optimiser_clipping_or_precision_waits(batch, optimizer, clip_norm, precision):
    watch = watch_step(batch, change(optimizer=optimizer, clip_norm=clip_norm, precision=precision))
    assert +watch.waits == Counter()
    assert +watch.doubles == Counter()


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle", "plateau"])
def test_no_schedule_waits(batch, schedule):
    assert +watch_step(batch, change(schedule=schedule)).waits == Counter()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_augmentation_waits(batch, name):
    knowing = batch._replace(background_depth=torch.cat([batch.depth, batch.depth], 1))
    watch = watch_step(knowing, change(augment=[name]))
    assert +watch.waits == Counter()
    assert +watch.doubles == Counter()


@pytest.mark.parametrize(
    "loss",
    [LOSS.model_copy(update={"mask": name}) for name in MASK_LOSSES]
    + [LOSS.model_copy(update={"depth": name}) for name in DEPTH_LOSSES],
    ids=lambda loss: f"{loss.mask}-{loss.depth}",
)
def test_no_loss_waits(batch, loss):
    watch = watch_step(batch, change(augment=[]), loss)
    assert +watch.waits == Counter()
    assert +watch.doubles == Counter() or loss.mask in IN_FLOAT64


@pytest.mark.parametrize("optimizer", BUDGET)
def test_a_step_of_the_shipped_network_starts_no_more_kernels_than_it_may(batch, optimizer):
    network = build_network(NetworkSpec("dsunet", SPEC.inputs, SPEC.normalisation, 32))
    loss = LossParams(mask="bce+dice", depth="l1+ssim", mask_weight=1.0, depth_weight=1.0)
    watch = watch_step(batch, change(optimizer=optimizer, augment=["flip"], precision="bf16"), loss, network)
    assert watch.kernels.total() <= BUDGET[optimizer], watch.kernels.most_common(12)


def test_what_would_wait_is_seen():
    with Watch() as watch:
        torch.ones(3).sum().item()
        torch.ones(3)[torch.ones(3) > 0]
        torch.tensor([1.0])
        torch.ones(99, dtype=torch.float64)
    assert set(+watch.waits) >= {"_local_scalar_dense", "lift_fresh"}
    assert {"index", "nonzero"} & set(+watch.waits)
    assert +watch.doubles
