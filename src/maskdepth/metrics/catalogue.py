"""Every metric by name, and one function that measures any of them.

The mean over a data set is the mean of the numbers of its images, so batch size and order change nothing; the pooled
intersection over union divides the sums of `mask_intersection` and `mask_union`. Formulas, ranges and references stand
at the groups in `images` and `students`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor

from maskdepth.metrics.images import (
    aligned_depth_metrics,
    boundary_metrics,
    depth_boundary_metrics,
    depth_metrics,
    mask_metrics,
    region_metrics,
)
from maskdepth.metrics.names import (
    ALIGNED_DEPTH,
    BOUNDARY,
    DEPTH,
    DEPTH_BOUNDARY,
    MASK,
    METRICS,
    REGIONS,
    STUDENTS,
    Better,
)
from maskdepth.metrics.students import student_metrics
from maskdepth.models.prediction import Prediction, check_targets


class Maps(NamedTuple):
    """What a group of metrics looks at: (B, 1, H, W) float64 each.

    Attributes:
        prob: Mask probability, [0, 1].
        mask: True mask; above 0.5 is object.
        depth: Estimated depth, [0, 1].
        depth_target: True depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).
    """

    prob: Tensor
    mask: Tensor
    depth: Tensor
    depth_target: Tensor
    threshold: float


class Group(NamedTuple):
    """Metrics that are measured together.

    Attributes:
        measure: Gives (B,) float64 per metric.
        better: Which way each is better; "neither" for counts and for what one may not aim at.
    """

    measure: Callable[[Maps], dict[str, Tensor]]
    better: dict[str, Better]


GROUPS = (
    Group(lambda maps: mask_metrics(maps.prob, maps.mask, maps.threshold), MASK),
    Group(lambda maps: boundary_metrics(maps.prob > maps.threshold, maps.mask > 0.5), BOUNDARY),
    Group(lambda maps: depth_metrics(maps.depth, maps.depth_target), DEPTH),
    Group(lambda maps: aligned_depth_metrics(maps.depth, maps.depth_target), ALIGNED_DEPTH),
    Group(lambda maps: depth_boundary_metrics(maps.depth, maps.depth_target), DEPTH_BOUNDARY),
    Group(lambda maps: region_metrics(maps.depth, maps.depth_target, maps.mask > 0.5), REGIONS),
    Group(lambda maps: student_metrics(maps.prob, maps.mask, maps.depth, maps.depth_target), STUDENTS),
)


def image_metrics(
    prediction: Prediction, mask: Tensor, depth: Tensor, threshold: float, names: Iterable[str] = METRICS
) -> dict[str, Tensor]:
    """Measure each image; a group of which no metric is wanted costs nothing.

    Args:
        prediction: Mask scores and depth of the network, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        depth: (B, 1, H, W) true depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).
        names: The metrics wanted, keys of METRICS.

    Returns:
        (B,) float64 for each of `names`.

    Raises:
        ValueError: A target of another shape than its prediction, or images smaller than 11 px a side.
    """
    check_targets(prediction, mask, depth)
    prob = prediction.mask_logits.double().sigmoid()
    maps = Maps(prob, mask.double(), prediction.depth.double(), depth.double(), threshold)
    wanted = list(names)
    measured: dict[str, Tensor] = {}
    for group in GROUPS:
        if not group.better.keys().isdisjoint(wanted):
            measured |= group.measure(maps)
    return {name: measured[name] for name in wanted}
