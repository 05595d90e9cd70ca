"""What was measured of trainings on drawn scenes and photographs, as tables with paired intervals, and as a figure."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskdepth.evaluation.intervals import intervals

SSIM, IOU = "depth_ssim", "mask_iou"
NUMBERS = {
    IOU: "mask IoU",
    SSIM: "depth SSIM",
    "depth_ssim_aligned": "SSIM, aligned",
    "depth_mae": "depth MAE",
    "depth_ssi_mae": "MAE, aligned",
}
# The seed of what is not trained.
UNTRAINED = -1
_INCHES, _DPI = (10.5, 4.2), 110
_LINES = {
    "mean map": "#999999",
    "ramp": "#E69F00",
    "photographs": "#CC79A7",
    "both and scene": "#D55E00",
    "TCMonoDepth small": "#009E73",
}
_DRAWN = "#0072B2"


def read_parts(folder: Path) -> pd.DataFrame:
    """Read all that was measured: a row a test sample, condition and seed."""
    return pd.concat([pd.read_parquet(part) for part in sorted(folder.glob("[!.]*.parquet"))], ignore_index=True)


def average(samples: pd.DataFrame) -> pd.DataFrame:
    """Average over the samples of each place, for a file that is read."""
    keys = ["condition", "seed", "place"]
    return samples.groupby(keys, sort=True)[list(NUMBERS)].mean().reset_index()


def compare(samples: pd.DataFrame, first: str, second: str, metric: str) -> tuple[float, float, float]:
    """Give the mean difference of two conditions, with its 95 % interval over other places and objects.

    Trainings are paired by their seeds, and averaged before: the interval is of these seeds.
    """
    one, other = (samples[samples["condition"] == name] for name in (first, second))
    are_trained = min(one["seed"].min(), other["seed"].min()) > UNTRAINED
    keys = ["sample_id", "seed"] if are_trained else ["sample_id"]
    differences = (one.groupby(keys)[metric].mean() - other.groupby(keys)[metric].mean()).dropna()
    means = differences.groupby("sample_id").mean()
    told = one.drop_duplicates("sample_id").set_index("sample_id")[["place", "foreground"]].join(means, how="inner")
    mean, low, high = intervals(told, [metric])[["mean", "low", "high"]].to_numpy(float)[0]
    return float(mean), float(low), float(high)


def tell(difference: tuple[float, float, float]) -> str:
    """Write a difference and its interval in points."""
    return "{:+.1f} ({:+.1f} .. {:+.1f})".format(*(100 * part for part in difference))


def tabulate(samples: pd.DataFrame, controls: Iterable[str]) -> str:
    """Write a row a condition: its means, and how far its SSIM is above those of the controls."""
    present = [name for name in controls if (samples["condition"] == name).any()]
    columns = ["condition", "seeds", *NUMBERS.values(), *(f"SSIM minus {name}" for name in present)]
    lines = [columns, ["---"] * len(columns)]
    for name, rows in samples.groupby("condition", sort=False):
        means = ["" if np.isnan(mean) else f"{mean:.3f}" for mean in rows[list(NUMBERS)].mean()]
        differences = ["" if name == other else tell(compare(samples, str(name), other, SSIM)) for other in present]
        seeds = rows.loc[rows["seed"] > UNTRAINED, "seed"].nunique()
        lines.append([str(name), str(seeds or ""), *means, *differences])
    return _write(lines)


def tabulate_pairs(samples: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> str:
    """Write a row a pair of conditions: by how many points they differ."""
    lines = [["", "depth SSIM", "SSIM, aligned", "mask IoU"], ["---"] * 4]
    for first, second in pairs:
        metrics = (SSIM, "depth_ssim_aligned", IOU)
        lines.append([f"{first} minus {second}", *(tell(compare(samples, first, second, one)) for one in metrics)])
    return _write(lines)


def _write(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(samples: pd.DataFrame, pools: list[int], without: dict[str, str], control: str, path: Path) -> None:
    """Draw SSIM against the number of drawn backgrounds, and what it loses by each thing that is taken out.

    Args:
        samples: As `read_parts` gives them.
        pools: Numbers of backgrounds; their conditions are called `drawn N`.
        without: What was taken out, to its condition.
        control: The condition that it was taken out of.
        path: PNG to write.
    """
    figure = Figure(figsize=_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    by_seed = samples.groupby(["condition", "seed"])[SSIM].mean()
    for size in pools:
        values = by_seed[f"drawn {size}"]
        left.scatter([size] * len(values), values, color=_DRAWN, alpha=0.6, zorder=3)
    means = [by_seed[f"drawn {size}"].mean() for size in pools]
    left.plot(pools, means, color=_DRAWN, label="drawn alone, a dot a seed")
    for name, colour in _LINES.items():
        if name in by_seed:
            left.axhline(by_seed[name].mean(), color=colour, linestyle="--", label=name)
    left.set(xscale="log", xlabel="drawn backgrounds", ylabel="depth SSIM, photographs of unseen places")
    left.set_xticks(pools, [f"{size:,}" for size in pools])
    left.minorticks_off()
    left.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    left.grid(alpha=0.3)
    _draw_without(right, samples, without, control)
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _draw_without(axis: Axes, samples: pd.DataFrame, without: dict[str, str], control: str) -> None:
    by_seed = samples.groupby(["condition", "seed"])[SSIM].mean()
    for row, condition in enumerate(without.values()):
        mean, low, high = (100 * part for part in compare(samples, condition, control, SSIM))
        axis.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color=_DRAWN, marker="o", capsize=3)
        differences = 100 * (by_seed[condition] - by_seed[control]).dropna()
        axis.scatter(differences, [row + 0.2] * len(differences), color=_DRAWN, alpha=0.4, s=12)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(without)), list(without))
    axis.invert_yaxis()
    axis.set(xlabel=f"points of depth SSIM against {control}\n(95 % over places; small dots: seeds)")
    axis.set_title("taken out of the drawn scenes", fontsize=10)
    axis.grid(alpha=0.3)
