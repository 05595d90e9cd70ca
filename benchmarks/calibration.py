"""Does `maskdepth compare` say "better" only where something is better? A bank of short trainings tells.

It compares a combination with itself, drawn from other seeds, as it is and with a known difference put on top. Beside
it stand the rules that people use: the higher mean, one seed, an unpaired t test. Then it compares two combinations by
few seeds, and looks at all seeds for who was right. `bank.py collect` makes the bank.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy import stats

from maskdepth.comparing.statistics import compare

# [IoU] What is put on top of one of two equal combinations.
PLANTED = 0.015


def main(
    bank: Annotated[Path, typer.Argument(help="The table of samples of a bank.")],
    seeds: Annotated[int, typer.Option(min=3, help="Of each combination in a comparison.")] = 5,
    replays: Annotated[int, typer.Option(min=1)] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of seeds.")] = 0,
) -> None:
    """Compare equal combinations, equal ones but for a planted difference, and different ones; count who is right."""
    samples = pd.read_parquet(bank)
    counts = samples.groupby("combination")["seed"].nunique()
    names = [str(name) for name in counts.index[counts >= 2 * seeds]]
    if not names:
        raise typer.BadParameter(f"no combination has {2 * seeds} seeds there")
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
    typer.run(main)
