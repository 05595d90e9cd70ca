"""Measure the trained network on what it has not seen, beside what has learned nothing."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.batches.batches import Batch, Batches
from maskdepth.data.samples import MIXED, ROWS, TEST, TRAIN, VAL, read_samples
from maskdepth.data.tables import write_table
from maskdepth.device import choose_device, set_threads
from maskdepth.evaluation.baseline import measure_baselines
from maskdepth.evaluation.disturbances import DISTURBANCES, DISTURBED, REGISTERED
from maskdepth.evaluation.robustness import NUM_SAMPLES, measure_robustness
from maskdepth.evaluation.samples import (
    MeanLoss,
    Predictor,
    choose_threshold,
    evaluate_samples,
    predictions,
    without_background_depth,
)
from maskdepth.evaluation.summary import (
    ABSENT,
    FIXED,
    GIVEN,
    assign_cells,
    assign_sizes,
    detailed_numbers,
    headline_numbers,
    judge_baselines,
    not_beaten,
    pick_fixed,
    pick_samples,
    pooled_iou,
    summarise,
    tabulate_places,
)
from maskdepth.figures import DrawnSample, draw_samples
from maskdepth.losses.catalogue import build_criterion
from maskdepth.metrics.names import HEADLINE, SCORED
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import progress, say, warn
from maskdepth.process.files import replace_text, replacing
from maskdepth.process.memory import keep_freed_memory
from maskdepth.process.workspace import require_writable
from maskdepth.tracking.journal import Journal, open_journal


def main(
    arrays: Annotated[Path, typer.Option()],
    registered: Annotated[Path, typer.Option()],
    index: Annotated[Path, typer.Option()],
    split: Annotated[Path, typer.Option()],
    models: Annotated[Path, typer.Option()],
    metrics: Annotated[Path, typer.Option()],
    reports: Annotated[Path, typer.Option()],
    journal: Annotated[Path, typer.Option()],
) -> None:
    """Write a dozen numbers, all others in tables, and pictures."""
    params = load_params()
    settings = params.evaluate
    require_writable((metrics.parent, reports, journal.parent))
    set_threads()
    keep_freed_memory()
    device = choose_device()
    network = load_network(models / "model.safetensors").to(device).eval()
    pictures, rows = read_arrays(arrays, registered), read_samples(index, split)
    read = partial(Batches, pictures, device=device, with_background_depth=network.sees_background_depth)
    batches = {name: read(part, settings.batch_size) for name, part in rows.items()}
    held_out = pd.concat([rows[name] for name in (TEST, MIXED) if name in rows], ignore_index=True)
    held_out["cell"] = assign_cells(held_out, rows[TRAIN])

    with open_journal(journal, "evaluate") as log:
        log.params(params.model_dump())
        threshold = settings.threshold
        if threshold == "tuned":
            threshold = choose_threshold(predictions(network, show(batches[VAL], "threshold")))
        loss = MeanLoss(build_criterion(params.loss))
        samples = pd.concat([held_out, measure(network, loss, batches, threshold)], axis=1)
        samples["size"] = assign_sizes(samples["mask_area"])
        test = samples[samples["split"] == TEST]
        conditions = measure_conditions(network, batches[TEST], test, threshold)
        fixed = test.iloc[pick_fixed(test, NUM_SAMPLES)]
        names = progress(DISTURBANCES, "evaluate, robustness", len(DISTURBANCES))
        robustness = measure_robustness(network, read(fixed, settings.batch_size), threshold, names)
        shaken = {how: measured.set_axis(fixed.index) for how, measured in robustness.samples.items()}
        conditions |= {how: fixed.drop(columns=measured).join(measured) for how, measured in shaken.items()}
        summary = summarise(samples, conditions)
        untrained = measure_baselines(show(batches[TRAIN], "mean depth"), rows[TRAIN], batches[TEST], rows[TEST])
        baselines = judge_baselines(test, untrained)
        numbers = headline_numbers(summary, baselines) | {"num_samples": len(test)}
        more = {"threshold": threshold, "image_size": pictures.image_size, "loss": loss.value}
        more |= {"mask_iou_pooled": pooled_iou(test)} | detailed_numbers(summary, baselines)
        samples = samples.join([measured[list(SCORED)].add_prefix(f"{how}_") for how, measured in shaken.items()])
        write_reports(reports, samples.drop(columns=ROWS), summary, baselines, more)
        write_table(reports / "robustness.csv", robustness.table)
        for name, positions in pick_samples(samples, settings.pictures).items():
            drawn = describe_samples(network, read(held_out.iloc[positions], len(positions)))
            draw_samples(drawn, threshold, reports / "pictures" / f"{name}.png")
            if name == FIXED:  # one by one, to be laid beside those of other runs
                for number, sample in enumerate(drawn, 1):
                    draw_samples([sample], threshold, reports / "pictures" / f"{name}-{number}.png")
        replace_text(metrics, json.dumps(numbers, indent=2) + "\n")
        log.metrics({f"test/{name}": value for name, value in numbers.items()})
        list_artifacts(reports, log)
    for metric, left in not_beaten(baselines).items():
        warn(f"{metric} is not shown to beat {' or '.join(left)}, which has learned nothing")
    say(
        f"evaluate: {len(test):,} samples, mask IoU {numbers['mask_iou']:.3f} (unlearned "
        f"{numbers['mask_iou_baseline']:.3f}), depth SSIM at {pictures.image_size} px {numbers['depth_ssim']:.3f} "
        f"(unlearned {numbers['depth_ssim_baseline']:.3f}); with disturbed backgrounds mask IoU "
        f"{more[f'{DISTURBED}_mask_iou']:.3f}, registered {more[f'{REGISTERED}_mask_iou']:.3f}" + tell_conditions(more)
    )


def measure(network: Predictor, loss: MeanLoss, batches: dict[str, Batches], threshold: float) -> pd.DataFrame:
    """Measure the network on the test samples and the mixed ones, if there are any; `loss` sees the test alone."""
    seen = {name: predictions(network, show(batches[name], name)) for name in (TEST, MIXED) if name in batches}
    seen[TEST] = loss.watch(seen[TEST])
    return pd.concat([evaluate_samples(part, threshold) for part in seen.values()], ignore_index=True)


def measure_conditions(
    network: Network, batches: Batches, test: pd.DataFrame, threshold: float
) -> dict[str, pd.DataFrame]:
    """Part the test samples of a network that sees the depth of the background: where it is given, and all without it.

    Args:
        network: The network.
        batches: The test samples.
        test: What was measured of them as they are.
        threshold: Mask probability above which a pixel belongs to the object.
    """
    if not network.sees_background_depth:
        return {}
    predicted = predictions(network, without_background_depth(show(batches, ABSENT)))
    absent = evaluate_samples(predicted, threshold, HEADLINE).set_axis(test.index)
    given = test[test["background_depth_row"].ge(0)]
    measured = {str(name): values for name, values in absent.items()}
    return ({} if given.empty else {GIVEN: given}) | {ABSENT: test.assign(**measured)}


def tell_conditions(numbers: Mapping[str, float]) -> str:
    """Say what a network that sees the depth of the background does with it and without; "" of any other."""
    if f"{ABSENT}_depth_ssim" not in numbers:
        return ""
    without = f"without the depth of the background {numbers[f'{ABSENT}_depth_ssim']:.3f}"
    if f"{GIVEN}_depth_ssim" not in numbers:
        return f"; {without}, and it is given nowhere"
    return f"; with the depth of the background {numbers[f'{GIVEN}_depth_ssim']:.3f}, {without}"


def show(batches: Batches, name: str) -> Iterator[Batch]:
    """Give all batches in order, saying now and then how far it is."""
    return progress(batches.in_order(), f"evaluate, {name}", len(batches))


def write_reports(
    reports: Path, samples: pd.DataFrame, summary: pd.DataFrame, baselines: pd.DataFrame, more: dict[str, float]
) -> None:
    """Write what was measured of each sample, and what follows from it."""
    with replacing(reports / "samples.parquet") as partial:
        samples.to_parquet(partial, index=False)
    write_table(reports / "intervals.csv", summary)
    write_table(reports / "baselines.csv", baselines)
    write_table(reports / "places.csv", tabulate_places(samples[samples["split"] == TEST]))
    replace_text(reports / "details.json", json.dumps(more, indent=2) + "\n")


def list_artifacts(reports: Path, log: Journal) -> None:
    """Name all files of the reports in the journal, pictures and tables apart."""
    for path in sorted(reports.rglob("*")):
        if path.is_file():
            log.artifact(path, "pictures" if path.suffix == ".png" else "tables")


@torch.inference_mode()
def describe_samples(network: Predictor, batches: Batches) -> list[DrawnSample]:
    """Predict a few samples and bring all their pictures into the form that figures draw."""
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
