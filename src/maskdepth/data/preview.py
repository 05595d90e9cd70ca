"""A folder of archives explained in words before anything is decoded: its layout, its ids, its samples, what is amiss.

Samples are joined by the code of the index stage, on blank pictures; what only pixels tell (damaged pictures, other
shapes, composites that do not show their background) is left to the pipeline, but for backgrounds that look alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.archives.archive import Archive, find_archives, list_members
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.members import members_of
from maskdepth.data.archives.planning import name_refused, read_labels, read_names
from maskdepth.data.arrays.arrays import CHANNELS, Arrays, ShardedArray
from maskdepth.data.index.joining import Index, build_index
from maskdepth.data.index.rejections import judge_rejected
from maskdepth.data.layouts.layout import (
    BLOCK,
    IDS,
    Layout,
    choose_layout,
    count_recognised,
    read_layouts,
    sample_names,
)
from maskdepth.data.likeness import describe_proposals, propose_places
from maskdepth.data.pictures.decoding import decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.tables import spell_numbers

# Backgrounds that are compared at most, and their size [px].
_BACKGROUNDS, _SIDE = 500, 64
# What is shown, at most: reasons for rejection, names that no layout knows.
_SHOWN = 8
_NO_SIZE = {"width": -1, "height": -1}  # known after decoding


class Explanation(NamedTuple):
    """What is in a folder, line by line, and whether the pipeline could work with it."""

    lines: list[str]
    is_usable: bool


def explain_archives(
    path: Path,
    setting: str | Mapping[str, str | list[str]],
    max_rejected: float = 1.0,
    places: Mapping[str, str] | None = None,
) -> Explanation:
    """Explain what the pipeline would make of a folder of archives, or of one zip.

    Args:
        path: The folder or zip.
        setting: As `data.layout` of params.yaml.
        max_rejected: As `data.max_rejected` there; what has more to reject is not usable.
        places: The places that backgrounds are known to show, by their ids.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: An unknown layout or bad expressions in `setting`, or archives that contradict each other.
    """
    archives = [Archive(path.name, path.parent, is_zip=True)] if path.is_file() else find_archives(path)
    members, refused = list_members(archives)
    names = [archive.path_of(member) for archive, listed in members.items() for member in listed]
    lines = [f"{path}: archives {len(archives):,}, files {len(names):,}"]
    lines += [f"left out: {error}" for error in refused.values()]
    if not names:
        return Explanation(lines, is_usable=False)
    known = read_layouts()
    if setting == "auto":
        sample = sample_names(names)
        counts = count_recognised(sample, known)
        if not _has_winner(counts):
            return Explanation([*lines, *_explain_no_layout(sample, counts, known)], is_usable=False)
    layout = choose_layout(setting, names)
    table, labels = _read_tables(members, refused, layout)
    index = build_index(members_of(table, labels, layout), _blank_arrays(table))
    lines += _explain_layout(layout, table)
    if setting == "auto":
        lines += _explain_choice(layout, counts, len(sample))
    lines += _explain_ids(layout, table, index.pairings[-1].mapping)
    lines += _explain_samples(index, table)
    lines += _explain_places(members, layout, places)
    if problem := judge_rejected(index, max_rejected):
        lines.append(f"the index would stop: {problem}")
    return Explanation(lines, is_usable=not problem)


def _has_winner(counts: Mapping[str, int]) -> bool:
    best = max(counts.values(), default=0)
    return best > 0 and list(counts.values()).count(best) == 1


def _explain_no_layout(sample: Sequence[str], counts: Mapping[str, int], known: Mapping[str, Layout]) -> Iterator[str]:
    """Say that no layout fits, or that several fit equally well."""
    best = max(counts.values(), default=0)
    if best:
        tied = [name for name, count in counts.items() if count == best]
        yield f"layouts: {' and '.join(tied)} fit equally well: {best:,} of {len(sample):,} names each"
        chosen = tied
    else:
        yield "layout: none that is known; there are names such as"
        yield from (f"  {name}" for name in sample[:: max(1, len(sample) // _SHOWN)][:_SHOWN])
        yield "known layouts:"
        chosen = list(known)
    yield from _align([[name, known[name].title] for name in chosen])
    yield "cure: name one in data.layout of params.yaml, or give regular expressions there"


def _read_tables(
    members: Mapping[Archive, list[Member]], refused: Mapping[Archive, RefusedError], layout: Layout
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make the tables of members and labels that the arrays would have, with sizes unknown."""
    tables, labels = [], []
    for archive, listed in members.items():
        table = read_names(archive, listed, layout)
        labels.append(read_labels(archive, listed, layout, table))
        tables.append(table.assign(archive=archive.printable_name, shard=archive.shard))
    for archive, error in refused.items():
        tables.append(name_refused(error).assign(archive=archive.printable_name, shard=archive.shard))
    named = pd.concat(tables, ignore_index=True).assign(**_NO_SIZE)
    numbers = named.groupby("kind").cumcount().where(named["kind"].isin(list(CHANNELS)), -1)
    return named.assign(global_row=numbers), pd.concat(labels, ignore_index=True)


