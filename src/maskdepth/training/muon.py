"""Muon: descent by orthogonalised momentum for convolutions, and AdamW for all that is no matrix."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

# Of the quintic iteration; steep at zero, so that five steps bring all singular values near one.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7
# The usual size of an entry of an update of AdamW: both kinds of weights then share a learning rate.
_ENTRY_RMS = 0.2
# Of the Adam within: Kingma and Ba 2015, Adam, https://arxiv.org/abs/1412.6980, section 2.
SECOND_BETA, _EPSILON = 0.999, 1e-8


class Muon(Optimizer):
    """Muon with the learning rate of AdamW.

    What a convolution does to one place of its input is a matrix, (out, in * kernel). Its momentum is replaced by the
    nearest orthogonal matrix, so that rare directions of the gradient move the weights as far as common ones. Jordan
    et al. 2024, Muon, https://kellerjordan.github.io/posts/muon/; the size of an update is that of Liu et al. 2025,
    Muon is scalable for LLM training, https://arxiv.org/abs/2502.16982, equation 4. `torch.optim.Muon` takes only what
    has two axes. Biases, scales, depthwise filters and layers with one map out or in are left to AdamW.

    A 0-dim tensor as attribute `found_inf`, as of the fused optimisers, makes a step do nothing where it is 1.

    Args:
        weights: What is decayed.
        others: What is not.
        lr: Learning rate of both.
        momentum: Of the matrices; the first beta of the rest, [0, 1).
        weight_decay: Decoupled from the gradient, as of AdamW.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        weights = list(weights)
        groups = [
            {"params": [one for one in weights if _is_matrix(one)], "is_matrix": True},
            {"params": [one for one in weights if not _is_matrix(one)], "is_matrix": False},
            {"params": list(others), "is_matrix": False, "weight_decay": 0.0},
        ]
        # Empty groups are left out: not all networks have weights of each kind.
        kept = [group for group in groups if group["params"]]
        # `fused` also tells `load_state_dict` that the numbers of steps lie on the device.
        super().__init__(kept, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "fused": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            move = self._move_matrices if group["is_matrix"] else self._move_others
            if parameters := [one for one in group["params"] if one.grad is not None]:
                move(parameters, group)

    def _move_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        stopped = torch.zeros((), device=parameters[0].device) if self.found_inf is None else self.found_inf
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[one]["momentum"] for one in parameters]
        given = [one.grad for one in parameters if one.grad is not None]
        # Where a step is to do nothing, the gradient may be anything.
        gradients = [torch.where(stopped > 0, held, one) for held, one in zip(momenta, given, strict=True)]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # as of Nesterov
        turned = orthogonalise([one.flatten(1) for one in ahead])
        rate = group["lr"] * (1 - stopped)
        torch._foreach_mul_(turned, [_ENTRY_RMS * max(one.shape) ** 0.5 for one in turned])
        torch._foreach_mul_(turned, rate)
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_sub_(parameters, [new.view_as(old) for new, old in zip(turned, parameters, strict=True)])

    def _move_others(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                zeros = {name: torch.zeros_like(parameter) for name in ("mean", "mean_square")}
                self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **zeros}
        means, squares, steps = (
            [self.state[one][name] for one in parameters] for name in ("mean", "mean_square", "step")
        )
        adamw(
            parameters,
            [one.grad for one in parameters if one.grad is not None],
            means,
            squares,
            [],
            steps,
            fused=group["fused"],
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["momentum"],
            beta2=SECOND_BETA,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_EPSILON,
            maximize=False,
        )


def _is_matrix(parameter: Tensor) -> bool:
    """Tell whether a weight mixes channels: what maps one channel, or to one, has nothing to make orthogonal."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) > 1


def orthogonalise(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Bring the singular values of matrices, (rows, columns), near one; their singular vectors stay.

    With G of more columns than rows, each step of the quintic Newton-Schulz iteration multiplies it by a polynomial of
    its Gram matrix G G^T. So the steps are done on that, all matrices with equally many rows at once, and G is
    multiplied at the end. In float32: a Gram matrix has the squares of the singular values.

    >>> turned = orthogonalise([torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, -2.0]])])[0]
    >>> (turned.abs() > 0.6).tolist()
    [[True, False, False], [False, False, True]]
    """
    wide = [(one if one.shape[0] <= one.shape[1] else one.T).float() for one in matrices]
    norms = torch._foreach_norm(wide)
    torch._foreach_clamp_min_(norms, _SMALLEST_NORM)
    wide = list(torch._foreach_div(wide, norms))
    by_rows: defaultdict[int, list[int]] = defaultdict(list)
    for position, one in enumerate(wide):
        by_rows[len(one)].append(position)
    turned = list(wide)
    for positions in by_rows.values():
        factors = _iterate(torch.stack([wide[position] @ wide[position].T for position in positions]))
        for position, factor in zip(positions, factors.unbind(), strict=True):
            turned[position] = factor @ wide[position]
    return [one if one.shape == given.shape else one.T for one, given in zip(turned, matrices, strict=True)]


def _iterate(grams: Tensor) -> Tensor:
    """Give what the iteration multiplies matrices by, from their Gram matrices (N, rows, rows), norm at most 1."""
    first, third, fifth = _COEFFICIENTS
    factors = None
    for _ in range(_ITERATIONS):
        polynomial = torch.baddbmm(grams, grams, grams, beta=third, alpha=fifth)
        polynomial.diagonal(dim1=1, dim2=2).add_(first)
        factors = polynomial if factors is None else torch.bmm(polynomial, factors)
        grams = torch.bmm(torch.bmm(polynomial, grams), polynomial)
    assert factors is not None
    return factors
