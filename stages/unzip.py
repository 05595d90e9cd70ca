"""Decode the pictures of all archives in data/raw into arrays; an archive that did not change is not decoded again."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.data.archives.archive import describe_gaps, find_archives
from maskdepth.data.archives.listings import Listing, listed
from maskdepth.data.archives.planning import plan_shard
from maskdepth.data.archives.shards import is_current, remove_stale, update_size, write_shards
from maskdepth.data.arrays.arrays import UNREAD_ADVICE, read_card
from maskdepth.data.layouts.layout import choose_layout
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import load_params
from maskdepth.process.code import digest_code
from maskdepth.process.command import run
from maskdepth.process.console import progress, say, warn
from maskdepth.process.memory import give_back_freed_memory
from maskdepth.process.workers import usable_cores
from maskdepth.tracking.journal import open_journal
from stages import ROOT


def main(
    raw: Annotated[Path, typer.Option(help="Folder of zip archives and loose files.")],
    arrays: Annotated[Path, typer.Option(help="Folder of arrays, one folder per archive.")],
    journal: Annotated[Path, typer.Option(help="What this stage tells MLflow.")],
) -> None:
    """Decode every archive below RAW into a folder below ARRAYS."""
    give_back_freed_memory()
    params = load_params()
    data = params.data
    with open_journal(journal, stage="unzip") as log:
        log.params({"data": data.model_dump()})
        archives = find_archives(raw, data.max_member_bytes)
        arrays.mkdir(parents=True, exist_ok=True)
        remove_stale(arrays, archives)
        with listed(archives, arrays) as sources:
            listings = [source for source in sources.values() if isinstance(source, Listing)]
            refused = [source for source in sources.values() if isinstance(source, RefusedError)]
            if not listings:
                raise ValueError("no archive can be read: " + " | ".join(map(str, refused)))
            layout = choose_layout(data.layout, chain.from_iterable(listing.paths() for listing in listings))
            code = digest_code(ROOT, "unzip")
            plans = [plan_shard(archive, source, layout, data, code) for archive, source in sources.items()]
            new = [plan for plan in plans if not is_current(arrays, plan)]
            total = sum(plan.num_pictures for plan in new)
            for _ in progress(write_shards(arrays, new, usable_cores()), "unzip", total):
                pass
        for plan in plans:
            update_size(arrays, plan)

        cards = [read_card(arrays / archive.shard) for archive in archives]
        pictures, rejected, unread = (sum(card[name] for card in cards) for name in ("pictures", "rejected", "unread"))
        log.metrics({"archives": len(plans), "new": len(new), "pictures": pictures, "rejected": rejected})
        log.tag("layout", layout.name)
    for error in refused:
        warn(f"left out: {error}")
    if unread:
        warn(f"{unread:,} files {UNREAD_ADVICE}")
    for gap in describe_gaps(archives):
        warn(gap)
    say(
        f"unzip: {pictures:,} pictures from {len(listings)} archives ({len(new)} new), {rejected:,} rejected, "
        f"{data.image_size} px, layout {layout.name}"
    )


if __name__ == "__main__":
    run(main)
