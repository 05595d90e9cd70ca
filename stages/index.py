"""Join the pictures into samples by name, and check the names against the pixels."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.index.agreement import Agreement, check_targets
from maskdepth.data.index.joining import Index, build_index, describe_samples
from maskdepth.data.index.pairing import BELIEVED_SHARE, describe_pairings
from maskdepth.data.index.registered import Registered, register_where_needed
from maskdepth.data.index.rejections import check_rejected, write_rejected
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH
from maskdepth.data.samples import write_index
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import say, warn
from maskdepth.process.memory import give_back_freed_memory
from maskdepth.tracking.journal import open_journal

# A tag holds a few thousand characters.
_ARCHIVES_TOLD = 50


def main(
    arrays: Annotated[Path, typer.Option(help="The pictures and their names.")],
    index: Annotated[Path, typer.Option(help="Where to write the samples.")],
    rejected: Annotated[Path, typer.Option(help="Where to write what is in no sample, and why.")],
    registered: Annotated[Path, typer.Option(help="Where to write backgrounds that were laid over their composites.")],
    journal: Annotated[Path, typer.Option(help="Where to write the stage's journal.")],
) -> None:
    """Make one row per sample; everything that is left over becomes a row that says why."""
    params = load_params()
    give_back_freed_memory()
    with open_journal(journal, stage="index") as log:
        log.params({"data": params.data.model_dump()})
        pictures = read_arrays(arrays)
        found = build_index(read_members(arrays), pictures)
        write_rejected(rejected, found.rejected)  # also when it is too much: it says what to mend
        check_rejected(found, params.data.max_rejected)
        laid = register_where_needed(found.samples, pictures, params.data.registration, registered)
        samples, pictures = laid.samples, read_arrays(arrays, registered)
        agreements = check_targets(samples, pictures)
        if found.depth_agreement:
            agreements[BACKGROUND_DEPTH] = found.depth_agreement
        write_index(index, samples)
        pairing = found.pairings[-1]
        archives = samples.groupby("archive", observed=True, sort=False).size()
        archives = archives.sort_values(ascending=False, kind="stable")
        log.metrics({"samples": len(samples), "archives": len(archives), "rejected": len(found.rejected)})
        facts = describe_samples(samples, pictures)
        log.metrics(facts)
        if pairing.compared:
            log.metrics({"pairing_fits": pairing.share})
        log.metrics({f"{kind}_fits": one.share for kind, one in agreements.items() if one.compared})
        log.metrics({"probes_moved": laid.probed.share, "registered": laid.verdicts["registered"]})
        log.tag("mapping", pairing.mapping)
        log.tag("samples_per_archive", json.dumps(archives.head(_ARCHIVES_TOLD).to_dict()))
        log.artifact(rejected, "tables")
    if len(found.pairings) > 1:
        warn(f"{describe_pairings(found.pairings)}: the last one is used")
    depth = agreements["depth"]
    if depth.compared and depth.share < BELIEVED_SHARE:
        warn(
            f"only {100 * depth.share:.1f} % of the depth maps change where their masks are: look at data/gallery.png, "
            "whether they are those of their composites"
        )
    for fault in [*_list_faults(facts, len(samples)), *_list_motions(laid), *_list_background_faults(found)]:
        warn(fault)
    say(_tell(found, agreements))


def _list_faults(facts: Mapping[str, float], num_samples: int) -> Iterator[str]:
    """Say what cannot be learned from."""
    names = {
        "masks_empty": "masks are empty",
        "masks_full": "masks are full",
        "depths_constant": "depths are flat",
    }
    for fact, name in names.items():
        if facts[fact]:
            yield f"{facts[fact]:,.0f} of {num_samples:,} {name}; look at data/gallery.png, and at how they were stored"


def _list_motions(laid: Registered) -> Iterator[str]:
    """Say that a camera moved between background and composite, and what was done."""
    probed, verdicts = laid.probed, laid.verdicts
    if not probed.is_needed:
        return
    many = f"the backgrounds of {100 * probed.share:.0f} % of the samples do not lie over their composites"
    if not verdicts:
        yield f"{many}, for example {probed.example}; data.registration: auto would lay them so"
        return
    yield f"{many}; {verdicts['registered']:,} of {verdicts.total():,} were laid so, for example {probed.example}"
    if unfit := verdicts["does not fit"]:
        yield f"{unfit:,} could not be, as the two pictures do not show the same view: they are used as they are"


def _list_background_faults(found: Index) -> Iterator[str]:
    """Say which depth maps of backgrounds are missing or doubtful, where there are any."""
    agreement = found.depth_agreement
    if agreement is None:
        return
    if found.num_background_depths < found.num_backgrounds:
        yield (
            f"{found.num_backgrounds - found.num_background_depths:,} of {found.num_backgrounds:,} backgrounds have no "
            "depth map, or one that was turned down (data/rejected.csv says why); a network is told that it is unknown"
        )
    if agreement.compared and agreement.share < BELIEVED_SHARE:
        yield (
            f"only {100 * agreement.share:.1f} % of the depth maps of backgrounds go better with their own composites "
            "than with others: look at data/gallery.png, whether they are numbered alike"
        )


def _tell(found: Index, agreements: Mapping[str, Agreement]) -> str:
    pairing = found.pairings[-1]
    fits = {"backgrounds": pairing} | {f"{kind.replace('_', ' ')}s": one for kind, one in agreements.items()}
    told = [f"{kind} {100 * one.share:.1f} %" if one.compared else f"{kind} not checked" for kind, one in fits.items()]
    archives = found.samples["archive"].nunique()
    counts = f"{len(found.samples):,} samples from {archives:,} archives, {len(found.rejected):,} rejected"
    return f"index: {counts}; fitting {', '.join(told)} ({pairing.mapping} ids)"


if __name__ == "__main__":
    run(main)
