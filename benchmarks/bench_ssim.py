"""SSIM as a loss: forward and backward, beside kornia's, which gives the same numbers.

Both with a window of 11 px that stays inside the map. One thread.
"""

from collections.abc import Callable
from functools import partial

import torch
from kornia.losses import ssim_loss as kornia_ssim_loss
from support.timing import Case, Ratio, measure, parse_options, report, speedup, summarise
from torch import Tensor

from maskdepth.losses.maps import ssim_loss
from maskdepth.losses.ssim import WINDOW

_SHAPES = ((16, 1, 64, 64), (128, 1, 64, 64), (16, 1, 224, 224))
_REPEATS = 3

Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    kornia = partial(kornia_ssim_loss, window_size=WINDOW, padding="valid")
    cases, ratios = {}, []
    repeats = 1 if options.quick else _REPEATS
    for shape in _SHAPES:
        maps = draw_maps(shape)
        for name, loss in (("kornia", kornia), ("ssim_loss", ssim_loss)):
            cases[label(name, shape)] = Case(partial(learn, loss, *maps, repeats), repeats)
    times = measure(cases, quick=options.quick)
    ratios = [speedup(times, label("kornia", shape), label("ssim_loss", shape), ">= 5") for shape in _SHAPES]
    ratios += [difference(kornia, shape) for shape in _SHAPES]
    facts = {"torch threads": torch.get_num_threads()}
    report(
        "ssim",
        "random maps and noisy copies of them; units are losses with gradients",
        options,
        times,
        ratios,
        facts,
    )


def label(name: str, shape: tuple[int, ...]) -> str:
    return f"{name}, {' x '.join(map(str, shape))}"


def draw_maps(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Draw an estimate, which asks for gradients, and its truth, [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(shape, generator=generator)
    estimate = (truth + 0.2 * torch.randn(shape, generator=generator)).clamp(0, 1)
    return estimate.requires_grad_(), truth


def learn(loss: Loss, estimate: Tensor, truth: Tensor, repeats: int) -> None:
    for _ in range(repeats):
        estimate.grad = None
        loss(estimate, truth).backward()  # type: ignore[no-untyped-call]


def difference(kornia: Loss, shape: tuple[int, ...]) -> Ratio:
    """Give the larger difference: of the values, or of the gradients beside the largest gradient."""
    values: list[float] = []
    gradients: list[torch.Tensor] = []
    for loss in (kornia, ssim_loss):
        estimate, truth = draw_maps(shape)
        value = loss(estimate, truth)
        values.append(value.item())
        gradients += torch.autograd.grad(value, estimate)
    of_gradient = (gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max()
    largest = max(abs(values[0] - values[1]), of_gradient.item())
    return summarise(label("difference from kornia, value or gradient", shape), [largest], "<= 1e-6")


if __name__ == "__main__":
    main()
