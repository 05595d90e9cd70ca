"""Do the loss curves of bf16 and fp32 differ by more than those of two seeds? The shipped network and settings.

Trains on freshly drawn samples, as often as there are seeds in each precision, and compares the curves epoch by epoch.
A seed decides weights, order and augmentation; in both precisions the same seed starts from the same weights.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import pandas as pd
import torch
from support.drawn import ARRAY_SIZE, scratch, unzip
from support.shipped import SHIPPED_PARAMS

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.index.joining import build_index
from maskdepth.device import has_bf16
from maskdepth.losses.catalogue import build_criterion
from maskdepth.making.drawing.sample import write_sample
from maskdepth.models.catalogue import build_network, resolve_inputs
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.params import Params, load_params
from maskdepth.training.fit import Epoch, TrainState, fit

_CPU = torch.device("cpu")
_BACKGROUNDS, _FOREGROUNDS = 24, 12
_VAL_BACKGROUNDS = 4
_PRECISIONS = ("fp32", "bf16")
# Of each of these a curve is compared.
_CURVES = ("train loss", "val loss", "val mask IoU", "val depth SSIM")

Curves = dict[str, list[float]]  # a value per epoch, by name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each precision, 2 or more")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=480, help="composites to draw")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"this processor has bfloat16: {has_bf16(_CPU)}; {options}", flush=True)
    params = load_params(SHIPPED_PARAMS)
    runs: dict[str, list[Curves]] = {precision: [] for precision in _PRECISIONS}
    with scratch() as folder:
        raw = folder / "raw"
        write_sample(raw, "sudhakarmlal", 0, _BACKGROUNDS, _FOREGROUNDS, options.samples, ARRAY_SIZE)
        arrays = unzip(raw, folder / "arrays", workers=1)
        rows = build_index(read_members(folder / "arrays"), arrays).samples
        for seed in range(options.seeds):
            for precision in _PRECISIONS:
                began = time.perf_counter()
                changes = {"epochs": options.epochs, "seed": seed, "precision": precision}
                settings = params.model_copy(update={"train": params.train.model_copy(update=changes)})
                runs[precision].append(train(settings, arrays, rows))
                seconds = time.perf_counter() - began
                print(f"seed {seed}, {precision}, {seconds:.0f} s: {show_last(runs[precision][-1])}", flush=True)
    verdicts = [compare(name, runs) for name in _CURVES]
    print("equal within the noise of the seeds" if all(verdicts) else "DIFFERENT beyond the noise of the seeds")


def train(params: Params, arrays: Arrays, rows: pd.DataFrame) -> Curves:
    """Train once, from the weights of this seed; the backgrounds of the validation are not trained on."""
    halves, quarters = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    normalisation = Normalisation(halves, quarters, halves, quarters)
    torch.manual_seed(params.train.seed)
    network = build_network(NetworkSpec(params.model.name, resolve_inputs(params.model), normalisation, ARRAY_SIZE))
    held_out = rows["background_row"] >= _BACKGROUNDS - _VAL_BACKGROUNDS
    batches = (Batches(arrays, part, params.train.batch_size, _CPU) for part in (rows[~held_out], rows[held_out]))
    training, val = batches
    state = TrainState(network, params.train, len(training))
    epochs = [
        event
        for event in fit(state, training, val, build_criterion(params.loss), params.train)
        if isinstance(event, Epoch)
    ]
    return {
        "train loss": [epoch.train["loss"] for epoch in epochs],
        "val loss": [epoch.val["loss"] for epoch in epochs],
        "val mask IoU": [epoch.val["mask_iou"] for epoch in epochs],
        "val depth SSIM": [epoch.val["depth_ssim"] for epoch in epochs],
    }


def show_last(curves: Curves) -> str:
    return ", ".join(f"{name} {values[-1]:.4f}" for name, values in curves.items())


def compare(name: str, runs: Mapping[str, Sequence[Curves]]) -> bool:
    """Print a curve of both precisions; tell whether they differ by less than chance allows at every epoch.

    That is two standard errors of the difference of two means, by the spread that the seeds show.
    """
    print(f"\n{name:<16}{'fp32':>10}{'+-':>9}{'bf16':>10}{'+-':>9}{'bf16 - fp32':>14}{'noise':>9}")
    fp32, bf16 = ([curves[name] for curves in runs[precision]] for precision in _PRECISIONS)
    is_equal = True
    for epoch, (ours, theirs) in enumerate(zip(zip(*bf16, strict=True), zip(*fp32, strict=True), strict=True), 1):
        noise = 2 * math.sqrt((stdev(ours) ** 2 + stdev(theirs) ** 2) / len(ours))
        difference = mean(ours) - mean(theirs)
        is_equal &= abs(difference) <= noise
        numbers = f"{mean(theirs):>10.4f}{stdev(theirs):>9.4f}{mean(ours):>10.4f}{stdev(ours):>9.4f}"
        print(f"epoch {epoch:<10}{numbers}{difference:>14.4f}{noise:>9.4f}")
    return is_equal


if __name__ == "__main__":
    main()
