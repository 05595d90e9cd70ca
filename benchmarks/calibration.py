"""Does `maskdepth compare` say "better" only where something is better? A bank of short trainings that tells.

`collect` trains combinations of losses on a prepared data set (`dvc repro split stats` makes it), each with many seeds,
and goes on where it was stopped. `judge` compares a combination with itself, drawn from other seeds, as it is and with
a known difference put on top. Beside it stand the rules that people use: the higher mean, one seed, an unpaired t test.
Then it compares two combinations by few seeds, and looks at all seeds for who was right.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy import stats
from support.trained import train

from maskdepth.comparing.statistics import compare
from maskdepth.data.arrays.arrays import Arrays, read_arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import TEST, VAL, read_samples
from maskdepth.device import set_deterministic, set_threads
from maskdepth.evaluation.samples import choose_threshold, evaluate_samples, predictions
from maskdepth.losses.names import normal_form
from maskdepth.models.catalogue import resolve_inputs
from maskdepth.params import Params, load_params, override
from maskdepth.process.files import replacing
from maskdepth.process.memory import keep_freed_memory

_CPU = torch.device("cpu")
_METRICS = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae")
# Of the runs, in the columns of `losses.py collect`.
_RUNS, _SAMPLES = "runs.csv", "samples.parquet"
# [IoU] What is put on top of one of two equal combinations.
PLANTED = 0.015

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def collect(
    data: Annotated[Path, typer.Argument(help="Folder of arrays, index.csv, split.csv and stats.csv.")],
    bank: Annotated[Path, typer.Argument(help="Folder of the bank.")],
    pairs: Annotated[str, typer.Option(help="Combinations, as `bce|ssim`, separated by commas.")],
    seeds: Annotated[int, typer.Option(min=1)] = 40,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train every combination with every seed, and keep what was measured of each test sample."""
    set_threads()
    keep_freed_memory()
    set_deterministic(_CPU)
    params, pictures = load_params(), read_arrays(data / "arrays")
    rows = read_samples(data / "index.csv", data / "split.csv")
    (bank / "parts").mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for mask, depth in (pair.partition("|")[::2] for pair in pairs.split(",")):
            name = f"{normal_form(mask, 'mask')}|{normal_form(depth, 'depth')}"
            part = bank / "parts" / f"{name.replace('*', 'x')}-s{seed}.parquet"
            if part.exists():
                continue
            settings = override(
                params, {"loss.mask": mask, "loss.depth": depth, "train.seed": seed, "train.epochs": epochs}, "the bank"
            )
            measured = _measure(settings, pictures, rows, data / "stats.csv")
            with replacing(part) as partial_file:
                measured.assign(combination=name, seed=seed).to_parquet(partial_file, index=False)
            print(f"{name}, seed {seed}: mask IoU {measured['mask_iou'].mean():.4f}", flush=True)
    _gather(bank)


def _measure(params: Params, pictures: Arrays, rows: dict[str, pd.DataFrame], moments: Path) -> pd.DataFrame:
    """Train, tune the threshold on the validation split, and measure that split and the test split."""
    network = train(params, resolve_inputs(params.model), pictures, rows, moments)
    read = partial(Batches, pictures, batch_size=params.evaluate.batch_size, device=_CPU)
    val = read(rows[VAL])
    threshold = choose_threshold(predictions(network, val.in_order()))
    parts = []
    for name in (VAL, TEST):
        measured = evaluate_samples(predictions(network, read(rows[name]).in_order()), threshold, _METRICS)
        parts.append(pd.concat([rows[name][["sample_id", "place", "foreground"]], measured], axis=1).assign(split=name))
    return pd.concat(parts, ignore_index=True)


def _gather(bank: Path) -> None:
    """Bring the parts together: the runs as `losses.py replay` reads them, and the test samples."""
    table = pd.concat(
        [pd.read_parquet(part) for part in sorted((bank / "parts").glob("[!.]*.parquet"))], ignore_index=True
    )
    means = table.groupby(["combination", "seed", "split"])[list(_METRICS)].mean().unstack("split")
    runs = pd.DataFrame({f"val_{name}": means[name, VAL] for name in ("mask_iou", "depth_ssim")})
    runs = runs.join(pd.DataFrame({name: means[name, TEST] for name in _METRICS}))
    runs.reset_index().to_csv(bank / _RUNS, index=False, float_format="%.6f", lineterminator="\n")
    samples = table[table["split"] == TEST].drop(columns="split")
    samples.astype(dict.fromkeys(_METRICS, "float32")).to_parquet(bank / _SAMPLES, index=False, compression="zstd")
    print(f"{bank}: {len(runs)} runs")


