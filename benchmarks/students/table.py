"""The table of the comparison: from what was measured on each sample to Markdown, CSV and a picture.

A number is the mean over test samples of the mean over seeds. Its interval is for other backgrounds and objects, not
for other seeds; how far the seeds lie apart is told beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from support.timing import Times

from maskdepth.data.samples import TEST, TRAIN
from maskdepth.data.tables import write_table
from maskdepth.evaluation.intervals import intervals
from maskdepth.models.catalogue import build_model, count_multiply_adds, count_parameters, resolve_inputs
from maskdepth.params import ModelParams
from maskdepth.process.files import replace_text
from maskdepth.tuning.recipes import read_recipes

OURS, BASELINE, TRUTH = "maskdepth", "learned nothing", "the true maps"
SPLITS = ("sample", "both")

# How every system is judged, and by the rules of three students.
METRICS = (
    "mask_iou",
    "mask_dice",
    "mask_boundary_iou",
    "depth_ssim",
    "depth_rmse",
    "depth_mae",
    "depth_delta1",
)
THEIR_METRICS = (
    "sajnanshetty_mask_iou",
    "sajnanshetty_depth_iou",
    "deepjyotisaha85_mask_dice",
    "deepjyotisaha85_depth_dice",
    "mshilpaa_ssim",
)
# One of each target: these are also measured on training samples, compared pair by pair with ours, and drawn.
HEADLINE = ("mask_iou", "depth_ssim")

_OUR_MODEL = "dsunet"
_TITLES = {
    "sample": "Test backgrounds and objects were seen in training, as the students tested (`split.by: sample`)",
    "both": "Test backgrounds and objects are new (`split.by: both`)",
}
_COLOURS = {"sample": "#999999", "both": "#0072b2"}

Record = dict[str, Any]
Row = dict[str, Any]


def write_tables(
    out: Path,
    records: Sequence[Record],
    samples_of: Callable[[str], pd.DataFrame],
    times: Times,
    budget: Mapping[str, int],
    facts: Mapping[str, object],
) -> list[Row]:
    """Write students.csv, students.md and students.png; give the headline of each row.

    Args:
        out: Folder to write to.
        records: What is finished.
        samples_of: The table of the samples of one of them, by its name.
        times: Seconds per training sample in each round, by system.
        budget: What all shared.
        facts: The machine.
    """
    table = pd.DataFrame(make_rows(records, samples_of, times))
    write_table(out / "students.csv", table.round(5))
    replace_text(out / "students.md", write_markdown(table, budget, facts))
    draw_chart(table, out / "students.png")
    return _records(table[["system", "split", "seeds", *HEADLINE]].round(4))


def make_rows(records: Sequence[Record], samples_of: Callable[[str], pd.DataFrame], times: Times) -> Iterable[Row]:
    """Sum up what is finished: one row for each system and split, ours first after what has learned nothing."""
    for split in SPLITS:
        finished: dict[str, list[Record]] = {}
        for record in records:
            if record["split"] == split and "error" not in record:
                finished.setdefault(record["system"], []).append(record)
        tables = {system: [samples_of(record["name"]) for record in runs] for system, runs in finished.items()}
        means = {system: mean_over_seeds(parts) for system, parts in tables.items()}
        for system in (BASELINE, OURS, *read_recipes(), TRUTH):
            if system in finished:
                row: Row = {"system": system, "split": split, "seeds": len(tables[system])}
                row |= describe_cost(system, finished[system], times) | summarise(means[system], tables[system])
                yield row | (compare(means[OURS], means[system]) if OURS in means else {})


def mean_over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average what several seeds measured on the same samples, sample by sample.

    >>> one = pd.DataFrame({"part": ["test"], "sample_id": ["a"], "background": [3], "mask_iou": [0.5]})
    >>> mean_over_seeds([one, one.assign(mask_iou=1.0)])["mask_iou"].tolist()
    [0.75]
    """
    return pd.concat(tables).groupby(["part", "sample_id"], sort=False).mean(numeric_only=True).reset_index()


