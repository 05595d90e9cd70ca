"""Figures from plain arrays and tables: the only room that knows matplotlib."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskdepth.process.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Mask errors by kind, told apart also by the colour-blind (Okabe and Ito): hit, miss, false alarm.
HIT, MISS, FALSE_ALARM = (0, 158, 115), (230, 159, 0), (204, 121, 167)
_PANELS_A_ROW = 4
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
    figure, axes = _grid(len(samples), len(columns))
    for row, sample in zip(axes, samples, strict=True):
        errors = mask_errors(sample.mask, sample.mask_prob > threshold)
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
        depth: dict[str, Any] = {"cmap": DEPTH_COLOURS, "vmin": 0, "vmax": 1}
        row[0].imshow(sample.background)
        row[1].imshow(sample.composite)
        row[2].imshow(sample.mask, **grey)
        row[3].imshow(sample.mask_prob, **grey)
        row[4].imshow(errors)
        row[5].imshow(sample.depth, **depth)
        row[6].imshow(sample.depth_pred, **depth)
        row[0].set_ylabel(sample.title, fontsize=7)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    _legend(figure, {"hit": HIT, "miss": MISS, "false alarm": FALSE_ALARM})
    _save(figure, path)


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


def _grid(num_rows: int, num_columns: int) -> tuple["Figure", NDArray[Any]]:
    figure = _figure((1.35 * num_columns, 1.35 * num_rows + 0.5))
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure, axes


def _figure(size: tuple[float, float]) -> "Figure":
    """Make a figure [inch] without pyplot, which would keep it and look for a screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _legend(figure: "Figure", colours: dict[str, tuple[int, int, int]]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=f"#{bytes(colour).hex()}", label=name) for name, colour in colours.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as partial:
        # Without the metadata the same figure is the same file, which DVC then does not store twice.
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
