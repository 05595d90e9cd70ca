"""Ten pairs as a picture: a background that was photographed a little differently, seen as it is and laid over first.

    python benchmarks/moved_pairs.py models/model.safetensors docs/moved_pairs.jpg

Scenes are drawn, each is disturbed in another way, and all of it is done as `maskdepth predict` does it.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from support.disturbed import DISTURBANCES, Disturbed, disturb, draw_pairs

from maskdepth.data.registration import register
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.serving.predict import predict_arrays

_SHOWN = (
    "as it is", "shift 1 %", "shift 4 %", "turn 2 degrees", "zoom 2 %", "light x0.8", "colour cast", "JPEG 60",
    "noise 6", "all at once",
)  # fmt: skip
_COLUMNS = ("background", "composite", "mask, as it is", "mask, registered", "depth, registered", "true mask")
_SEED = 1  # scenes and objects that the sample data do not have
_THRESHOLD = 0.5
_INCHES, _DPI = 1.35, 110


class Row(NamedTuple):
    """One pair, and what the network makes of it.

    Attributes:
        case: The pair.
        before: (s, s) float32 [0, 1], mask probability with the background as it was photographed.
        after: (s, s) float32 [0, 1], with the background laid over the composite.
        depth: (s, s) float32 [0, 1], 0 near, with the same.
        told: What the registration says of it.
    """

    case: Disturbed
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    depth: NDArray[np.float32]
    told: str


def main(
    model: Annotated[Path, typer.Argument(help="A trained network.")],
    out: Annotated[Path, typer.Argument(help="The picture to write.")],
) -> None:
    """Draw the picture, and print both IoU of each pair."""
    network, rng = load_network(model), np.random.default_rng(0)
    pairs = draw_pairs(1, _SEED, len(_SHOWN))
    rows = {
        name: predict_row(network, disturb(pair, DISTURBANCES[name], rng))
        for name, pair in zip(_SHOWN, pairs, strict=True)
    }
    draw(rows, out)
    for name, row in rows.items():
        before, after = (overlap(prob, row.case.mask) for prob in (row.before, row.after))
        print(f"{name:<16}{before:.3f} -> {after:.3f}  {row.told}")


def predict_row(network: Network, case: Disturbed) -> Row:
    """Predict a pair as it is and as it is registered."""
    registration = register(case.background, case.composite)
    before, _ = predict_arrays(network, case.background, case.composite)
    after, depth = predict_arrays(network, registration.background, case.composite)
    return Row(case, before, after, depth, registration.describe())


def draw(rows: dict[str, Row], out: Path) -> None:
    """Draw a row of pictures for each pair."""
    figure = Figure((_INCHES * (len(_COLUMNS) + 1), _INCHES * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(_COLUMNS))
    for axis, column in zip(axes[0], _COLUMNS, strict=True):
        axis.set_title(column, fontsize="medium")
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        masks = [(prob, f"IoU {overlap(prob, row.case.mask):.2f}") for prob in (row.before, row.after)]
        pictures = [(row.case.background, ""), (row.case.composite, ""), *masks, (row.depth, ""), (row.case.mask, "")]
        for axis, column, (picture, below) in zip(line, _COLUMNS, pictures, strict=True):
            axis.imshow(picture, vmin=0, vmax=1, cmap="magma_r" if "depth" in column else "gray")
            axis.set(xticks=[], yticks=[], xlabel=below)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(out, dpi=_DPI)


def overlap(prob: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Give the IoU of a mask, 1 where both are empty."""
    pred = prob > _THRESHOLD
    union = (pred | truth).sum()
    return float((pred & truth).sum() / union) if union else 1.0


if __name__ == "__main__":
    typer.run(main)
