"""Experiments with known differences in a real store: through journal, outbox and mirror, as stages send them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from support.simulated import World
from support.tracked import set_param, write_experiment, write_training

from maskdepth.params import load_params
from maskdepth.tracking.journal import open_journal
from maskdepth.tracking.mirror import mirror_rows
from maskdepth.tracking.outbox import outbox_dir
from maskdepth.tracking.runs import put_experiment_row

LOCK = (
    "schema: '2.0'\nstages:\n  index:\n    cmd: x\n    outs:\n"
    "    - path: data/arrays\n      md5: {arrays}.dir\n    - path: data/split.csv\n      md5: {split}\n"
)
METRICS = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae", "depth_mae")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def send_runs(root: Path, gains: dict[str, float], *, seeds: int = 3, places: int = 30, **settings):
    """Measure combinations on simulated samples and send a run for each of them and each seed.

    Args:
        root: The repository; DVC_ROOT has to be it.
        gains: By combination what it truly gains.
        seeds: How many of each.
        places: Of the test samples.
        settings: Further settings, and `arrays` or `split` for the hashes of other data.
    """
    table = World(seeds=seeds, places=places).measure(gains)
    for (combination, seed), samples in table.groupby(["combination", "seed"]):
        send_run(root, str(combination), int(seed), samples, **settings)


def send_run(root: Path, combination: str, seed: int, samples: pd.DataFrame | None, **settings) -> None:
    """Send one run; without samples it is as of an older version."""
    digests = {name: settings.pop(name, name[0] * 32) for name in ("arrays", "split")}
    workspace = root / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    with inside(workspace):
        write_experiment(workspace)
        mask, depth = combination.split("|")
        for key, value in {"mask": mask, "depth": depth}.items() | settings.items():
            set_param(workspace, key, str(value))
        params = (workspace / "params.yaml").read_text()
        head, train = params.split("\ntrain:\n")  # several sections have a seed
        (workspace / "params.yaml").write_text(f"{head}\ntrain:\n{train.replace('seed: 0', f'seed: {seed}', 1)}")
        (workspace / "dvc.lock").write_text(LOCK.format(**digests))
        Path("journals/train.jsonl").unlink()
        write_training(Path("journals/train.jsonl"), epochs=3).end("FINISHED")
        if samples is not None:
            write_measured(workspace, combination, samples)
        Image.new("RGB", (8, 4)).save("curves.png")
        paths = [
            Path(name) for name in ("journals", "models", "measured/train.json", "measured/test.json", "curves.png")
        ]
        waiting = put_experiment_row(load_params(), *paths)
        sent = dict(mirror_rows(600))[waiting.name]  # the first one loads the libraries
    assert sent.is_complete, sent.reason
    shutil.rmtree(outbox_dir())


def write_measured(workspace: Path, combination: str, samples: pd.DataFrame) -> None:
    """Write what an evaluation leaves: the table, a dozen numbers, and pictures of two fixed samples."""
    tables, pictures = workspace / "reports", workspace / "reports" / "pictures"
    measured = samples.assign(split="test", disturbed_mask_iou=np.nan, registered_mask_iou=np.nan)
    few = measured.index[:40]
    measured.loc[few, "disturbed_mask_iou"] = measured.loc[few, "mask_iou"] / 2
    measured.loc[few, "registered_mask_iou"] = measured.loc[few, "mask_iou"]
    measured.drop(columns=["combination", "seed"]).to_parquet(tables / "samples.parquet")
    means = {name: float(samples[name].mean()) for name in METRICS}
    numbers = {"score": (means["mask_iou"] + means["depth_ssim"]) / 2} | means
    numbers |= {"mask_iou_low": numbers["mask_iou"] - 0.01, "mask_iou_high": numbers["mask_iou"] + 0.01}
    numbers |= {"difference_mask_iou": 0.6, "mean_map_depth_ssim": 0.55, "mean_map_depth_ssi_mae": 0.09}
    (workspace / "measured" / "test.json").write_text(pd.Series(numbers).to_json())
    with open_journal(workspace / "journals" / "evaluate.jsonl", "evaluate") as journal:
        for name in ("fixed", "fixed-1_2", "fixed-3_4"):
            draw(pictures / f"{name}.png", f"{combination} {name}")
            journal.artifact(Path(f"reports/pictures/{name}.png"), "pictures")
        journal.artifact(Path("reports/samples.parquet"), "tables")
        journal.metrics({f"test/{name}": number for name, number in numbers.items()})


def draw(path: Path, text: str) -> None:
    picture = Image.new("RGB", (260, 120), (40, 70, 110))
    ImageDraw.Draw(picture).text((10, 50), text, fill=(255, 255, 255))
    picture.save(path)
