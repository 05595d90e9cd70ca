"""Loss combinations: the names of all losses, sums of them read from text, and the weighed total of both heads.

A combination is a sum of named terms with optional weights, `0.5*bce+2*dice`, or a mapping `{bce: 0.5, dice: 2}`.
Several presets stand for such sums. To add a loss, write the function and name it in the table here.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maskdepth.losses.depth import (
    bce_depth_loss,
    berhu_loss,
    dice_depth_loss,
    multiscale_gradient_loss,
    silog_loss,
    ssi_loss,
    ssi_mae_loss,
    total_variation_loss,
)
from maskdepth.losses.maps import (
    charbonnier_loss,
    gradient_loss,
    huber_loss,
    l1_loss,
    laplacian_loss,
    ms_ssim_l1_loss,
    mse_loss,
    rmse_loss,
    smooth_l1_loss,
    ssim_loss,
)
from maskdepth.losses.mask import (
    bce_loss,
    boundary_loss,
    dice_loss,
    focal_loss,
    hausdorff_loss,
    iou_loss,
    lovasz_loss,
    tversky_loss,
)
from maskdepth.losses.students import (
    bce_zscored_depth_loss,
    bce_zscored_mask_loss,
    ssim_w3_kornia03_loss,
    ssim_w5_kornia03_loss,
    ssim_w11_kornia03_loss,
)
from maskdepth.models.prediction import Prediction, check_targets
from maskdepth.params import LossParams
from maskdepth.process.console import suggest

Loss = Callable[[Tensor, Tensor], Tensor]
Criterion = Callable[[Prediction, Tensor, Tensor], dict[str, Tensor]]
Head = Literal["mask", "depth"]

# [number *] name; a number may hold a plus itself (1e+2), so a sum cannot just be split.
# Each text is read in one way only: where digits could be shared out among parts, a long number would be for ever.
TERM = r"(?:((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*)?([A-Za-z]\w*)"
SUM = rf"\s*{TERM}\s*(?:\+\s*{TERM}\s*)*"
# Of a weight: enough that no two that anyone means are taken for one.
_DIGITS = 12


class Term(NamedTuple):
    """A loss that can be named.

    Attributes:
        loss: The function.
        formula: What it computes, with p the estimate, t the truth and z the raw score.
    """

    loss: Loss
    formula: str


class Preset(NamedTuple):
    """A name for a sum of losses.

    Attributes:
        expression: The sum, in names of losses.
        summary: What it is.
    """

    expression: str
    summary: str


def _of_probability(term: Term) -> Term:
    """Let a loss of two maps take the raw scores of the mask head."""

    @functools.wraps(term.loss)
    def loss_of_logits(logits: Tensor, target: Tensor) -> Tensor:
        return term.loss(logits.sigmoid(), target)

    return Term(loss_of_logits, term.formula)


MAP_LOSSES: dict[str, Term] = {
    "charbonnier": Term(charbonnier_loss, "mean of sqrt((p - t)^2 + 0.05^2) - 0.05"),
    "grad": Term(gradient_loss, "mean (|dx(p - t)| + |dy(p - t)|), forward differences, 0 in the last column and row"),
    "huber": Term(huber_loss, "mean of r^2 / 2 where r = |p - t| < 0.1, else 0.1 * (r - 0.1 / 2)"),
    "l1": Term(l1_loss, "mean |p - t|"),
    "laplacian": Term(
        laplacian_loss, "1/4 * sum over levels k = 0..3 of 2^k * mean |L_k(p - t)|, level 3 holding what is left"
    ),
    "ms_ssim_l1": Term(
        ms_ssim_l1_loss,
        "mean of 0.025 * (1 - MS-SSIM(p, t)) + 0.975 * G_8 * |p - t|, Gaussians of 0.5, 1, 2, 4 and 8 px",
    ),
    "mse": Term(mse_loss, "mean (p - t)^2"),
    "rmse": Term(rmse_loss, "sqrt(mean (p - t)^2)"),
    "smooth_l1": Term(smooth_l1_loss, "mean of r^2 / (2 * 0.1) where r = |p - t| < 0.1, else r - 0.1 / 2"),
    "ssim": Term(ssim_loss, "mean (1 - SSIM(p, t)) / 2, Gaussian window of 11 px inside the map"),
    "ssim_w3_kornia03": Term(
        ssim_w3_kornia03_loss, "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 3 px, zeros outside the map"
    ),
    "ssim_w5_kornia03": Term(
        ssim_w5_kornia03_loss, "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 5 px, zeros outside the map"
    ),
    "ssim_w11_kornia03": Term(
        ssim_w11_kornia03_loss, "mean of clamp(1 - SSIM(p, t), 0, 1) / 2, window of 11 px, zeros outside the map"
    ),
}

MASK_LOSSES: dict[str, Term] = {
    "bce": Term(bce_loss, "mean of -t * ln(p) - (1 - t) * ln(1 - p)"),
    "bce_zscored": Term(bce_zscored_mask_loss, "mean of ln(1 + e^p) - p * (t - 0.0579) / 0.2207"),
    "boundary": Term(boundary_loss, "mean of |p - t| * d, d the distance to the edge of t as a share of the diagonal"),
    "dice": Term(dice_loss, "mean of 1 - (2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)"),
    "focal": Term(focal_loss, "mean of -0.25 * t * (1 - p)^2 * ln(p) - 0.75 * (1 - t) * p^2 * ln(1 - p)"),
    "hausdorff": Term(
        hausdorff_loss,
        "mean over classes c of sum over k = 0..9 of (k + 1)^2 * erosion k of (p_c - t_c)^2, cross of 3 px",
    ),
    "iou": Term(iou_loss, "mean of 1 - (sum(p * t) + 1) / (sum(p) + sum(t) - sum(p * t) + 1)"),
    "lovasz": Term(lovasz_loss, "mean of the Lovasz extension of 1 - IoU at the hinge errors max(0, 1 - z * (2t - 1))"),
    "tversky": Term(
        tversky_loss,
        "mean of 1 - (TP + 1) / (TP + 0.3 * FP + 0.7 * FN + 1), with soft counts: TP = sum(p * t) and so on",
    ),
    **{name: _of_probability(term) for name, term in MAP_LOSSES.items()},
}

DEPTH_LOSSES: dict[str, Term] = {
    "bce": Term(bce_depth_loss, "mean of -t * ln(p) - (1 - t) * ln(1 - p)"),
    "bce_zscored": Term(bce_zscored_depth_loss, "mean of ln(1 + e^p) - p * (t - 0.4036) / 0.1992"),
    "berhu": Term(
        berhu_loss, "mean of r where r = |p - t| <= c, else (r^2 + c^2) / (2c), with c = 0.2 * max r of the image"
    ),
    "dice": Term(dice_depth_loss, "mean of 1 - (2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)"),
    "grad_ms": Term(
        multiscale_gradient_loss,
        "mean over images of sum over k = 0..3 of mean (|dx r| + |dy r|), r = s * p + b - t, every 2^k-th pixel",
    ),
    "silog": Term(
        silog_loss, "mean over images of sqrt(mean g^2 - 0.85 * (mean g)^2), g = ln(p) - ln(t), both floored at 0.01"
    ),
    "ssi": Term(ssi_loss, "mean over images of min over s, b of mean (s * p + b - t)^2 / 2"),
    "ssi_mae": Term(ssi_mae_loss, "mean |n(p) - n(t)|, n(x) = (x - median x) / mean |x - median x| of the image"),
    "tv": Term(total_variation_loss, "mean (|dx p| + |dy p|), forward differences; the truth plays no part"),
    **MAP_LOSSES,
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

LOSSES: dict[Head, dict[str, Term]] = {"mask": MASK_LOSSES, "depth": DEPTH_LOSSES}
PRESETS: dict[Head, dict[str, Preset]] = {"mask": MASK_PRESETS, "depth": DEPTH_PRESETS}


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


def build_criterion(params: LossParams) -> Criterion:
    """Build the training loss of both heads.

    Args:
        params: The section `loss` of params.yaml.

    Returns:
        A function of (prediction, mask, depth), targets of shape (B, 1, H, W), that gives the weighed sum as `loss` and
        each unweighted term by name (`loss_mask_bce`, `loss_depth_ssim`: a metric may have the name without `loss_`);
        all (), at least float32, also under autocast.

    Raises:
        ValueError: A combination that cannot be read, or both heads weighed 0; later, from the function itself, targets
            of another shape than the prediction, or maps too small for a loss.
    """
    if params.mask_weight == params.depth_weight == 0:
        raise ValueError("loss.mask_weight and loss.depth_weight are both 0: nothing to learn; raise one")
    mask_weights, depth_weights = parse_loss(params.mask, "mask"), parse_loss(params.depth, "depth")
    weights = {f"loss_mask_{name}": params.mask_weight * weight for name, weight in mask_weights.items()}
    weights |= {f"loss_depth_{name}": params.depth_weight * weight for name, weight in depth_weights.items()}

    def criterion(prediction: Prediction, mask: Tensor, depth: Tensor) -> dict[str, Tensor]:
        check_targets(prediction, mask, depth)
        # In half precision the gradient of a slope is mostly noise, and matrix products would be cast down again.
        with torch.autocast(prediction.depth.device.type, enabled=False):
            logits, mask = _at_least_float32(prediction.mask_logits, mask)
            depth_pred, depth = _at_least_float32(prediction.depth, depth)
            terms = {f"loss_mask_{name}": MASK_LOSSES[name].loss(logits, mask) for name in mask_weights}
            terms |= {f"loss_depth_{name}": DEPTH_LOSSES[name].loss(depth_pred, depth) for name in depth_weights}
            loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss} | terms

    return criterion


def describe_losses() -> list[dict[str, str]]:
    """List every loss and preset that params.yaml can name.

    Returns:
        One row each: `head` (mask or depth), `name`, `formula` (p the estimate, t the truth, z the raw score; for a
        preset the sum it stands for) and `summary`, one sentence.

    >>> next(row["formula"] for row in describe_losses() if (row["head"], row["name"]) == ("depth", "l1"))
    'mean |p - t|'
    """
    rows = []
    for head, losses in LOSSES.items():
        for name, (loss, formula) in sorted(losses.items()):
            summary = (inspect.getdoc(loss) or "").partition("\n")[0]
            rows.append({"head": head, "name": name, "formula": formula, "summary": summary})
        for name, preset in PRESETS[head].items():
            rows.append({"head": head, "name": name, "formula": preset.expression, "summary": preset.summary})
    return rows


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
    if name in LOSSES[head]:
        return {name: 1.0}
    known = sorted([*LOSSES[head], *PRESETS[head]])
    raise ValueError(f"loss.{head}: unknown loss {name!r:.200}; {suggest(name, known)}")


def _example(head: Head) -> str:
    return {"mask": "0.5*bce+2*dice", "depth": "ssim+grad+0.1*l1"}[head]


def _at_least_float32(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), target.to(dtype)
