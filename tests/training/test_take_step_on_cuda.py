"""Proves on an imagined CUDA device that a step neither looks at a value there nor brings one over.

Tensors that are but a shape, a type and a device go through the very step. A look at a value raises, and so does what
mixes devices; what moves between host and device is noted. Only the backward pass is left out: for it torch asks a
driver. What a step computes there is proved on the CPU, where it is done.
"""

from collections import Counter

import pytest
import torch
from support.tiny import LOSS, SPEC, Tiny, change
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskdepth.data.batches import augmentation
from maskdepth.data.batches.augmentation import AUGMENTATIONS
from maskdepth.data.batches.batches import Batch
from maskdepth.losses import maps, mask, ssim
from maskdepth.losses.catalogue import DEPTH_LOSSES, MASK_LOSSES, build_criterion
from maskdepth.models.catalogue import MODELS, build_network, resolve_inputs
from maskdepth.models.network import Network, NetworkSpec
from maskdepth.params import ModelParams
from maskdepth.training.fit import TrainState, _measure, take_step

CUDA, SIDE = torch.device("cuda"), 64
# What is made once for each device, and would else outlive the imagined one.
MADE_ONCE = (augmentation._cosines, mask._hausdorff, maps._ms_ssim_l1, ssim.window_matrix)


class Crossings(TorchDispatchMode):
    """Notes what has to do with tensors of two devices."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # torch cannot imagine this one, which gives nothing back.
        made = None if func._schema.name == "aten::_fused_sgd_" else func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, made)) if isinstance(one, torch.Tensor)]
        self.seen[str(func)] += len({one.device.type for one in tensors}) > 1
        return made


@pytest.fixture(autouse=True)
def imagined(monkeypatch):
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with FakeTensorMode():
        yield
    for made in MADE_ONCE:
        made.cache_clear()


def imagine_network(name):
    with CUDA, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", lambda network, **kwargs: network)  # its layout: nothing is laid out here
        if name is None:
            return Network(Tiny(), SPEC)
        inputs = resolve_inputs(ModelParams(name=name, inputs="auto"))
        return build_network(NetworkSpec(name, inputs, SPEC.normalisation, SIDE))


def imagine_batch():
    channels = {"background": 3, "composite": 3, "mask": 1, "depth": 1, "background_depth": 2}
    pictures = {
        name: torch.zeros(4, count, SIDE, SIDE, dtype=torch.uint8, device=CUDA) for name, count in channels.items()
    }
    return Batch(**pictures, sample_ids=list("abcd"))


def watch_step(monkeypatch, settings, loss=LOSS, name=None):
    """Do a step twice, with a batch of the validation, and note what crosses in the second: the first makes much."""
    network, batch, criterion = imagine_network(name), imagine_batch(), build_criterion(loss)
    settings = settings.model_copy(update={"batch_size": len(batch.mask)})
    state = TrainState(network, settings, 3)

    def leave_gradients(loss):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", leave_gradients)
    for _ in range(2):
        with Crossings() as crossings:
            take_step(state, criterion, settings, lambda part: None, batch, None)
            _measure(network, batch, criterion, state)
    return +crossings.seen


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "sgd"])
@pytest.mark.parametrize(("precision", "micro_batch"), [("fp32", 2), ("bf16", "auto")])
def test_no_optimiser_precision_or_part_of_a_batch_waits(monkeypatch, optimizer, precision, micro_batch):
    settings = change(optimizer=optimizer, precision=precision, micro_batch=micro_batch, augment=[])
    assert watch_step(monkeypatch, settings) == Counter()


def test_no_augmentation_waits(monkeypatch):
    assert watch_step(monkeypatch, change(augment=list(AUGMENTATIONS))) == Counter()


@pytest.mark.parametrize("head", ["mask", "depth"])
def test_no_loss_waits(monkeypatch, head):
    every = "+".join({"mask": MASK_LOSSES, "depth": DEPTH_LOSSES}[head])
    assert watch_step(monkeypatch, change(augment=[]), LOSS.model_copy(update={head: every})) == Counter()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "dsunet" else pytest.mark.nightly) for name in MODELS]
)
def test_no_network_waits(monkeypatch, name):
    assert watch_step(monkeypatch, change(augment=[], precision="bf16"), name=name) == Counter()


def test_what_would_wait_is_seen():
    with pytest.raises(DataDependentOutputException):
        torch.ones((), device=CUDA).item()
    with pytest.raises(RuntimeError, match="two devices"):
        torch.ones(2, device=CUDA) + torch.ones(2)
    with Crossings() as crossings:
        torch.ones(2).to(CUDA)
        torch.ones(2, device=CUDA).cpu()
    assert crossings.seen["aten._to_copy.default"] == 2
