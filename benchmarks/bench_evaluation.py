"""Evaluation beside the network's forward passes alone, and prediction from files beside decoding and encoding alone.

The network is the shipped one with fresh weights, whose maps cost as much to judge as any. One thread.
"""

import contextlib
import io
import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from support.drawn import ARRAY_SIZE, PICTURE_SIZE, build, scratch, unzip, write_archives
from support.peers import extract, score_one_by_one
from support.timing import Case, cost, measure, parse_options, report, speedup

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.index.joining import build_index
from maskdepth.data.samples import TEST
from maskdepth.evaluation.baseline import measure_baselines
from maskdepth.evaluation.samples import MeanLoss, evaluate_samples, predictions
from maskdepth.evaluation.summary import (
    assign_cells,
    assign_sizes,
    headline_numbers,
    judge_baselines,
    pooled_iou,
    summarise,
)
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.network import Network
from maskdepth.models.saved import save_network
from maskdepth.params import load_params
from maskdepth.serving.files import write_png
from maskdepth.serving.predict import predict

_SAMPLES, _QUICK_SAMPLES = 256, 64
_PREDICTED, _QUICK_PREDICTED = 40, 8  # a background has 40 composites of one object
_THRESHOLD = 0.4  # any costs the same

_FORWARD, _METRICS = "forward passes", "forward passes and all metrics"
_STAGE = "all that the stage computes on the test split: network, loss, baseline, intervals"
_ONE_BY_ONE = "forward passes, then IoU, SSIM and RMSE one by one (NumPy, scikit-image)"
_PREDICT, _DECODE_ENCODE = "predict", "decode and encode the same files"


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    num_samples, num_files = (_QUICK_SAMPLES, _QUICK_PREDICTED) if options.quick else (_SAMPLES, _PREDICTED)
    network = build("dsunet", "background+composite+difference").eval()
    with scratch() as folder:
        raw = write_archives(folder, num_samples, num_archives=1)
        extract(raw / "batch1_images.zip", folder / "files")
        arrays = unzip(raw, folder / "arrays", workers=1)
        rows = build_index(read_members(folder / "arrays"), arrays).samples
        cases = list_evaluation_cases(network, arrays, rows) | list_predict_cases(network, folder, num_files)
        times = measure(cases, quick=options.quick)
    ratios = [
        cost(times, _METRICS, _FORWARD),
        cost(times, _STAGE, _FORWARD, "<= 1.5"),
        speedup(times, _ONE_BY_ONE, _METRICS),
        cost(times, _PREDICT, _DECODE_ENCODE, "<= 2"),
    ]
    data = (
        f"{num_samples:,} samples of {ARRAY_SIZE} px; {num_files} pairs of files of {PICTURE_SIZE} px; drawn, their "
        "bytes repeated; units are samples, and pairs of files"
    )
    facts = {"torch threads": torch.get_num_threads()}
    report("evaluation", data, options, times, ratios, facts)


def list_evaluation_cases(network: Network, arrays: Arrays, rows: pd.DataFrame) -> dict[str, Case]:
    batches = Batches(arrays, rows, load_params().evaluate.batch_size, torch.device("cpu"))
    held_out = rows.assign(split=TEST, cell=assign_cells(rows, rows.head(0)))
    return {
        _FORWARD: Case(partial(forward, network, batches), len(rows)),
        _METRICS: Case(lambda: measure_samples(network, batches), len(rows)),
        _STAGE: Case(partial(evaluate_like_the_stage, network, batches, held_out), len(rows)),
        _ONE_BY_ONE: Case(partial(judge_one_by_one, network, batches), len(rows)),
    }


@torch.inference_mode()
def forward(network: Network, batches: Batches) -> None:
    for batch in batches.in_order():
        network(*batch.inputs())


def measure_samples(network: Network, batches: Batches) -> pd.DataFrame:
    predicted = predictions(network, batches.in_order())
    return evaluate_samples(predicted, _THRESHOLD)


def evaluate_like_the_stage(network: Network, batches: Batches, held_out: pd.DataFrame) -> None:
    """Do what the stage does on the test split, and read the training samples' depth; no files, no pictures.

    Its forward passes over the validation split, for the threshold, are left out: they are beside no other work.
    """
    loss = MeanLoss(build_criterion(load_params().loss))
    measured = evaluate_samples(loss.watch(predictions(network, batches.in_order())), _THRESHOLD)
    samples = pd.concat([held_out, measured], axis=1).assign(size=assign_sizes(measured["mask_area"]))
    new = held_out.assign(background=-1)  # nothing is remembered, as where places are held out
    baselines = measure_baselines(batches.in_order(), new, batches, held_out)
    headline_numbers(summarise(samples), judge_baselines(samples, baselines))
    pooled_iou(samples)


@torch.inference_mode()
def judge_one_by_one(network: Network, batches: Batches) -> None:
    for prediction, mask, depth in predictions(network, batches.in_order()):
        score_one_by_one(prediction.mask_logits.sigmoid(), prediction.depth, mask, depth)


def list_predict_cases(network: Network, folder: Path, num_files: int) -> dict[str, Case]:
    """Predict composites of one background; the limit reads and writes the same files once, and does nothing else."""
    unpacked = next((folder / "files").iterdir())
    composites, out, model = folder / "composites", folder / "out", folder / "model.safetensors"
    composites.mkdir()
    for path in sorted(unpacked.glob("fg_bg_jpg/fg_bg_1_1_*.jpg"))[:num_files]:
        shutil.copy(path, composites)
    save_network(network, model)
    predicting = partial(predict_quietly, unpacked / "bg_jpg" / "bg_img_1.jpg", composites, out, model)
    predicting()
    read = sorted(composites.iterdir())
    written = {path: load(path) for path in sorted(out.glob("*.png"))}
    return {
        _PREDICT: Case(predicting, len(read)),
        _DECODE_ENCODE: Case(partial(decode_and_encode, read, written), len(read)),
    }


def predict_quietly(background: Path, composites: Path, out: Path, model: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        predict(background, composites, out, model, overwrite=True)


def load(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def decode_and_encode(read: Iterable[Path], written: Mapping[Path, np.ndarray]) -> None:
    for path in read:
        load(path)
    for path, pixels in written.items():
        write_png(path, pixels)


if __name__ == "__main__":
    main()
