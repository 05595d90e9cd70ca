"""How soon is the sample data learned? Records in the manner of a race: same data, same goal, any settings.

Trains on a prepared data set (`maskdepth sample data/raw` and `dvc repro split stats` make it) with the shipped
settings or others, once for each seed, and prints a row for benchmarks/results/speedrun_*.md. The goal: in 60 s of
training on two quiet cores a mask IoU of 0.92 and a depth SSIM of 0.87 on drawn scenes that nobody trained on, shown by
a one-sided t-test over seeds at 0.01. The mask's threshold is tuned on the validation split, as `evaluate` does.
"""

import statistics
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from scipy import stats
from support.shipped import SHIPPED_PARAMS
from support.trained import measure, train

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.samples import TEST, read_samples
from maskdepth.device import set_deterministic, set_threads
from maskdepth.params import load_params, override
from maskdepth.process.memory import keep_freed_memory

GOALS = {"mask_iou": 0.92, "depth_ssim": 0.87}
_CPU = torch.device("cpu")


def main(
    data: Annotated[Path, typer.Argument(help="Folder of arrays, index.csv, split.csv and stats.csv.")],
    epochs: Annotated[int | None, typer.Option(help="In place of those that are shipped.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Likewise.")] = None,
    seeds: Annotated[int, typer.Option(min=1)] = 8,
) -> None:
    """Train, measure, print a row."""
    set_threads()
    keep_freed_memory()
    set_deterministic(_CPU)
    asked = {"train.epochs": epochs, "train.optimizer": optimizer, "train.learning_rate": learning_rate}
    changes = {name: value for name, value in asked.items() if value is not None}
    params = override(load_params(SHIPPED_PARAMS), changes, "the options")
    pictures, rows = read_arrays(data / "arrays"), read_samples(data / "index.csv", data / "split.csv")
    measured: dict[str, list[float]] = {name: [] for name in (*GOALS, "seconds", "of the processor")}
    for seed in range(seeds):
        seeded = override(params, {"train.seed": seed}, "the benchmark")
        began, began_processor = time.perf_counter(), time.process_time()
        network = train(seeded, pictures, rows, data / "stats.csv")
        measured["seconds"].append(time.perf_counter() - began)
        measured["of the processor"].append(time.process_time() - began_processor)
        means = measure(seeded, network, pictures, rows, tuple(GOALS))[TEST].mean()
        for name in GOALS:
            measured[name].append(float(means[name]))
        print(f"seed {seed}: " + ", ".join(f"{name} {values[-1]:.4f}" for name, values in measured.items()), flush=True)
    cells = [", ".join(f"{name} {value}" for name, value in changes.items()) or "as shipped", str(seeds)]
    cells += [tell(measured[name], goal) for name, goal in GOALS.items()]
    cells += [f"{statistics.median(measured[name]):.0f}" for name in ("seconds", "of the processor")]
    print("| settings | seeds | mask IoU | depth SSIM | seconds | of the processor |\n|---|---|---|---|---|---|")
    print(f"| {' | '.join(cells)} |")


def tell(values: list[float], goal: float) -> str:
    """Write a mean, its deviation over seeds, and how likely so much is by chance where the goal is not reached."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    chance = stats.ttest_1samp(values, goal, alternative="greater").pvalue
    return f"{statistics.mean(values):.4f} +- {statistics.stdev(values):.4f} (p {chance:.2g})"


if __name__ == "__main__":
    typer.run(main)
