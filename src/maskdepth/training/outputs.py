"""What a training leaves behind: the network that is kept, its validation metrics, its learning curves."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from maskdepth.data.tables import write_table
from maskdepth.models.catalogue import count_parameters
from maskdepth.models.saved import save_network
from maskdepth.params import TrainParams
from maskdepth.process.files import replace_text
from maskdepth.training.fit import Epoch, TrainState


def flatten_epoch(epoch: Epoch, between: str) -> dict[str, float]:
    """Give all numbers of an epoch, such as val/mask_iou, with `between` after the split that they belong to."""
    train = epoch.train | {"learning_rate": epoch.learning_rate}
    train |= {f"seconds_{part}": seconds for part, seconds in epoch.seconds.items()}
    splits = {"train": train, "val": epoch.val}
    return {f"{split}{between}{name}": value for split, values in splits.items() for name, value in values.items()}


def write_outputs(
    state: TrainState, settings: TrainParams, models: Path, metrics: Path, plots: Path
) -> dict[str, float]:
    """Write the kept network with its card, its validation metrics and the curves; return the metrics."""
    kept = state.epochs[-1]
    if settings.keep == "best" and state.best:
        kept = state.best
        state.network.load_state_dict(state.best_weights)
    seconds = sum(sum(epoch.seconds.values()) for epoch in state.epochs)
    numbers = kept.val | {
        "best_epoch": kept.index + 1,
        "epochs": len(state.epochs),
        "parameters": count_parameters(state.network),
        "seconds": round(seconds, 1),
    }
    save_network(state.network, models / "model.safetensors")
    card = asdict(state.network.spec) | {"validation": numbers, "train": settings.model_dump()}
    replace_text(models / "model.json", json.dumps(card, indent=2) + "\n")
    # In a table of experiments these stand beside the numbers of the test split.
    named = {f"val_{name}" if name in kept.val else name: value for name, value in numbers.items()}
    replace_text(metrics, json.dumps(named, indent=2) + "\n")
    curves = [{"epoch": epoch.index + 1} | flatten_epoch(epoch, "_") for epoch in state.epochs]
    write_table(plots / "epochs.csv", pd.DataFrame(curves))
    return numbers
