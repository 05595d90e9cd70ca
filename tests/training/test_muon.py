"""Proves that Muon orthogonalises, agrees with torch's own where that can be asked, and stops where it is told to."""

import copy

import pytest
import torch
from torch import nn

from maskdepth.training.muon import Muon, orthogonalise

RATE, MOMENTUM, DECAY = 0.02, 0.9, 0.01


class Mixed(nn.Module):
    """Weights of each kind: two matrices, a depthwise filter, a head of one map, and what has no axes to speak of."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(6, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.linear = nn.Linear(5, 12, bias=False)
        self.head = nn.Conv2d(8, 1, 1)


def build(network):
    parameters = list(network.parameters())
    weights, others = [one for one in parameters if one.ndim > 1], [one for one in parameters if one.ndim == 1]
    return Muon(weights, others, RATE, MOMENTUM, DECAY)


def learn(network, optimizer, steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def state_of(network, optimizer):
    return copy.deepcopy(
        [*network.parameters(), *(part for held in optimizer.state.values() for part in held.values())]
    )


@pytest.mark.parametrize("shape", [(8, 54), (54, 8), (24, 24), (2, 3)])
def test_singular_values_come_near_one_and_their_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    turned = orthogonalise([1e4 * matrix])[0]
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ turned @ right.T
    is_large = values > 0.1 * values.max()
    assert inner.diagonal()[is_large].min() > 0.6
    assert inner.diagonal().max() < 1.25
    torch.testing.assert_close(inner, inner.diagonal().diag(), rtol=0, atol=1e-3)


def test_matrices_are_turned_as_alone():
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=generator) for shape in ((4, 9), (9, 4), (4, 4), (6, 30))]
    for one, together in zip(matrices, orthogonalise(matrices), strict=True):
        torch.testing.assert_close(together, orthogonalise([one])[0])


def test_nothing_comes_of_nothing():
    assert orthogonalise([torch.zeros(3, 5)])[0].count_nonzero() == 0


def test_matrices_move_as_with_torchs_muon():
    network = Mixed()
    weight = nn.Parameter(network.linear.weight.detach().clone())
    known = torch.optim.Muon([weight], RATE, DECAY, MOMENTUM, adjust_lr_fn="match_rms_adamw")
    optimizer = build(network)
    began = weight.detach().clone()
    for seed in range(5):
        learn(network, optimizer, 1, seed)
        weight.grad = network.linear.weight.grad.clone()
        known.step()
    # torch iterates in bfloat16, which has three digits.
    torch.testing.assert_close(network.linear.weight, weight, rtol=0, atol=0.05 * (weight - began).abs().max().item())


def test_a_convolution_moves_as_the_matrix_of_its_filters():
    network = Mixed()
    twin = nn.Linear(54, 8, bias=False)
    twin.weight.data = network.body.weight.detach().flatten(1).clone()
    learn(network, build(network), 1)
    twin.weight.grad = network.body.weight.grad.flatten(1).clone()
    Muon(twin.parameters(), [], RATE, MOMENTUM, DECAY).step()
    torch.testing.assert_close(network.body.weight.flatten(1), twin.weight)


def test_the_rest_moves_as_with_adamw():
    network, twin = Mixed(), Mixed()
    learn(network, build(network), 4)
    decayed = [twin.depthwise.weight, twin.head.weight]
    spared = [one for one in twin.parameters() if one.ndim == 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": spared, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, RATE, (MOMENTUM, 0.999), fused=True)
    learn(twin, adamw, 4)
    for name in ("depthwise", "head", "norm"):
        for one, other in zip(getattr(network, name).parameters(), getattr(twin, name).parameters(), strict=True):
            assert torch.equal(one, other), name


def test_nothing_moves_where_a_gradient_is_not_finite():
    network = Mixed()
    optimizer = build(network)
    learn(network, optimizer, 2)
    before = state_of(network, optimizer)
    for parameter in network.parameters():
        parameter.grad.fill_(torch.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(map(torch.equal, state_of(network, optimizer), before))
    optimizer.found_inf = torch.zeros(())
    learn(network, optimizer, 1)
    assert not any(map(torch.equal, network.parameters(), before))


def test_what_has_no_gradient_stays():
    network = Mixed()
    optimizer = build(network)
    network.body.weight.grad = torch.ones_like(network.body.weight)
    before = copy.deepcopy(list(network.parameters()))
    optimizer.step()
    moved = [one for one, old in zip(network.parameters(), before, strict=True) if not torch.equal(one, old)]
    assert [one is network.body.weight for one in moved] == [True]


def test_a_loaded_state_goes_on_to_the_last_bit():
    network = Mixed()
    optimizer = build(network)
    learn(network, optimizer, 2)
    twin = copy.deepcopy(network)
    other = build(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    learn(network, optimizer, 2)
    learn(twin, other, 2)
    assert all(map(torch.equal, network.parameters(), twin.parameters()))
