"""Measure the trained network on what it has not seen, beside a baseline that has learned nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.batches.batches import Batch, Batches
from maskdepth.data.samples import MIXED, ROWS, TEST, TRAIN, VAL, read_samples
from maskdepth.data.tables import write_table
from maskdepth.device import choose_device, keep_freed_memory, seed_everything, set_threads
from maskdepth.evaluation.baseline import baseline, mean_depth_map
from maskdepth.evaluation.samples import MeanLoss, Predictor, choose_threshold, evaluate_samples, predictions
from maskdepth.evaluation.summary import (
    assign_cells,
    assign_sizes,
    headline_numbers,
    pick_samples,
    pooled_iou,
    summarise,
)
from maskdepth.figures import DrawnSample, draw_samples
from maskdepth.losses.catalogue import build_criterion
from maskdepth.metrics.catalogue import headline_metrics
from maskdepth.models.saved import load_network
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import say, track
from maskdepth.process.files import replace_text
from maskdepth.process.workspace import require_writable
from maskdepth.tracking.journal import open_journal


def main(
    arrays: Annotated[Path, typer.Option()],
    index: Annotated[Path, typer.Option()],
    split: Annotated[Path, typer.Option()],
    models: Annotated[Path, typer.Option()],
    metrics: Annotated[Path, typer.Option()],
    reports: Annotated[Path, typer.Option()],
    journal: Annotated[Path, typer.Option()],
) -> None:
    """Write metrics, tables of samples and intervals, and pictures of the best, the median and the worst."""
    params = load_params()
    settings = params.evaluate
    require_writable((metrics.parent, reports, journal.parent))
    seed_everything(settings.seed)
    set_threads()
    keep_freed_memory()
    device = choose_device()
    network = load_network(models / "model.safetensors").to(device).eval()
    pictures, rows = read_arrays(arrays), read_samples(index, split)
    batches = {name: Batches(pictures, part, settings.batch_size, device) for name, part in rows.items()}
    held_out = pd.concat([rows[name] for name in (TEST, MIXED) if name in rows], ignore_index=True)
    held_out["cell"] = assign_cells(held_out, rows[TRAIN])

    with open_journal(journal, "evaluate") as log:
        log.params(params.model_dump())
        thresholds = settings.threshold, choose_threshold(predictions(network, show(batches[VAL], "threshold")))
        loss = MeanLoss(build_criterion(params.loss))
        trained = pd.concat([held_out, measure(network, loss, batches, thresholds)], axis=1)
        trained["size"] = assign_sizes(trained["mask_area"])
        untrained = pd.concat([rows[TEST], measure_baseline(batches, thresholds)], axis=1)
        summary = summarise(trained, untrained, settings.resamples, settings.seed)
        numbers = headline_numbers(summary) | {
            "loss": loss.value,
            "mask_iou_pooled": pooled_iou(trained[trained["split"] == TEST]),
            "threshold_tuned": thresholds[1],
            "num_samples": len(rows[TEST]),
        }
        write_reports(reports, trained, summary)
        score = (trained["mask_iou"] + trained["depth_ssim"]) / 2
        for kind, positions in pick_samples(score, held_out["background"], settings.pictures).items():
            if not positions:
                continue
            drawn = describe_samples(network, Batches(pictures, held_out.iloc[positions], len(positions), device))
            draw_samples(drawn, settings.threshold, reports / "pictures" / f"{kind}.png")
            log.artifact(reports / "pictures" / f"{kind}.png", "pictures")
        replace_text(metrics, json.dumps(numbers, indent=2) + "\n")
        log.metrics({f"test/{name}": value for name, value in numbers.items()})
    say(
        f"evaluate: {len(rows['test']):,} samples, mask IoU {numbers['mask_iou']:.3f} "
        f"(difference alone {numbers['diff_mask_iou']:.3f}), depth SSIM {numbers['depth_ssim']:.3f} "
        f"(mean map {numbers['mean_map_depth_ssim']:.3f})"
    )


def measure(
    network: Predictor, loss: MeanLoss, batches: dict[str, Batches], thresholds: tuple[float, float]
) -> pd.DataFrame:
    """Measure the network on the test samples and the mixed ones, if there are any; `loss` sees the test alone."""
    seen = {name: predictions(network, show(batches[name], name)) for name in (TEST, MIXED) if name in batches}
    seen[TEST] = loss.watch(seen[TEST])
    return pd.concat([evaluate_samples(part, *thresholds) for part in seen.values()], ignore_index=True)


def measure_baseline(batches: dict[str, Batches], thresholds: tuple[float, float]) -> pd.DataFrame:
    """Measure on the test samples what has learned nothing but the mean depth of the training samples."""
    untrained = baseline(mean_depth_map(show(batches[TRAIN], "mean depth")))
    return evaluate_samples(predictions(untrained, show(batches[TEST], "baseline")), *thresholds, headline_metrics)


def show(batches: Batches, name: str) -> Iterator[Batch]:
    """Give all batches in order, saying now and then how far it is."""
    return track(batches.in_order(), f"evaluate, {name}", len(batches))


def write_reports(reports: Path, samples: pd.DataFrame, summary: pd.DataFrame) -> None:
    """Write one row per sample, and one row per metric with its interval."""
    write_table(reports / "samples.csv", samples.drop(columns=ROWS))
    write_table(reports / "intervals.csv", summary)


@torch.inference_mode()
def describe_samples(network: Predictor, batches: Batches) -> list[DrawnSample]:
    """Predict a few samples and bring all their pictures into the form the report draws."""
    return [
        DrawnSample(
            title=str(sample_id),
            background=batch.background[i].permute(1, 2, 0).cpu().numpy(),
            composite=batch.composite[i].permute(1, 2, 0).cpu().numpy(),
            mask=batch.mask[i, 0].bool().cpu().numpy(),
            mask_prob=prediction.mask_logits[i, 0].float().sigmoid().cpu().numpy(),
            depth=depth[i, 0].cpu().numpy(),
            depth_pred=prediction.depth[i, 0].float().clamp(0, 1).cpu().numpy(),
        )
        for batch in batches.in_order()
        for prediction, _, depth in predictions(network, [batch])
        for i, sample_id in enumerate(batch.sample_ids)
    ]


if __name__ == "__main__":
    run(main)
