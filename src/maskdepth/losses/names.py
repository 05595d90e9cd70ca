"""Every loss by name and formula, sums of them read from text, and one way to write each. Needs no torch.

A combination is a sum of named terms with optional weights, `0.5*bce+2*dice`, or a mapping `{bce: 0.5, dice: 2}`.
Several presets stand for such sums. To add a loss, write what it computes in a table here, and name its function in
`catalogue`.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from maskdepth.process.console import suggest

Head = Literal["mask", "depth"]

# [number *] name; a number may hold a plus itself (1e+2), so a sum cannot just be split.
# Each text is read in one way only: where digits could be shared out among parts, a long number would be for ever.
TERM = r"(?:((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*)?([A-Za-z]\w*)"
SUM = rf"\s*{TERM}\s*(?:\+\s*{TERM}\s*)*"
# Of a weight: enough that no two that anyone means are taken for one.
_DIGITS = 12


class Preset(NamedTuple):
    """A name for a sum of losses.

    Attributes:
        expression: The sum, in names of losses.
        summary: What it is.
    """

    expression: str
    summary: str


# Formulas have p for the estimate, t for the truth and z for the raw score.
MAP: dict[str, str] = {
    "charbonnier": "mean of sqrt((p - t)^2 + 0.05^2) - 0.05",
    "grad": "mean (|dx(p - t)| + |dy(p - t)|), forward differences, 0 in the last column and row",
    "huber": "mean of r^2 / 2 where r = |p - t| < 0.1, else 0.1 * (r - 0.1 / 2)",
    "l1": "mean |p - t|",
    "laplacian": "1/4 * sum over levels k = 0..3 of 2^k * mean |L_k(p - t)|, level 3 holding what is left",
    "ms_ssim_l1": "mean of 0.025 * (1 - MS-SSIM(p, t)) + 0.975 * G_8 * |p - t|, Gaussians of 0.5, 1, 2, 4 and 8 px",
    "mse": "mean (p - t)^2",
    "rmse": "sqrt(mean (p - t)^2)",
    "smooth_l1": "mean of r^2 / (2 * 0.1) where r = |p - t| < 0.1, else r - 0.1 / 2",
    "ssim": "mean (1 - SSIM(p, t)) / 2, Gaussian window of 11 px inside the map",
    "ssim_w3_kornia03": "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 3 px, zeros outside the map",
    "ssim_w5_kornia03": "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 5 px, zeros outside the map",
    "ssim_w11_kornia03": "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 11 px, zeros outside the map",
}

MASK: dict[str, str] = {
    "bce": "mean of -t * ln(p) - (1 - t) * ln(1 - p)",
    "bce_zscored": "mean of ln(1 + e^p) - p * (t - 0.0579) / 0.2207",
    "boundary": "mean of |p - t| * d, d the distance to the edge of t as a share of the diagonal",
    "dice": "mean of 1 - (2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)",
    "focal": "mean of -0.25 * t * (1 - p)^2 * ln(p) - 0.75 * (1 - t) * p^2 * ln(1 - p)",
    "hausdorff": "mean over classes c of sum over k = 0..9 of (k + 1)^2 * erosion k of (p_c - t_c)^2, cross of 3 px",
    "iou": "mean of 1 - (sum(p * t) + 1) / (sum(p) + sum(t) - sum(p * t) + 1)",
    "lovasz": "mean of the Lovasz extension of 1 - IoU at the hinge errors max(0, 1 - z * (2t - 1))",
    "tversky": "mean of 1 - (TP + 1) / (TP + 0.3 * FP + 0.7 * FN + 1), with soft counts: TP = sum(p * t) and so on",
    **MAP,
}

DEPTH: dict[str, str] = {
    "bce": "mean of -t * ln(p) - (1 - t) * ln(1 - p)",
    "bce_zscored": "mean of ln(1 + e^p) - p * (t - 0.4036) / 0.1992",
    "berhu": "mean of r where r = |p - t| <= c, else (r^2 + c^2) / (2c), with c = 0.2 * max r of the image",
    "dice": "mean of 1 - (2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)",
    "grad_ms": "mean over images of sum over k = 0..3 of mean (|dx r| + |dy r|), r = s * p + b - t, every 2^k-th pixel",
    "silog": "mean over images of sqrt(mean g^2 - 0.85 * (mean g)^2), g = ln(p) - ln(t), both floored at 0.01",
    "ssi": "mean over images of min over s, b of mean (s * p + b - t)^2 / 2",
    "ssi_mae": "mean |n(p) - n(t)|, n(x) = (x - median x) / mean |x - median x| of the image",
    "tv": "mean (|dx p| + |dy p|), forward differences; the truth plays no part",
    **MAP,
}

# What mshilpaa tried, each for either head.
_MSHILPAA_PRESETS: dict[str, Preset] = {
    "mshilpaa_bce_dice": Preset("bce+2*dice", "Tried by mshilpaa, whose Dice adds no pixel to both sides."),
    "mshilpaa_bce_smooth_l1": Preset(
        "0.5*bce+0.25*mse", "Tried by mshilpaa as (bce + SmoothL1) / 2; with its beta of 1 SmoothL1 is mse / 2."
    ),
    "mshilpaa_mse_dice": Preset("0.5*mse+0.5*dice", "Tried by mshilpaa, whose Dice adds no pixel to both sides."),
    "mshilpaa_mse_ssim": Preset("0.5*mse+0.5*ssim_w3_kornia03", "Tried by mshilpaa."),
    "mshilpaa_ssim_ssim": Preset("ssim_w5_kornia03+ssim_w11_kornia03", "Tried by mshilpaa."),
}

MASK_PRESETS: dict[str, Preset] = {
    **_MSHILPAA_PRESETS,
    "sajnanshetty": Preset("bce_zscored", "What sajnanshetty trained with."),
}

# The window of deepjyotisaha85 is not on record; its two contemporaries on the same library used 3.
DEPTH_PRESETS: dict[str, Preset] = {
    "deepjyotisaha85": Preset("ssim_w3_kornia03+grad+0.1*l1", "What deepjyotisaha85 trained with."),
    "densedepth": Preset("ssim+grad+0.1*l1", "DenseDepth, https://arxiv.org/abs/1812.11941, its weights as they are."),
    "midas": Preset("ssi+0.5*grad_ms", "MiDaS, https://arxiv.org/abs/1907.01341, for labels without a scale."),
    "mshilpaa": Preset("ssim_w3_kornia03", "What mshilpaa trained with."),
    **_MSHILPAA_PRESETS,
    "sajnanshetty": Preset("bce_zscored", "What sajnanshetty trained with."),
}

FORMULAS: dict[Head, dict[str, str]] = {"mask": MASK, "depth": DEPTH}
PRESETS: dict[Head, dict[str, Preset]] = {"mask": MASK_PRESETS, "depth": DEPTH_PRESETS}


def known_losses(head: Head) -> list[str]:
    """Name every loss and preset that a sum of a head can have, in the order of `maskdepth losses`."""
    return [*sorted(FORMULAS[head]), *PRESETS[head]]


def parse_loss(expression: str | Mapping[str, float], head: Head) -> dict[str, float]:
    """Read a combination of losses.

    Args:
        expression: A sum such as "0.5*bce+2*dice", or a mapping from name to weight.
        head: Whose losses they are.

    Returns:
        Weight of each loss by name, in alphabetical order; presets are expanded, repeated names added up.

    Raises:
        ValueError: Not such a sum, an unknown name, or a weight that is not above 0.

    >>> parse_loss("0.5*densedepth + l1", "depth")
    {'grad': 0.5, 'l1': 1.05, 'ssim': 0.5}
    >>> parse_loss({"dice": 2, "bce": 1}, "mask")
    {'bce': 1.0, 'dice': 2.0}
    """
    terms = _read_sum(expression, head) if isinstance(expression, str) else list(expression.items())
    if not terms:
        raise ValueError(f"loss.{head}: found no term; expected a sum of losses such as {_example(head)}")
    weights: dict[str, float] = {}
    for name, weight in terms:
        _check_weight(name, weight, head)
        for part, share in _expand(name, head).items():
            weights[part] = weights.get(part, 0.0) + weight * share
    for name, weight in weights.items():  # what is multiplied or added up may leave the range of numbers
        _check_weight(name, weight, head)
    # Without the last digits, in which equal sums differ: 0.1 + 0.2 is 0.3.
    return {name: float(f"{weight:.{_DIGITS}g}") for name, weight in sorted(weights.items())}


def normal_form(expression: str | Mapping[str, float], head: Head) -> str:
    """Write a combination of losses in one way only, so that equal combinations have equal names.

    Args:
        expression: A sum or a mapping, as `parse_loss` takes it.
        head: Whose losses they are.

    Returns:
        The expanded sum, names in alphabetical order, weights of 1 left out.

    Raises:
        ValueError: As `parse_loss`.

    >>> normal_form("ssim + 1.0*l1", "depth"), normal_form({"l1": 1, "ssim": 1}, "depth")
    ('l1+ssim', 'l1+ssim')
    """
    weights = parse_loss(expression, head)
    return "+".join(name if weight == 1 else f"{weight:.{_DIGITS}g}*{name}" for name, weight in weights.items())


def _check_weight(name: str, weight: float, head: Head) -> None:
    if not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"loss.{head}: weight {weight:g} of {name}; a weight is a number above 0; drop the term")


def _read_sum(expression: str, head: Head) -> list[tuple[str, float]]:
    if not re.fullmatch(SUM, expression):
        raise ValueError(
            f"loss.{head}: cannot read {expression!r:.200}; "
            f"expected a sum of names with optional weights, such as {_example(head)}"
        )
    return [(name, float(weight or 1)) for weight, name in re.findall(TERM, expression)]


def _expand(name: str, head: Head) -> dict[str, float]:
    if name in PRESETS[head]:
        return parse_loss(PRESETS[head][name].expression, head)
    if name in FORMULAS[head]:
        return {name: 1.0}
    raise ValueError(f"loss.{head}: unknown loss {name!r:.200}; {suggest(name, sorted(known_losses(head)))}")


def _example(head: Head) -> str:
    return {"mask": "0.5*bce+2*dice", "depth": "ssim+grad+0.1*l1"}[head]