def summarise(means: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> Row:
    """Give each metric with its interval; the headline ones on training samples too, and for the seeds apart."""
    test = means[means["part"] == TEST]
    row: Row = {}
    for metric, found in intervals(test, [*METRICS, *THEIR_METRICS]).iterrows():
        row |= {str(metric): found["mean"], f"{metric}_low": found["low"], f"{metric}_high": found["high"]}
    for metric in HEADLINE:
        row[f"{metric}_train"] = means.loc[means["part"] == TRAIN, metric].mean()
        seeds = [table.loc[table["part"] == TEST, metric].mean() for table in tables]
        row |= {f"{metric}_seed_min": min(seeds), f"{metric}_seed_max": max(seeds)}
    return row


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> Row:
    """Say by how much we are ahead, sample by sample: the samples' difficulty, which both share, drops out."""
    keys = ["sample_id", "background", "foreground"]
    parts = [means.loc[means["part"] == TEST, [*keys, *HEADLINE]] for means in (ours, theirs)]
    both = parts[0].merge(parts[1], on=keys, suffixes=("_ours", "_theirs"), validate="one_to_one")
    for metric in HEADLINE:
        both[metric] = both[f"{metric}_ours"] - both[f"{metric}_theirs"]
    row: Row = {}
    table = intervals(both, list(HEADLINE))
    for metric in HEADLINE:
        found = table.loc[metric]
        row |= {f"ahead_{metric}": found["mean"], f"ahead_{metric}_low": found["low"]}
        row |= {f"ahead_{metric}_high": found["high"]}
    return row


def describe_cost(system: str, finished: Sequence[Record], times: Times) -> Row:
    """Say how large a system is, and what its training takes; nothing of what needs none."""
    if system in (BASELINE, TRUTH):
        return {}
    model = read_recipes()[system].settings["model.name"] if system in read_recipes() else _OUR_MODEL
    inputs = resolve_inputs(ModelParams(name=model, inputs="auto"))
    row = {
        "parameters": count_parameters(build_model(model, inputs)),
        "multiply_adds_64px": count_multiply_adds(model, inputs, 64),
        "batch_size": finished[0].get("batch_size"),
        "steps": finished[0].get("steps"),
        "precision": finished[0].get("precision"),
    }
    if {system, OURS} <= times.keys():
        ratios = [theirs / ours for theirs, ours in zip(times[system], times[OURS], strict=True)]
        row |= {"time": median(ratios), "time_min": min(ratios), "time_max": max(ratios)}
        row["milliseconds"] = 1000 * median(times[system])
    return row


def write_markdown(table: pd.DataFrame, budget: Mapping[str, int], facts: Mapping[str, object]) -> str:
    """Write all tables for people."""
    shared = (
        "The same photographs for all, each system by its own recipe: "
        f"{budget['samples']:,} training samples of {budget['size']} px, {budget['epochs']} epochs, the best of them "
        f"by {budget['val']} validation samples; {budget['test']} test samples, and as many of the training samples."
    )
    machine = "; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in facts.items())
    parts = ["# The students' recipes and ours", shared, machine]
    for split, rows in table.groupby("split", sort=False):
        parts += [f"## {_TITLES[str(split)]}", _results(rows), "By the students' own rules:", _their_rules(rows)]
        parts += ["Ours minus theirs, sample by sample:", _ahead(rows)]
    parts += ["## Cost", _costs(table)]
    return "\n\n".join(parts) + "\n"


def _results(rows: pd.DataFrame) -> str:
    titles = ["mask IoU", "Dice", "boundary IoU", "depth SSIM", "RMSE", "MAE", "delta < 1.25"]
    names = ["mask_iou", "mask_dice", "mask_boundary_iou", "depth_ssim", "depth_rmse", "depth_mae", "depth_delta1"]
    heads = ["system", "seeds", *titles, "mask IoU in training", "depth SSIM in training"]
    lines = []
    for row in _records(rows[rows["system"] != TRUTH]):
        cells = [_spread(row, name) if name in HEADLINE else f"{row[name]:.3f}" for name in names]
        in_training = [f"{row[f'{name}_train']:.3f}" for name in HEADLINE]
        lines.append([row["system"], str(row["seeds"]), *cells, *in_training])
    return _markdown(heads, lines)


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _spread(row: Mapping[str, Any], name: str) -> str:
    """Write a number, its interval, and where there are several seeds how far they reach."""
    text = f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
    seeds = row[f"{name}_seed_min"], row[f"{name}_seed_max"]
    return text + (f"; seeds {seeds[0]:.3f} .. {seeds[1]:.3f}" if row["seeds"] > 1 else "")


def _their_rules(rows: pd.DataFrame) -> str:
    heads = [
        "system",
        "sajnanshetty mask IoU",
        "depth IoU",
        "deepjyotisaha85 mask Dice",
        "depth Dice",
        "SSIM, window 3",
    ]
    return _markdown(
        heads, [[row["system"], *(f"{row[name]:.3f}" for name in THEIR_METRICS)] for row in rows.to_dict("records")]
    )


def _ahead(rows: pd.DataFrame) -> str:
    lines = []
    for row in rows[~rows["system"].isin([OURS, TRUTH])].to_dict("records"):
        names = [f"ahead_{metric}" for metric in HEADLINE if f"ahead_{metric}" in row]
        cells = [f"{row[name]:+.3f} [{row[f'{name}_low']:+.3f}, {row[f'{name}_high']:+.3f}]" for name in names]
        lines.append([row["system"], *cells])
    return _markdown(["system", "mask IoU", "depth SSIM"], lines)


def _costs(table: pd.DataFrame) -> str:
    heads = ["system", "parameters", "multiply-adds at 64 px", "batch", "steps", "precision"]
    heads += ["training step, x ours per sample", "[ms]"]
    lines = []
    for row in table[~table["system"].isin([BASELINE, TRUTH])].drop_duplicates("system").to_dict("records"):
        cells = [f"{row['parameters']:,.0f}", f"{row['multiply_adds_64px'] / 1e6:,.0f} M"]
        cells += [f"{row['batch_size']:.0f}", f"{row['steps']:,.0f}", row["precision"]]
        if "time" in row:
            cells += [f"{row['time']:.1f} ({row['time_min']:.1f} .. {row['time_max']:.1f})"]
            cells += [f"{row['milliseconds']:.1f}"]
        lines.append([row["system"], *cells])
    return _markdown(heads, lines)


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rules = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *lines))


