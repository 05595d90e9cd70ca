"""Figures from plain arrays and tables: the only room that knows matplotlib."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskdepth.process.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Mask errors by kind, told apart also by the colour-blind (Okabe and Ito): hit, miss, false alarm.
HIT, MISS, FALSE_ALARM = (0, 158, 115), (230, 159, 0), (204, 121, 167)
_PANELS_A_ROW = 4
# [inch] Side of a picture of a sample, and room for the titles of rows and columns and for the legend.
_TILE, _TITLES, _LEGEND = 1.35, 0.25, 0.3
DEPTH_COLOURS = "magma_r"  # near is bright


@dataclass(frozen=True)
class DrawnSample:
    """One sample and what was predicted for it; every array covers the same H x W pixels."""

    title: str
    background: NDArray[np.uint8]  # (H, W, 3)
    composite: NDArray[np.uint8]  # (H, W, 3)
    mask: NDArray[np.bool_]  # (H, W), true
    mask_prob: NDArray[np.float32]  # (H, W), [0, 1]
    depth: NDArray[np.float32]  # (H, W), true, 0 near .. 1 far
    depth_pred: NDArray[np.float32]  # (H, W), 0 near .. 1 far


def draw_samples(samples: list[DrawnSample], threshold: float, path: Path) -> None:
    """Draw one row per sample: pictures, true and predicted mask with its errors, true and predicted depth.

    Args:
        samples: What to draw.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        path: PNG to write.
    """
    columns = ("background", "composite", "true mask", "predicted mask", "mask errors", "true depth", "predicted depth")
    mosaic = _join([_colour(sample, threshold) for sample in samples])
    width, height = _TILE * len(columns) + _TITLES, _TILE * len(samples) + _TITLES + _LEGEND
    figure = _figure((width, height), layout=None)
    # One picture in one system of axes: each more costs the time of drawing all of them.
    place = (_TITLES / width, _LEGEND / height, 1 - _TITLES / width, 1 - (_TITLES + _LEGEND) / height)
    axis = figure.add_axes(place)
    axis.imshow(mosaic, extent=(0, len(columns), len(samples), 0), aspect="auto")
    axis.set_axis_off()
    for number, title in enumerate(columns):
        axis.text(number + 0.5, -0.02, title, fontsize=9, ha="center", va="bottom")
    for number, sample in enumerate(samples):
        axis.text(-0.02, number + 0.5, sample.title, fontsize=7, ha="right", va="center", rotation=90)
    _legend(figure, {"hit": HIT, "miss": MISS, "false alarm": FALSE_ALARM})
    _save(figure, path)


def _colour(sample: DrawnSample, threshold: float) -> list[NDArray[np.uint8]]:
    """Give what is shown of a sample, (H, W, 3) each."""
    from matplotlib import colormaps

    def paint(levels: NDArray[Any], colours: str) -> NDArray[np.uint8]:
        painted: NDArray[np.uint8] = colormaps[colours](levels.astype(np.float32), bytes=True)[..., :3]
        return painted

    return [
        sample.background,
        sample.composite,
        paint(sample.mask, "gray"),
        paint(sample.mask_prob, "gray"),
        mask_errors(sample.mask, sample.mask_prob > threshold),
        paint(sample.depth, DEPTH_COLOURS),
        paint(sample.depth_pred, DEPTH_COLOURS),
    ]


def _join(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Lay pictures of one size beside and below each other, on white."""
    gap = max(1, len(rows[0][0]) // 32)
    edges = ((gap, gap), (gap, gap), (0, 0))
    return np.vstack([np.hstack([np.pad(tile, edges, constant_values=255) for tile in row]) for row in rows])


def mask_errors(truth: NDArray[np.bool_], pred: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour each pixel by what the prediction made of it: hit, miss, false alarm, or black.

    Args:
        truth: (H, W) true mask.
        pred: (H, W) predicted mask.

    Returns:
        (H, W, 3) RGB.
    """
    colours = np.zeros((*truth.shape, 3), np.uint8)
    colours[truth & pred] = HIT
    colours[truth & ~pred] = MISS
    colours[~truth & pred] = FALSE_ALARM
    return colours


def draw_curves(epochs: pd.DataFrame, path: Path) -> None:
    """Draw what `plot_curves` plots as a PNG."""
    _save(plot_curves(epochs), path)


def plot_curves(epochs: pd.DataFrame) -> "Figure":
    """Plot mask IoU, depth SSIM, the loss and each of its terms against the epoch, training and validation.

    Args:
        epochs: One row an epoch, with the column `epoch` and columns such as `val_mask_iou` and `train_loss_mask_bce`.
    """
    terms = [str(column).removeprefix("val_") for column in epochs if str(column).startswith("val_loss_")]
    panels = {"mask IoU": "mask_iou", "depth SSIM": "depth_ssim", "loss": "loss"}
    panels |= {term.removeprefix("loss_").replace("_", " ", 1) + " loss": term for term in terms}
    rows = -(-len(panels) // _PANELS_A_ROW)
    figure = _figure((3.3 * _PANELS_A_ROW, 2.8 * rows))
    axes = figure.subplots(rows, _PANELS_A_ROW, squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, (title, metric) in zip(axes, panels.items(), strict=False):
        for split in ("train", "val"):
            if f"{split}_{metric}" in epochs:
                axis.plot(epochs["epoch"], epochs[f"{split}_{metric}"], label=split, marker=".")
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        if axis.lines:  # not every run measures everything
            axis.legend()
    return figure


def draw_learning_rates(trials: pd.DataFrame, suggestion: float, path: Path) -> None:
    """Draw the loss against the learning rate, as it was and smoothed, with the suggested rate.

    Args:
        trials: Columns learning_rate, loss, smoothed.
        suggestion: The rate to mark.
        path: PNG to write.
    """
    figure = _figure((6, 4))
    axis = figure.subplots()
    axis.plot(trials["learning_rate"], trials["loss"], alpha=0.4, label="loss of each batch")
    axis.plot(trials["learning_rate"], trials["smoothed"], label="smoothed")
    axis.axvline(suggestion, color="black", linestyle="--", label=f"steepest descent: {suggestion:.2g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def _figure(size: tuple[float, float], layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """Make a figure [inch] without pyplot, which would keep it and look for a screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout=layout)


def _legend(figure: "Figure", colours: dict[str, tuple[int, int, int]]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=f"#{bytes(colour).hex()}", label=name) for name, colour in colours.items()]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), fontsize=8, frameon=False)


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as partial:
        # Without the metadata the same figure is the same file, which DVC then does not store twice.
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
