"""Measure mean and standard deviation of every kind of picture, so that any subset of them is known exactly."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.gallery import draw_gallery
from maskdepth.data.likeness import describe_proposals, propose_places
from maskdepth.data.places import name_places, read_places
from maskdepth.data.samples import read_index
from maskdepth.data.stats import list_kinds, measure_kind, summarise, write_stats, write_summary
from maskdepth.process.command import run
from maskdepth.process.console import progress, say, warn
from maskdepth.process.memory import give_back_freed_memory
from maskdepth.tracking.journal import open_journal

# Samples in the gallery.
_SHOWN = 12


def main(
    arrays: Annotated[Path, typer.Option(help="The pictures.")],
    registered: Annotated[Path, typer.Option(help="Backgrounds that were laid over their composites.")],
    index: Annotated[Path, typer.Option(help="The samples.")],
    places: Annotated[Path, typer.Option(help="Which backgrounds show one place.")],
    moments: Annotated[Path, typer.Option(help="Where to write the sums of each group.")],
    summary: Annotated[Path, typer.Option(help="Where to write what a person reads.")],
    gallery: Annotated[Path, typer.Option(help="Where to draw some samples.")],
    journal: Annotated[Path, typer.Option(help="Where to write the stage's journal.")],
) -> None:
    """Read every picture of the index once."""
    give_back_freed_memory()
    with open_journal(journal, stage="stats") as log:
        samples, pictures = read_index(index), read_arrays(arrays, registered)
        measured = {kind: measure_kind(samples, pictures, kind) for kind in progress(list_kinds(samples), "stats")}
        facts = summarise(measured)
        write_stats(moments, measured)
        write_summary(summary, facts)
        log.metrics(_name_metrics(facts))
        draw_gallery(pictures, samples, gallery, _SHOWN)
        log.artifact(summary, "tables")
        log.artifact(gallery, "pictures")
    backgrounds = samples.assign(place=name_places(samples, read_places(places))).drop_duplicates("background_digest")
    views = pictures.background.take(backgrounds["background_row"].to_numpy())
    for line in describe_proposals(propose_places(backgrounds, views)):
        warn(line)
    for kind in facts:
        if 0 in facts[kind]["std"]:
            warn(f"{kind} has a channel that is the same everywhere (standard deviation 0)")
    groups = len(measured["composite"].table.drop_duplicates(["foreground", "background"]))
    means = {kind: " ".join(f"{value:.3f}" for value in facts[kind]["mean"]) for kind in facts}
    say(
        f"stats: {measured['background'].images:,} backgrounds, {measured['composite'].images:,} samples in {groups:,} "
        f"groups; mean composite {means['composite']}, mask {means['mask']} ({measured['mask'].black:,} empty), "
        f"depth {means['depth']}"
    )


def _name_metrics(facts: dict[str, Any]) -> dict[str, float]:
    """Give each number a name of its own: `composite/mean_0` is the mean of the red channel."""
    metrics = {
        f"{kind}/{name}": facts[kind][name] for kind in facts for name in ("images", "black", "minimum", "maximum")
    }
    for kind, name in itertools.product(facts, ("mean", "std")):
        metrics |= {f"{kind}/{name}_{channel}": value for channel, value in enumerate(facts[kind][name])}
    return metrics


if __name__ == "__main__":
    run(main)
