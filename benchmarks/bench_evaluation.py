"""Evaluation beside the network's forward passes alone.

The network is the shipped one with fresh weights, whose maps cost as much to judge as any. One thread.
"""

from functools import partial

import pandas as pd
import torch
from support.drawn import ARRAY_SIZE, build, scratch, unzip, write_archives
from support.peers import score_one_by_one
from support.shipped import SHIPPED_PARAMS
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
from maskdepth.params import load_params

_SAMPLES, _QUICK_SAMPLES = 256, 64
_THRESHOLD = 0.4  # any costs the same

_FORWARD, _METRICS = "forward passes", "forward passes and all metrics"
_STAGE = "all that the stage computes on the test split: network, loss, baseline, intervals"
_ONE_BY_ONE = "forward passes, then IoU, SSIM and RMSE one by one (NumPy, scikit-image)"


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    network = build("dsunet", "background+composite+difference").eval()
    with scratch() as folder:
        raw = write_archives(folder, num_samples, num_archives=1)
        arrays = unzip(raw, folder / "arrays", workers=1)
        rows = build_index(read_members(folder / "arrays"), arrays).samples
        times = measure(list_evaluation_cases(network, arrays, rows), quick=options.quick)
    ratios = [
        cost(times, _METRICS, _FORWARD),
        cost(times, _STAGE, _FORWARD, "<= 1.5"),
        speedup(times, _ONE_BY_ONE, _METRICS),
    ]
    data = f"{num_samples:,} samples of {ARRAY_SIZE} px, drawn, their bytes repeated; units are samples"
    facts = {"torch threads": torch.get_num_threads()}
    report("evaluation", data, options, times, ratios, facts)


def list_evaluation_cases(network: Network, arrays: Arrays, rows: pd.DataFrame) -> dict[str, Case]:
    batches = Batches(arrays, rows, load_params(SHIPPED_PARAMS).evaluate.batch_size, torch.device("cpu"))
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
    loss = MeanLoss(build_criterion(load_params(SHIPPED_PARAMS).loss))
    measured = evaluate_samples(loss.watch(predictions(network, batches.in_order())), _THRESHOLD)
    samples = pd.concat([held_out, measured], axis=1).assign(size=assign_sizes(measured["mask_area"]))
    new = held_out.assign(background=-1)  # nothing is remembered, as where places are held out
    baselines = measure_baselines(batches.in_order(), new, batches, held_out)
    headline_numbers(summarise(samples, {}), judge_baselines(samples, baselines))
    pooled_iou(samples)


@torch.inference_mode()
def judge_one_by_one(network: Network, batches: Batches) -> None:
    for prediction, mask, depth in predictions(network, batches.in_order()):
        score_one_by_one(prediction.mask_logits.sigmoid(), prediction.depth, mask, depth)


if __name__ == "__main__":
    main()
