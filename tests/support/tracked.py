"""A finished experiment as files: six journals, weights and numbers, ready to be shown in MLflow."""

import json
import re
from pathlib import Path

import torch
from PIL import Image
from support.settings import copy_params

from maskdepth.models.catalogue import build_network
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.models.saved import save_network
from maskdepth.tracking.journal import Journal, open_journal
from maskdepth.tracking.runs import DATA_STAGES


def write_experiment(folder: Path) -> None:
    """Write what the six stages leave in a workspace, but for the weights: exporting them takes seconds."""
    for name in ("journals", "measured", "metrics", "models", "reports/pictures"):
        (folder / name).mkdir(parents=True)
    for stage in DATA_STAGES:
        with open_journal(folder / "journals" / f"{stage}.jsonl", stage) as journal:
            journal.params({"data": {"image_size": 32}})
            journal.metrics({"samples": 8})
    write_training(folder / "journals" / "train.jsonl", epochs=2).end("FINISHED")
    write_evaluation(folder)
    (folder / "models" / "model.safetensors").touch()
    (folder / "measured" / "train.json").write_text(json.dumps({"val_mask_iou": 0.75, "best_epoch": 1}))
    (folder / "measured" / "test.json").write_text(json.dumps({"mask_iou": 0.5, "depth_ssim": 0.25}))
    copy_params(folder)
    for key, value in {"mask": "bce", "depth": "l1", "max_rejected": "0.05", "threshold": "0.5"}.items():
        set_param(folder, key, value)


def set_param(folder: Path, key: str, value: str) -> None:
    """Give a key of params.yaml, whose last part is the only one of its name, another value."""
    path = folder / "params.yaml"
    text, changed = re.subn(rf"(?m)^(  {key}:) .*$", rf"\1 {value}", path.read_text())
    assert changed == 1, f"{key}: {changed} lines"
    path.write_text(text)


def write_training(path: Path, epochs: int) -> Journal:
    """Write the journal of a training that has not ended, three metrics in train and val per epoch."""
    journal = Journal(path)
    journal.start("train")
    for epoch in range(1, epochs + 1):
        write_epoch(journal, epoch)
    return journal


def write_epoch(journal: Journal, epoch: int) -> None:
    """Write the six metrics of one epoch."""
    names = ("total", "mask_iou", "depth_ssim")
    journal.metrics({f"{split}/{name}": 1 / epoch for split in ("train", "val") for name in names}, epoch)


def write_evaluation(folder: Path) -> None:
    """Write the journal of an evaluation with two pictures; the paths in it are relative, as a stage writes them."""
    for name in ("best", "fixed"):
        Image.new("RGB", (8, 4), (200, 100, 0)).save(folder / "reports" / "pictures" / f"{name}.png")
    with open_journal(folder / "journals" / "evaluate.jsonl", "evaluate") as journal:
        journal.metrics({"test/mask_iou": 0.5})
        for name in ("best", "fixed"):
            journal.artifact(Path(f"reports/pictures/{name}.png"), "pictures")


def write_weights(path: Path) -> None:
    """Write a network that has not been trained."""
    torch.manual_seed(0)
    halves = (0.5, 0.5, 0.5)
    spec = NetworkSpec("unet", "background+composite", Normalisation(halves, halves, halves, halves), image_size=32)
    save_network(build_network(spec), path)
