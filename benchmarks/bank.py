"""A bank of runs: combinations of losses, each trained with many seeds, and what came out of every test sample.

`prepare` draws scenes and makes a data set of them. `collect` trains what the bank lacks, several networks at a time,
on the CPU or side by side on a CUDA device, until it is done or the time is up. `tell` says which combination is best.
It takes no git, DVC, MLflow or kornia:

    python benchmarks/bank.py prepare drawn --size 64 --composites 80000
    python benchmarks/bank.py collect drawn bank --minutes 8
    python benchmarks/bank.py tell bank

Photographs that another machine has prepared (`dvc repro split stats`) travel as one file, of 64 px 2.5 KB a composite:

    tar -cJf photographs.tar.xz params.yaml data/arrays data/registered data/index.csv data/split.csv data/stats.csv

`losses.py replay` and `calibration.py` ask a bank other questions.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from support.shipped import write_shipped
from support.trained import measure, train

from maskdepth.comparing.statistics import compare
from maskdepth.comparing.tables import as_markdown
from maskdepth.data.arrays.arrays import Arrays, read_arrays
from maskdepth.data.samples import TEST, VAL, read_samples
from maskdepth.device import choose_device, set_deterministic, set_threads
from maskdepth.making.drawing.sample import write_sample
from maskdepth.params import Params, load_params, override, read_yaml, update_params
from maskdepth.process.files import replacing
from maskdepth.process.memory import keep_freed_memory
from maskdepth.sweeping.grid import Experiment, gather, plan
from maskdepth.sweeping.sharing import choose_jobs, sharing
from maskdepth.tracking.identity import loss_signature

_ROOT = Path(__file__).resolve().parents[1]
_LOSSES = _ROOT / "sweeps" / "losses.yaml"
_LAYOUT = "sudhakarmlal"
_METRICS = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae")
# Of the runs, in the columns of `losses.py collect`.
_RUNS, _SAMPLES = "runs.csv", "samples.parquet"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="Gets params.yaml and data/.")],
    size: Annotated[int, typer.Option(help="Side of the pictures [px].")] = 64,
    backgrounds: Annotated[int, typer.Option(min=10)] = 400,
    foregrounds: Annotated[int, typer.Option(min=5)] = 100,
    composites: Annotated[int, typer.Option(min=10)] = 80_000,
) -> None:
    """Draw a data set, and run the stages up to its split."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    write_shipped(folder)
    update_params(folder / "params.yaml", {"data.image_size": size})
    write_sample(folder / "data" / "raw", _LAYOUT, 0, backgrounds, foregrounds, composites, size)
    stages = read_yaml(_ROOT / "dvc.yaml")["stages"]
    sources = os.pathsep.join([str(_ROOT), str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    for name in ("unzip", "index", "stats", "split"):
        command = [sys.executable, *stages[name]["cmd"].split()[1:]]
        subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": sources}, check=True)


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="With params.yaml and data/, prepared.")],
    bank: Annotated[Path, typer.Argument(help="Folder of the bank.")],
    file: Annotated[Path, typer.Option(help="Combinations and seeds, as of `maskdepth sweep`.")] = _LOSSES,
    pairs: Annotated[str, typer.Option(help="Others in their place, as `bce|ssim`, separated by commas.")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Others in their place.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", "-S", help="As train.epochs=2.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time; chosen by the machine.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Start no training after so many.")] = float("inf"),
) -> None:
    """Train what is missing, each combination with one seed before any with the next."""
    began = time.time()
    grid = gather(file, "", "", pairs, seeds, setting or [])
    experiments = plan(grid, load_params(folder / "params.yaml"))
    (bank / "parts").mkdir(parents=True, exist_ok=True)
    missing = [each for each in experiments if not _part(bank, each).exists()]
    context = multiprocessing.get_context("spawn")  # a process that has met CUDA cannot be forked
    waiting = context.Queue()
    jobs = min(jobs or choose_jobs(), max(1, len(missing)))
    for each in chain(missing, [None] * jobs):
        waiting.put(each)
    with sharing(jobs) as places:
        workers = [
            context.Process(target=_work, args=(waiting, place, folder, bank, began + 60 * minutes)) for place in places
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    there = _bring_together(bank)
    told = f"{there} runs, {len(missing)} were missing; {jobs} at a time; {time.time() - began:.0f} s"
    print(f"{bank}: {told}", flush=True)
    sys.exit(any(worker.exitcode for worker in workers))


def _part(bank: Path, experiment: Experiment) -> Path:
    return bank / "parts" / f"{experiment.name}.parquet"


def _work(
    waiting: "multiprocessing.queues.Queue[Experiment | None]",
    place: Mapping[str, str],
    folder: Path,
    bank: Path,
    until: float,
) -> None:
    """Train what waits, in a process of its own; a training that fails leaves the others their time."""
    os.environ.update({**place, **os.environ})
    set_threads()
    keep_freed_memory()
    device, params = choose_device(), load_params(folder / "params.yaml")
    set_deterministic(device)
    data = folder / "data"
    pictures = read_arrays(data / "arrays", data / "registered")
    rows = read_samples(data / "index.csv", data / "split.csv")
    while (experiment := waiting.get()) is not None and time.time() < until:
        settings = override(params, experiment.settings, experiment.name)
        try:
            measured = _measure(settings, pictures, rows, data / "stats.csv", device)
        except (FloatingPointError, MemoryError) as error:
            print(f"{experiment.name} failed: {error}", file=sys.stderr, flush=True)
            continue
        with replacing(_part(bank, experiment)) as partial_file:
            measured.to_parquet(partial_file, index=False)
        test = measured[measured["split"] == TEST]
        told = f"mask IoU {test['mask_iou'].mean():.4f}, depth SSIM {test['depth_ssim'].mean():.4f}"
        print(f"{experiment.name}: {told}, {test['seconds'].iloc[0]:.1f} s of training", flush=True)


def _measure(
    params: Params, pictures: Arrays, rows: dict[str, pd.DataFrame], stats: Path, device: torch.device
) -> pd.DataFrame:
    """Train, and give a row for each validation and test sample."""
    began = time.perf_counter()
    network = train(params, pictures, rows, stats, device)
    seconds = time.perf_counter() - began
    parts = [
        pd.concat([rows[name][["sample_id", "place", "foreground"]], measured], axis=1).assign(split=name)
        for name, measured in measure(params, network, pictures, rows, _METRICS).items()
    ]
    combination, seed = loss_signature(params.loss), params.train.seed
    return pd.concat(parts, ignore_index=True).assign(combination=combination, seed=seed, seconds=seconds)


def _bring_together(bank: Path) -> int:
    """Write the runs as `losses.py replay` reads them, and the test samples; give the number of runs."""
    parts = sorted((bank / "parts").glob("[!.]*.parquet"))
    if not parts:
        return 0
    table = pd.concat(map(pd.read_parquet, parts), ignore_index=True)
    means = table.groupby(["combination", "seed", "split"])[[*_METRICS, "seconds"]].mean().unstack("split")
    runs = pd.DataFrame({f"val_{name}": means[name, VAL] for name in ("mask_iou", "depth_ssim")})
    runs = runs.join(pd.DataFrame({name: means[name, TEST] for name in (*_METRICS, "seconds")}))
    runs.reset_index().to_csv(bank / _RUNS, index=False, float_format="%.6f", lineterminator="\n")
    samples = table[table["split"] == TEST].drop(columns=["split", "seconds"])
    samples.astype(dict.fromkeys(_METRICS, "float32")).to_parquet(bank / _SAMPLES, index=False, compression="zstd")
    return len(parts)


@app.command()
def tell(
    bank: Annotated[Path, typer.Argument(help="Folder of the bank.")],
    control: Annotated[str, typer.Option(help="What the others are compared with.")] = "bce+dice|l1+ssim",
) -> None:
    """Say which combination is best, and how sure that is; write the table beside the runs."""
    told = as_markdown(compare(pd.read_parquet(bank / _SAMPLES), control))
    (bank / "verdict.md").write_text(told, encoding="utf-8")
    print(told)


if __name__ == "__main__":
    app()