def _plain(value: object) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)


def draw_chart(table: pd.DataFrame, path: Path) -> None:
    """Draw the headline metrics of every system with their intervals, both splits side by side."""
    table = table[table["system"] != TRUTH]
    systems = list(dict.fromkeys(table["system"]))[::-1]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axis, metric in zip(figure.subplots(1, 2, sharey=True), HEADLINE, strict=True):
        for offset, split in zip((0.14, -0.14), SPLITS, strict=True):
            rows = table[table["split"] == split]
            places = [systems.index(system) + offset for system in rows["system"]]
            spans = np.stack([rows[metric] - rows[f"{metric}_low"], rows[f"{metric}_high"] - rows[metric]])
            label = {"sample": "seen in training", "both": "new backgrounds and objects"}[split]
            style = {"fmt": "o", "markersize": 5, "capsize": 2, "color": _COLOURS[split], "label": label}
            axis.errorbar(rows[metric], places, xerr=np.clip(spans, 0, None), **style)
        axis.set_yticks(range(len(systems)), systems)
        axis.set_title(f"test {metric.replace('_', ' ').replace('iou', 'IoU').replace('ssim', 'SSIM')}", fontsize=10)
        axis.set_xlim(0, 1)
        axis.grid(axis="x", alpha=0.3)
    figure.axes[0].legend(fontsize=7, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