@app.command()
def judge(
    bank: Annotated[Path, typer.Argument(help="The table of samples of a bank.")],
    seeds: Annotated[int, typer.Option(min=3, help="Of each combination in a comparison.")] = 5,
    replays: Annotated[int, typer.Option(min=1)] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of seeds.")] = 0,
) -> None:
    """Compare equal combinations, equal ones but for a planted difference, and different ones; count who is right."""
    samples = pd.read_parquet(bank)
    counts = samples.groupby("combination")["seed"].nunique()
    names = [str(name) for name in counts.index[counts >= 2 * seeds]]
    rng = np.random.default_rng(seed)
    rules: dict[str, Callable[[pd.DataFrame], str]] = {
        "maskdepth compare": _compare,
        "higher mean": _take_higher,
        "one seed, t test over samples": _test_samples,
        "unpaired t test over seeds": _test_seeds,
    }
    print(f"{replays} comparisons of {seeds} seeds with {seeds} others; {', '.join(names)}")
    for planted in (0.0, PLANTED):
        verdicts = {rule: Counter[str]() for rule in rules}
        for replay in range(replays):
            table = _draw(samples, names[replay % len(names)], seeds, planted, rng)
            for rule, tell in rules.items():
                verdicts[rule][tell(table)] += 1
        for rule, counter in verdicts.items():
            print(f"planted {planted:.3f}, {rule}: {_tell(counter, replays)}")
    for name in names[1:]:
        _compare_different(samples, names[0], name, seeds, replays, rng)


def _draw(samples: pd.DataFrame, name: str, seeds: int, planted: float, rng: np.random.Generator) -> pd.DataFrame:
    """Take one combination for two, of other seeds each; the planted difference is on the second."""
    own = samples[samples["combination"] == name]
    order = rng.permutation(own["seed"].unique())[: 2 * seeds]
    arm = own["seed"].map({number: place // seeds for place, number in enumerate(order)})
    renumbered = own["seed"].map({number: place % seeds for place, number in enumerate(order)})
    table = own.assign(combination=arm.map({0: "one", 1: "other"}), seed=renumbered).dropna(subset=["seed"])
    return table.assign(mask_iou=table["mask_iou"] + planted * (table["combination"] == "other"))


def _compare(table: pd.DataFrame) -> str:
    return str(compare(table, "one").answers[0].verdict)


def _take_higher(table: pd.DataFrame) -> str:
    means = table.groupby("combination")["mask_iou"].mean()
    return "better" if means["other"] > means["one"] else "worse"


def _test_samples(table: pd.DataFrame) -> str:
    first = table[table["seed"] == 0].pivot(index="sample_id", columns="combination", values="mask_iou")
    return _judge_test(stats.ttest_rel(first["other"], first["one"]))


def _test_seeds(table: pd.DataFrame) -> str:
    means = table.groupby(["combination", "seed"])["mask_iou"].mean().unstack("seed")
    return _judge_test(stats.ttest_ind(means.loc["other"], means.loc["one"]))


def _judge_test(result: "stats._stats_py.TtestResult") -> str:
    if result.pvalue >= 0.05:
        return "cannot tell"
    return "better" if result.statistic > 0 else "worse"


def _tell(counter: Counter[str], replays: int) -> str:
    """Say how often each verdict was given, with the upper end of its one-sided 95 % interval (Clopper-Pearson)."""
    parts = []
    for verdict, count in sorted(counter.items()):
        upper = stats.binomtest(count, replays, alternative="less").proportion_ci(0.95).high
        parts.append(f"{verdict} {count / replays:.3f} (at most {upper:.3f})")
    return ", ".join(parts)


def _compare_different(
    samples: pd.DataFrame, control: str, name: str, seeds: int, replays: int, rng: np.random.Generator
) -> None:
    """Compare two combinations by few paired seeds, and count the claims that all seeds contradict."""
    pair = samples[samples["combination"].isin([control, name])]
    truth = {effect.endpoint: effect.difference for effect in compare(pair, control).answers[0].effects}
    shared = sorted(set.intersection(*(set(part["seed"]) for _, part in pair.groupby("combination"))))
    verdicts, claims, wrong = Counter[str](), 0, 0
    for _ in range(replays):
        chosen = rng.choice(shared, seeds, replace=False)
        answer = compare(pair[pair["seed"].isin(chosen)], control).answers[0]
        verdicts[str(answer.verdict)] += 1
        for effect in answer.effects:
            claims += effect.is_shown
            wrong += effect.is_shown and effect.difference * truth[effect.endpoint] < 0
    told = ", ".join(f"{endpoint.title} {difference:+.4f}" for endpoint, difference in truth.items())
    print(f"{name} against {control} by all {len(shared)} seeds: {told}")
    print(f"by {seeds} paired seeds: {_tell(verdicts, replays)}; {claims} claims, {wrong} of them contradicted")


if __name__ == "__main__":
    app()
