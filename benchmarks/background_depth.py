"""What is the depth of the background worth on unseen places, given exactly, roughly, or not at all?

Trains on a prepared data set (`dvc repro split` makes it), with the depth of the background and without, for each seed
from the same weights, and measures the test split beside what copying that depth gives. "Rough" is what a network might
see: blurred, with bumps of other widths than those of training, so strong that copying has the SSIM that is asked for.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from support.trained import train
from torch import Tensor
from torch.nn import functional

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.batches.batches import ESTIMATED_DEPTH, Batch, Batches, mix_seed
from maskdepth.data.samples import TEST, TRAIN, read_samples
from maskdepth.device import set_deterministic, set_threads
from maskdepth.evaluation.baseline import copy_backgrounds
from maskdepth.evaluation.samples import evaluate_samples, predictions, without_background_depth
from maskdepth.params import load_params, override
from maskdepth.process.memory import keep_freed_memory

_CPU = torch.device("cpu")
_WITHOUT = "background+composite+difference"
_WITH = f"{_WITHOUT}+background_depth"
_METRICS = ("mask_iou", "depth_ssim", "depth_mae", "depth_mae_foreground", "depth_ssi_mae")
# Bumps of a rough map by how many fit side by side, with their heights before they are scaled; its blur [px].
_BUMPS = {3: 1.0, 7: 0.7, 16: 0.5}
_BLURRED_SIDE = 20
# Halvings of the range of heights of bumps, [0, 0.2], until copying has the SSIM that is asked for.
_HALVINGS = 7

Disturbance = Callable[[Iterable[Batch]], Iterator[Batch]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of arrays, index.csv, split.csv and stats.csv")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--train", type=int, default=1600, help="training samples, evenly from all")
    parser.add_argument("--test", type=int, default=480, help="test samples, evenly from all")
    parser.add_argument("--rough", type=float, default=0.8, help="SSIM of copying a rough map")
    options = parser.parse_args()
    set_threads()
    keep_freed_memory()
    set_deterministic(_CPU)
    params, pictures = load_params(), read_arrays(options.data / "arrays")
    rows = read_samples(options.data / "index.csv", options.data / "split.csv")
    for name, wanted in ((TRAIN, options.train), (TEST, options.test)):
        rows[name] = rows[name].iloc[:: max(1, len(rows[name]) // wanted)].reset_index(drop=True)
    test = Batches(pictures, rows[TEST], params.evaluate.batch_size, _CPU, with_background_depth=True)
    copy = partial(measure_copies, test, torch.full((1, pictures.image_size, pictures.image_size), 0.5))
    rough = choose_roughness(copy, options.rough)
    shown: dict[str, Disturbance] = {"exactly": iter, "roughly": rough, "not at all": without_background_depth}
    print(f"{len(rows[TRAIN])} training, {len(rows[TEST])} test samples of {rows[TEST]['place'].nunique()} places")
    tell("copied, given exactly", copy(iter))
    tell("copied, given roughly", copy(rough))
    for seed in range(options.seeds):
        for inputs in (_WITHOUT, _WITH):
            changes = {"train.epochs": options.epochs, "train.seed": seed, "model.inputs": inputs}
            settings = override(params, changes, "the options")
            began = time.process_time()
            network = train(settings, pictures, rows, options.data / "stats.csv")
            seconds = time.process_time() - began
            for name in shown if network.sees_background_depth else ("not at all",):
                predicted = predictions(network, shown[name](test.in_order()))
                tell(f"{inputs}, given {name}, seed {seed}", evaluate_samples(predicted, 0.5, _METRICS))
            print(f"{inputs}, seed {seed}: {seconds:.0f} s of processor time", flush=True)


def choose_roughness(copy: Callable[[Disturbance], pd.DataFrame], wanted: float) -> Disturbance:
    """Find how rough a map is of which a copy has the wanted SSIM."""
    low, high = 0.0, 0.2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_better = copy(partial(see_roughly, middle))["depth_ssim"].mean() > wanted
        low, high = (middle, high) if is_better else (low, middle)
    return partial(see_roughly, low)


def see_roughly(height: float, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Blur the depth of the backgrounds and put bumps on it, always the same ones."""
    for number, batch in enumerate(batches):
        assert batch.background_depth is not None
        generator = torch.Generator().manual_seed(mix_seed(number))
        levels, known = batch.background_depth.chunk(2, dim=1)
        depth = levels.float() / 255
        small = functional.interpolate(depth, size=(_BLURRED_SIDE, _BLURRED_SIDE), mode="area")
        seen = enlarge(small, depth)
        for side, share in _BUMPS.items():
            seen = seen + height * share * enlarge(torch.randn(len(depth), 1, side, side, generator=generator), depth)
        shown = torch.cat([(seen.clamp(0, 1) * 255).round().byte(), known.clamp(max=ESTIMATED_DEPTH)], 1)
        yield batch._replace(background_depth=shown)


def enlarge(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, size=like.shape[-2:], mode="bicubic")


def measure_copies(test: Batches, otherwise: Tensor, shown: Disturbance) -> pd.DataFrame:
    """Measure the depth of the backgrounds as it is shown."""
    return evaluate_samples(copy_backgrounds(shown(test.in_order()), otherwise, has_plane=False), 0.5, _METRICS[1:])


def tell(what: str, measured: pd.DataFrame) -> None:
    print(f"{what}: " + ", ".join(f"{name} {value:.4f}" for name, value in measured.mean().items()), flush=True)


if __name__ == "__main__":
    main()
