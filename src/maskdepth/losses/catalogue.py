"""The function of every loss by its name, and the weighed total of both heads.

To add a loss, name its function in a table here, and what it computes in `names`.
"""

import functools
import inspect
from collections.abc import Callable

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
from maskdepth.losses.names import FORMULAS, PRESETS, Head, parse_loss
from maskdepth.losses.students import (
    bce_zscored_depth_loss,
    bce_zscored_mask_loss,
    ssim_w3_kornia03_loss,
    ssim_w5_kornia03_loss,
    ssim_w11_kornia03_loss,
)
from maskdepth.models.prediction import Prediction, check_targets
from maskdepth.params import LossParams

Loss = Callable[[Tensor, Tensor], Tensor]
Criterion = Callable[[Prediction, Tensor, Tensor], dict[str, Tensor]]


def _of_probability(loss: Loss) -> Loss:
    """Let a loss of two maps take the raw scores of the mask head."""

    @functools.wraps(loss)
    def loss_of_logits(logits: Tensor, target: Tensor) -> Tensor:
        return loss(logits.sigmoid(), target)

    return loss_of_logits


MAP_LOSSES: dict[str, Loss] = {
    "charbonnier": charbonnier_loss,
    "grad": gradient_loss,
    "huber": huber_loss,
    "l1": l1_loss,
    "laplacian": laplacian_loss,
    "ms_ssim_l1": ms_ssim_l1_loss,
    "mse": mse_loss,
    "rmse": rmse_loss,
    "smooth_l1": smooth_l1_loss,
    "ssim": ssim_loss,
    "ssim_w3_kornia03": ssim_w3_kornia03_loss,
    "ssim_w5_kornia03": ssim_w5_kornia03_loss,
    "ssim_w11_kornia03": ssim_w11_kornia03_loss,
}

MASK_LOSSES: dict[str, Loss] = {
    "bce": bce_loss,
    "bce_zscored": bce_zscored_mask_loss,
    "boundary": boundary_loss,
    "dice": dice_loss,
    "focal": focal_loss,
    "hausdorff": hausdorff_loss,
    "iou": iou_loss,
    "lovasz": lovasz_loss,
    "tversky": tversky_loss,
    **{name: _of_probability(loss) for name, loss in MAP_LOSSES.items()},
}

DEPTH_LOSSES: dict[str, Loss] = {
    "bce": bce_depth_loss,
    "bce_zscored": bce_zscored_depth_loss,
    "berhu": berhu_loss,
    "dice": dice_depth_loss,
    "grad_ms": multiscale_gradient_loss,
    "silog": silog_loss,
    "ssi": ssi_loss,
    "ssi_mae": ssi_mae_loss,
    "tv": total_variation_loss,
    **MAP_LOSSES,
}

LOSSES: dict[Head, dict[str, Loss]] = {"mask": MASK_LOSSES, "depth": DEPTH_LOSSES}


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
            terms = {f"loss_mask_{name}": MASK_LOSSES[name](logits, mask) for name in mask_weights}
            terms |= {f"loss_depth_{name}": DEPTH_LOSSES[name](depth_pred, depth) for name in depth_weights}
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
    for head, formulas in FORMULAS.items():
        for name, formula in sorted(formulas.items()):
            summary = (inspect.getdoc(LOSSES[head][name]) or "").partition("\n")[0]
            rows.append({"head": head, "name": name, "formula": formula, "summary": summary})
        for name, preset in PRESETS[head].items():
            rows.append({"head": head, "name": name, "formula": preset.expression, "summary": preset.summary})
    return rows


def _at_least_float32(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), target.to(dtype)
