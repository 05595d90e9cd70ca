"""Decide which samples train, validate and test."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from maskdepth.data.samples import read_index, write_split
from maskdepth.data.split import assign_splits, count_groups
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import say
from maskdepth.tracking.journal import open_journal


def main(
    index: Annotated[Path, typer.Option(help="The samples.")],
    split: Annotated[Path, typer.Option(help="Where to write the split of each.")],
    journal: Annotated[Path, typer.Option(help="Where to write the stage's journal.")],
) -> None:
    """Hold out backgrounds, objects or both, the same ones whatever data is added later."""
    params = load_params()
    with open_journal(journal, stage="split") as log:
        log.params({"split": params.split.model_dump()})
        samples = read_index(index)
        splits = assign_splits(samples, params.split)
        write_split(split, splits)
        counts = count_groups(samples, splits, params.split.by)
        for name, count in counts.to_dict("index").items():
            log.metrics({f"{name}/{kind}": number for kind, number in count.items()})
    say(f"split: {', '.join(_tell(counts))}; by {params.split.by}")


def _tell(counts: pd.DataFrame) -> list[str]:
    """Say what each split holds, as in `train 6,204 (25 backgrounds)`."""
    told = []
    for name, count in counts.to_dict("index").items():
        groups = ", ".join(f"{number:,} {kind}" for kind, number in count.items() if kind != "samples")
        told.append(f"{name} {count['samples']:,}" + (f" ({groups})" if groups else ""))
    return told


if __name__ == "__main__":
    run(main)
