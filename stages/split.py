"""Decide which samples train, validate and test."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from maskdepth.data.croissant import write_croissant
from maskdepth.data.places import list_unknown, name_places, read_places
from maskdepth.data.samples import read_index, write_split
from maskdepth.data.split import assign_splits, count_groups
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import say, warn
from maskdepth.process.memory import give_back_freed_memory
from maskdepth.tracking.journal import open_journal

# Unknown backgrounds that a warning names.
_SHOWN = 5


def main(
    index: Annotated[Path, typer.Option(help="The samples.")],
    places: Annotated[Path, typer.Option(help="Which backgrounds show one place.")],
    split: Annotated[Path, typer.Option(help="Where to write split and place of each.")],
    croissant: Annotated[Path, typer.Option(help="Where to describe the data set for other programs.")],
    journal: Annotated[Path, typer.Option(help="Where to write the stage's journal.")],
) -> None:
    """Hold out backgrounds, objects or both, the same ones whatever data is added later."""
    params = load_params()
    give_back_freed_memory()
    with open_journal(journal, stage="split") as log:
        log.params({"split": params.split.model_dump()})
        samples, known = read_index(index), read_places(places)
        samples["place"] = name_places(samples, known)
        splits = assign_splits(samples, params.split)
        write_split(split, samples.assign(split=splits.array))
        write_croissant(croissant, index, split)
        counts = count_groups(samples, splits, params.split.by)
        for name, count in counts.to_dict("index").items():
            log.metrics({f"{name}/{kind}": number for kind, number in count.items()})
    if unknown := list_unknown(samples, known):
        shown = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        warn(f"{places} names {len(unknown):,} backgrounds of which there is no sample: {shown}")
    say(f"split: {', '.join(_tell(counts))}; by {params.split.by}")


def _tell(counts: pd.DataFrame) -> list[str]:
    """Say what each split holds, as in `train 6,204 (25 places)`."""
    told = []
    for name, count in counts.to_dict("index").items():
        groups = ", ".join(f"{number:,} {kind}" for kind, number in count.items() if kind != "samples")
        told.append(f"{name} {count['samples']:,}" + (f" ({groups})" if groups else ""))
    return told


if __name__ == "__main__":
    run(main)
