"""Proves that a compiled network trains as a plain one does, and that it is compiled only where that pays."""

import math
import shutil
from functools import partial

import pytest
import torch
from support.tiny import LOSS, SPEC, Tiny, change, make_arrays, make_batches

from maskdepth.data.batches.augmentation import augment
from maskdepth.losses.catalogue import DEPTH_LOSSES, MASK_LOSSES, build_criterion
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec
from maskdepth.params import LossParams
from maskdepth.training import fit as fit_module
from maskdepth.training import judging as judging_module
from maskdepth.training.fit import TrainState, fit
from maskdepth.training.judging import Judging, compile_judge, judge

SHIPPED = LossParams(mask="bce+dice", depth="l1+ssim", mask_weight=1.0, depth_weight=1.0)
# Those that look at a value, or of which kornia does, are left as they are, which is told.
NOT_COMPILED = {"boundary", "hausdorff", "ms_ssim_l1"}


@pytest.fixture
def batch():
    return next(make_batches(make_arrays()).in_order())


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(Tiny(), SPEC).train()


@pytest.fixture(autouse=True)
def forgetful():
    """Programs of one test are none of the next."""
    yield
    torch.compiler.reset()


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def terms_and_gradients(way, network, criterion, precision, batch):
    network.zero_grad()
    (terms,) = way(network, criterion, precision, batch)
    terms["loss"].backward()
    return terms, [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_compiled_network_says_and_learns_the_same_and_is_not_changed_by_it(network, batch, precision):
    criterion, before = build_criterion(LOSS), state_of(network)
    compiled = compile_judge(network, criterion, precision, batch, "aot_eager")
    torch.testing.assert_close(state_of(network), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())
    again = augment(batch, ["flip"], torch.Generator())._replace(sample_ids=["others"] * len(batch.mask))
    plain = terms_and_gradients(judge, network, criterion, precision, again)
    told = terms_and_gradients(compiled, network, criterion, precision, again)
    torch.testing.assert_close(told, plain, rtol=1e-2 if precision == "bf16" else 1e-4, atol=1e-3)


LOSSES = [("mask", name) for name in MASK_LOSSES] + [("depth", name) for name in DEPTH_LOSSES]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), LOSSES)
def test_every_loss_is_compiled_or_says_why_not(network, batch, kind, name):
    criterion = build_criterion(LOSS.model_copy(update={kind: name}))
    if name in NOT_COMPILED:
        with pytest.raises(RuntimeError):
            compile_judge(network, criterion, "fp32", batch, "eager")
    else:
        compile_judge(network, criterion, "fp32", batch, "eager")


@pytest.mark.slow
def test_the_shipped_network_becomes_one_program(batch):
    network = build_network(NetworkSpec("dsunet", "background+composite+difference", SPEC.normalisation, 32)).train()
    compile_judge(network, build_criterion(SHIPPED), "bf16", batch, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs a C++ compiler, and there is none here")
def test_torchs_own_compiler_makes_it(network, batch):
    compile_judge(network, build_criterion(LOSS), "fp32", batch)


def test_a_compiler_that_is_wrong_is_not_believed(network, batch):
    def wrong(graph, inputs):
        return lambda *values: [value + 1 for value in graph.forward(*values)]

    before = state_of(network)
    with pytest.raises(RuntimeError, match=r"its loss is .* in place of"):
        compile_judge(network, build_criterion(LOSS), "fp32", batch, wrong)
    torch.testing.assert_close(state_of(network), before, rtol=0, atol=0)


def train(settings, why_plain, numbers=(*range(8),) * 4):
    """Train on 32 samples, batches of three and one of two."""
    batches = make_batches(make_arrays(), numbers=[*numbers])
    torch.manual_seed(0)
    state = TrainState(Network(Tiny(), SPEC), settings, len(batches))
    state.judging = Judging(why_plain)
    for _ in fit(state, batches, batches, build_criterion(LOSS), settings):
        pass
    return state


@pytest.fixture
def eager_compiler(monkeypatch):
    monkeypatch.setattr(fit_module, "compile_judge", partial(compile_judge, backend="aot_eager"))


def test_a_long_training_is_compiled_after_its_first_epoch_and_learns_the_same(eager_compiler, monkeypatch):
    monkeypatch.setattr(judging_module, "_LONG", 0.0)
    monkeypatch.setattr(judging_module, "_SPREAD", math.inf)
    settings = change(epochs=3, learning_rate=0.003)
    state, expected = train(settings, ""), train(settings, "the test asks for it")
    assert state.judging.judge is not judge
    assert expected.judging.judge is judge
    assert state.epochs[0].train == expected.epochs[0].train
    for epoch, other in zip(state.epochs, expected.epochs, strict=True):
        assert epoch.train == pytest.approx(other.train, rel=1e-2)
        assert epoch.val == pytest.approx(other.val, rel=1e-2)


def test_a_short_training_a_cpu_and_one_that_does_not_want_it_are_left_as_they_are():
    short = train(change(epochs=3), "").judging
    assert (short.judge, short.why_plain) == (judge, "")
    settings = change(compile="off")
    assert TrainState(Network(Tiny(), SPEC), change(), 1).judging.why_plain == "not a CUDA device"
    assert TrainState(Network(Tiny(), SPEC), settings, 1).judging.judge is judge


def test_what_is_compiled_has_to_be_faster():
    judging, compiled = Judging(""), lambda *_: []
    assert not judging.reconsider(100.0, 5, lambda: compiled)  # 500 s are left
    assert judging.reconsider(100.0, 7, lambda: compiled)
    assert judging.judge is compiled
    assert not judging.reconsider(101.0, 6, pytest.fail)
    assert judging.reconsider(120.0, 5, pytest.fail)
    assert judging.judge is judge
    assert judging.why_plain == "an epoch took 120 s, and 100 s before"
    assert not judging.reconsider(120.0, 99, pytest.fail)


def test_what_cannot_be_compiled_is_tried_once():
    def failing():
        raise RuntimeError("no compiler here\nand much advice")

    judging = Judging("")
    assert not judging.reconsider(100.0, 7, failing)
    assert (judging.judge, judging.why_plain) == (judge, "no compiler here")
    assert not judging.reconsider(100.0, 7, pytest.fail)
