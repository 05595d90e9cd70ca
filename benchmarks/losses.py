"""The bank of runs behind the verdict on losses, and how races over it would have ended.

`collect` is typed in a repository in which `maskdepth sweep` has ended: it writes one line a run. `replay` draws the
seeds of the bank in another order a thousand times, races the combinations as `--until-decided` does, and counts. With
`--seeds` it races over grids of more seeds than the bank has, drawn at random with the bank's means and spreads.
"""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from maskdepth.params import check_params, parse_yaml
from maskdepth.process.files import parse_json
from maskdepth.process.git import ask_git
from maskdepth.sweeping.experiments import finished_experiments
from maskdepth.sweeping.racing import judge, residuals
from maskdepth.sweeping.sweep import FIRST_SEEDS, SCORE
from maskdepth.tracking.identity import loss_signature

_TEST = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae", "depth_mae_foreground")
_OF_A_SWEEP = re.compile(r".+-s\d+")

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def collect(out: Annotated[Path, typer.Argument(help="The table to write.")]) -> None:
    """Write the numbers of every experiment of a sweep that started from the commit here."""
    rows = []
    for name, commit in finished_experiments(Path()).items():
        if not _OF_A_SWEEP.fullmatch(name):
            continue
        params = check_params(parse_yaml(ask_git("show", f"{commit}:params.yaml")), name)
        train, test = (parse_json(ask_git("show", f"{commit}:metrics/{part}.json")) for part in ("train", "test"))
        numbers = {key: train[key] for key in SCORE} | {key: test[key] for key in _TEST} | {"seconds": train["seconds"]}
        rows.append({"combination": loss_signature(params.loss), "seed": params.train.seed} | numbers)
    table = pd.DataFrame(rows).sort_values(["combination", "seed"])
    table.to_csv(out, index=False, float_format="%.6f", lineterminator="\n")
    print(f"{out}: {len(table)} runs of {table['combination'].nunique()} combinations")


@app.command()
def replay(
    bank: Annotated[Path, typer.Argument(help="As `collect` writes it.")],
    replays: Annotated[int, typer.Option(min=1, help="How many races.")] = 1000,
    seeds: Annotated[int | None, typer.Option(min=FIRST_SEEDS, help="Draw grids of so many instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of seeds.")] = 0,
) -> None:
    """Race the combinations of a bank, and count the runs that it takes and the winners that it stops."""
    table = pd.read_csv(bank).assign(score=lambda rows: rows[list(SCORE)].mean(axis=1))
    scores = table.pivot(index="combination", columns="seed", values="score").dropna(axis=1)
    rng, runs, lost_best, lost_equal, kept = np.random.default_rng(seed), [], 0, 0, []
    for _ in range(replays):
        grid = scores[rng.permutation(scores.columns)] if seeds is None else _draw(scores, seeds, rng)
        full = judge(_shown(grid), 1, len(grid))
        lost, count = _race(grid)
        runs.append(count / grid.size)
        lost_best += full.leader in lost
        lost_equal += not lost.isdisjoint(full.equal + full.open)
        kept.append(len(grid) - len(lost))
    print(f"{len(scores)} combinations, {seeds or scores.shape[1]} seeds")
    print(f"runs of a race: {np.mean(runs):.2f} of the grid's (median {np.median(runs):.2f})")
    print(f"combinations that are left at its end: {np.mean(kept):.1f}")
    print(f"races that stop the leader: {lost_best} of {replays}; another that the grid does not stop: {lost_equal}")


def _draw(scores: pd.DataFrame, seeds: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a grid: the means of the combinations, what a seed does to all of them, and chance, each as in the bank."""
    table = scores.to_numpy(float)
    count, looks = table.shape
    spreads = np.sqrt((residuals(table) ** 2).sum(1, keepdims=True) / ((looks - 1) * (count - 1) / count))
    together = rng.normal(0, table.mean(0).std(ddof=1), seeds)
    own = rng.normal(0, 1, (count, seeds)) * spreads
    return pd.DataFrame(table.mean(1, keepdims=True) + together + own, index=scores.index)


def _race(scores: pd.DataFrame) -> tuple[set[str], int]:
    """Race with the seeds in the order of the columns; give who was stopped, and how many runs it took."""
    looks = scores.shape[1] - FIRST_SEEDS + 1
    still, lost, runs = scores, set[str](), FIRST_SEEDS * len(scores)
    for count in range(FIRST_SEEDS, scores.shape[1] + 1):
        standing = judge(_shown(still.iloc[:, :count]), looks, len(scores))
        lost |= set(standing.lost)
        still = still.drop(index=list(standing.lost))
        if standing.is_decided or count == scores.shape[1]:
            break
        runs += len(still)
    return lost, runs


def _shown(scores: pd.DataFrame) -> dict[str, dict[int, float]]:
    return {str(name): dict(enumerate(row)) for name, row in zip(scores.index, scores.to_numpy(float), strict=True)}


if __name__ == "__main__":
    app()
