"""Measure the trained network on what it has not seen, beside a baseline that has learned nothing."""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from maskdepth.checkpoint import load_network
from maskdepth.console import run, say, track
from maskdepth.data.arrays import read_arrays
from maskdepth.data.batches import Batches
from maskdepth.data.samples import MIXED, ROWS, TEST, TRAIN, VAL, read_samples
from maskdepth.data.tables import replace_text, write_table
from maskdepth.evaluation import (
    Predictor,
    assign_cells,
    assign_sizes,
    baseline,
    choose_threshold,
    evaluate_samples,
    headline_numbers,
    mean_depth_map,
    mean_loss,
    pick_samples,
    pooled_iou,
    summarise,
)
from maskdepth.journal import open_journal
from maskdepth.losses import build_criterion
from maskdepth.params import load_params
from maskdepth.report import DrawnSample, draw_samples
from maskdepth.runtime import choose_device, seed_everything


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
    seed_everything(settings.seed)
    device = choose_device()
    network = load_network(models / "model.safetensors").to(device).eval()
    pictures, rows = read_arrays(arrays), read_samples(index, split)
    batches = {name: Batches(pictures, part, settings.batch_size, device) for name, part in rows.items()}
    held_out = pd.concat([rows[name] for name in (TEST, MIXED) if name in rows], ignore_index=True)
    held_out["cell"] = assign_cells(held_out, rows[TRAIN])
    unseen = Batches(pictures, held_out, settings.batch_size, device)

    with open_journal(journal, "evaluate") as log:
        log.params(params.model_dump())
        thresholds = settings.threshold, choose_threshold(network, batches[VAL].in_order())
        untrained = baseline(mean_depth_map(batches[TRAIN].in_order()))
        trained_table = measure(network, "evaluate the network", held_out, unseen, thresholds)
        untrained_table = measure(untrained, "evaluate the baseline", held_out, unseen, thresholds)
        summary = summarise(trained_table, untrained_table, settings.resamples, settings.seed)
        numbers = headline_numbers(summary) | {
            "loss": mean_loss(network, batches[TEST].in_order(), build_criterion(params.loss)),
            "mask_iou_pooled": pooled_iou(trained_table[trained_table["split"] == TEST]),
            "threshold_tuned": thresholds[1],
            "num_samples": len(rows[TEST]),
        }
        write_reports(reports, trained_table, summary)
        score = (trained_table["mask_iou"] + trained_table["depth_ssim"]) / 2
        for kind, positions in pick_samples(score, held_out["background"], settings.pictures).items():
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
    predict: Predictor, title: str, held_out: pd.DataFrame, batches: Batches, thresholds: tuple[float, float]
) -> pd.DataFrame:
    """Put what was measured beside what each sample is."""
    measured = evaluate_samples(predict, track(batches.in_order(), title, len(batches)), *thresholds)
    return pd.concat([held_out, measured], axis=1).assign(size=assign_sizes(measured["mask_area"]))


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
            background=(batch.background[i].permute(1, 2, 0) * 255).byte().cpu().numpy(),
            composite=(batch.composite[i].permute(1, 2, 0) * 255).byte().cpu().numpy(),
            mask=batch.mask[i, 0].bool().cpu().numpy(),
            mask_prob=prediction.mask_logits[i, 0].float().sigmoid().cpu().numpy(),
            depth=batch.depth[i, 0].cpu().numpy(),
            depth_pred=prediction.depth[i, 0].float().clamp(0, 1).cpu().numpy(),
        )
        for batch in batches.in_order()
        for prediction in [network(batch.background, batch.composite)]
        for i, sample_id in enumerate(batch.sample_ids)
    ]


if __name__ == "__main__":
    run(main)
