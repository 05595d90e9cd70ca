"""Depth maps as two of the real data sets published them: drawn by matplotlib, on a white page."""

import io

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

Levels = npt.NDArray[np.uint8]


def plot_small_page(levels: Levels, form: str = "jpg", colour_map: str = "plasma") -> bytes:
    """Draw (H, W) levels on a page of 224 x 224 px, coloured beforehand, as sumankanukollu did."""
    figure = Figure(figsize=(2.24, 2.24), dpi=100)
    axes = figure.subplots()
    axes.imshow(matplotlib.colormaps[colour_map](levels)[..., :3])
    axes.axis("off")
    return _save(figure, form, 100)


def plot_wide_page(
    levels: Levels, form: str = "png", colour_map: str = "viridis", axes_are_shown: bool = False
) -> bytes:
    """Draw (H, W) levels on a page of 432 x 288 px, as sudhakarmlal did."""
    figure = Figure(figsize=(6, 4), dpi=72)
    axes = figure.subplots()
    axes.imshow(levels, cmap=colour_map)
    axes.axis("on" if axes_are_shown else "off")
    return _save(figure, form, 72)


def draw_levels(side: int) -> Levels:
    """Draw a floor that comes nearer downwards, an object on it, and a near post at the edge; all levels occur."""
    row, column = np.mgrid[:side, :side] / (side - 1)
    levels = 255 * (1 - row)
    levels[(row - 0.5) ** 2 + (column - 0.6) ** 2 < 0.04] = 60
    levels[:, column[0] < 0.1] = 10
    return levels.round().astype(np.uint8)


def _save(figure: Figure, form: str, dpi: int) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=dpi)
    return data.getvalue()