def _blank_arrays(table: pd.DataFrame) -> Arrays:
    """Give every picture one black pixel, which takes no memory: composites then look like any background."""
    counts = table["kind"].value_counts()
    blank = {
        kind: ShardedArray([np.broadcast_to(np.uint8(0), (int(counts.get(kind, 0)), 1, 1, *channels))])
        for kind, channels in CHANNELS.items()
    }
    return Arrays(1, **blank)


def _explain_layout(layout: Layout, table: pd.DataFrame) -> Iterator[str]:
    yield f"layout: {layout.name} ({layout.title})"
    rows = []
    for kind, named in table.groupby("kind"):
        first = named.iloc[0]
        place = f"{first['archive']}: " if str(first["archive"]).endswith(".zip") else ""
        rows.append([str(kind), f"{len(named):,}", f"such as {place}{first['member']}"])
    yield from _align(rows)


def _explain_choice(layout: Layout, counts: Mapping[str, int], num_names: int) -> Iterator[str]:
    others = ", ".join(f"{name} {count:,}" for name, count in counts.items() if name != layout.name)
    yield f"why: it fits {counts[layout.name]:,} of {num_names:,} names looked at; {others}"


def _explain_ids(layout: Layout, table: pd.DataFrame, mapping_name: str) -> Iterator[str]:
    """Say where the ids of a composite come from, by one of the layout's mappings."""
    mapping = next(each for each in layout.id_mappings if each.name == mapping_name)
    others = [each for each in layout.id_mappings if each is not mapping]
    composites = table[table["kind"] == "composite"]
    named = [column for column in IDS if composites[column].ne("").any()]
    sources = ["from the labels file"] if mapping.uses_labels else []
    sources += [f"in the names: {', '.join(named)}"] if named else []
    if mapping.order:
        digits = [entry.replace(":", " of ") for entry in mapping.order if entry != BLOCK]
        sources.append(f"by arithmetic from the running number, outermost first: {', '.join(digits)}")
    yield f"ids: {'; '.join(sources) or 'none'} (mapping {mapping.name})"
    if others:
        tried = ", ".join(mapping.name for mapping in others)
        yield f"  if the pixels contradict that, the index tries the mappings {tried}"


def _explain_samples(index: Index, table: pd.DataFrame) -> Iterator[str]:
    samples, rejected = index.samples, index.rejected
    composites = int(table["kind"].eq("composite").sum())
    different = ", ".join(f"{column} {samples[column].nunique():,}" for column in IDS)
    yield f"samples: {len(samples):,} of {composites:,} composites; different ids: {different}"
    if index.num_background_depths:
        yield f"depth of backgrounds: {index.num_background_depths:,} of {index.num_backgrounds:,} have it"
    yield f"rejected, by names alone: {len(rejected):,} of {len(table):,} files"
    groups = rejected.groupby(["reason", "cure"], sort=False)["member"].agg(["size", "first"]).reset_index()
    groups = groups.sort_values("size", ascending=False, kind="stable")
    shown = groups.head(_SHOWN)[["size", "reason", "cure", "first"]].to_numpy().tolist()
    yield from _align([[f"{count:,}", f"{reason}: {cure}; such as {first}"] for count, reason, cure, first in shown])
    if len(groups) > _SHOWN:
        yield f"  and {len(groups) - _SHOWN:,} more reasons"


def _explain_places(
    members: Mapping[Archive, list[Member]], layout: Layout, places: Mapping[str, str] | None
) -> Iterator[str]:
    """Say which backgrounds look like one place; for that alone, some pictures are decoded."""
    pictures: dict[str, np.ndarray] = {}
    for archive, listed in members.items():
        found = [(member, layout.recognise(archive.path_of(member))) for member in listed]
        named = [(member, one.ids["background"]) for member, one in found if one and one.kind == "background"]
        wanted = named[: _BACKGROUNDS - len(pictures)]
        with archive.opened([member for member, _ in wanted]) as read:
            for member, name in wanted:
                with suppress(RefusedError):  # the index will say so
                    pictures[name] = decode_picture(read(member), "background", _SIDE, "dark").pixels
    if not pictures:
        return
    ids = spell_numbers(pd.Series(list(pictures), dtype=str)).astype(str)
    known = pd.DataFrame({"background": ids, "place": [(places or {}).get(name, name) for name in ids]})
    yield from describe_proposals(propose_places(known, np.stack(list(pictures.values()))))


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Indent rows, and pad all columns but the last."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, last in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        yield "  " + "  ".join([*padded, last])
