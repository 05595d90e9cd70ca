"""Samples from members: composites, masks and depths are joined by name, and the names are checked against the pixels.

Nothing is joined by its position in a list, and nothing is left out silently: what does not become part of a sample
is a row of rejected.csv that says why and what to do. What is turned down leaves the tables at once; its texts are
looked up at the end.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.archives.members import Members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.agreement import Agreement
from maskdepth.data.index.background_depths import judge_background_depths
from maskdepth.data.index.pairing import Pairing, choose_mapping, find_rows, read_names, read_reduced
from maskdepth.data.index.rejections import COLUMNS, Rejections
from maskdepth.data.keys import blocks_of, find_repeated, find_repeated_texts, make_keys
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, SAME_SHAPE
from maskdepth.data.samples import IDS, INDEX_COLUMNS
from maskdepth.data.tables import (
    as_categories,
    concatenate_categories,
    narrow,
    numbers_where_whole,
    spell_numbers,
    write_table,
)

# All that a name can say: a composite, a mask and a depth of equal name are one sample.
_NAME = list(NAME_COLUMNS)
_PICTURE = ["place", "archive", *_NAME, "width", "height", "global_row"]

# Beginnings of reasons that tell nothing bad about the data; they do not count against data.max_rejected.
_COPY, _WITHOUT_DEPTH = "the same bytes as ", "this layout has no depth "

# Rejected members that an error shows.
_SHOWN = 10


@dataclass(frozen=True)
class Index:
    """What the members come to.

    Attributes:
        samples: One row per sample, the columns of index.csv, in the order of `composite_row`.
        rejected: One row per member that was turned down, the columns of rejected.csv.
        num_members: How many members were looked at.
        num_archives: How many archives they are from, with those that were refused.
        pairings: The mappings from names to ids that were tried; the last one was used.
        depth_agreement: Of depth maps of backgrounds with the depth of their composites; None where there are none.
        num_backgrounds: How many backgrounds the samples show.
        num_background_depths: How many of them have a depth map.
    """

    samples: pd.DataFrame
    rejected: pd.DataFrame
    num_members: int
    num_archives: int
    pairings: list[Pairing]
    depth_agreement: Agreement | None
    num_backgrounds: int
    num_background_depths: int


def build_index(members: Members, arrays: Arrays) -> Index:
    """Join the members into samples, which uses up the pictures of `members`: they fill memory.

    Of members with the same name and the same bytes one is used; with other bytes none is, as nothing says which is
    right. Backgrounds with the same bytes share one row, whatever their numbers; their copies, of which some layouts
    have one in each archive, are not listed. A mask or depth of a composite that was turned down is not listed beside
    it. A depth map of a background that is turned down, or missing, turns down no sample.

    Raises:
        ValueError: No mapping of the layout gives the composites backgrounds that they look like.
    """
    rejections = Rejections()
    rejections.add(members.rejected, members.rejected["reason"], members.rejected["cure"])
    settled = _settle_repeats(members, "background", rejections, with_copies=False)
    backgrounds = _list_backgrounds(settled, members)
    samples = _settle_repeats(members, "composite", rejections).rename(columns={"global_row": "composite_row"})
    samples = _drop_without_depth(samples, members.layout, rejections)
    for kind in ("mask", "depth"):
        samples = _join_kind(samples, members, kind, rejections)
    pairings = choose_mapping(samples, backgrounds["background_row"], members, arrays)
    samples = _add_ids(samples, members, pairings[-1].mapping, rejections)
    samples = _join_backgrounds(samples, backgrounds, rejections)
    for kind in ("mask", "depth", "background"):
        samples = _drop_other_shape(samples, kind, rejections)
    samples = _drop_repeated(samples, rejections)
    depths = _settle_repeats(members, BACKGROUND_DEPTH, rejections, with_copies=False)
    agreement = None
    if len(depths):
        depths = _drop_unfitting(depths, backgrounds, rejections)
        depths, agreement = _judge_background_depths(depths, samples, arrays, rejections)
    samples = _join_background_depths(samples, depths)
    rejected = rejections.collect(members)
    num_members = members.count - int(rejected["member"].eq("").sum())  # a refused archive has one row without
    finished = _finish(samples)
    known = finished["background"][finished["background_depth_row"].ge(0)]
    counts = finished["background"].nunique(), known.nunique()
    return Index(finished, rejected, num_members, members.num_archives, pairings, agreement, *counts)


def judge_rejected(index: Index, max_share: float) -> str:
    """Say that too much was rejected for the rest to be trusted, or "" if it was not.

    Nobody knows how many members a refused archive has, so archives are counted for themselves.

    Args:
        index: The samples, and what is none.
        max_share: As `data.max_rejected` of params.yaml. Copies, and composites for which the layout has no depth, do
            not count.
    """
    if index.samples.empty:
        return f"none of {index.num_members:,} members became part of a sample"
    is_archive = index.rejected["member"].eq("")
    is_bad = ~is_archive & ~index.rejected["reason"].str.startswith((_COPY, _WITHOUT_DEPTH))
    shares = {
        f"of {index.num_archives:,} archives are refused": is_archive.sum() / index.num_archives,
        f"of {index.num_members:,} members are rejected": is_bad.sum() / index.num_members,
    }
    problems = [f"{share:.1%} {what}" for what, share in shares.items() if share > max_share]
    return f"{' and '.join(problems)}; data.max_rejected allows {max_share:.1%}" if problems else ""


def check_rejected(index: Index, max_share: float) -> None:
    """Stop when too much was rejected.

    Raises:
        ValueError: As `judge_rejected` says; shows ten rejections, of different reasons as far as there are.
    """
    problem = judge_rejected(index, max_share)
    if not problem:
        return
    # One of each reason before any second one: what follows from another rejection is often the most frequent.
    order = index.rejected.groupby("reason").cumcount().argsort(kind="stable")
    shown = [
        f"{archive}: {member or 'all of it'}: {reason} ({cure})"
        for archive, member, reason, cure in index.rejected.iloc[order].head(_SHOWN).to_numpy().tolist()
    ]
    more = [f"and {len(index.rejected) - _SHOWN:,} more in rejected.csv"] if len(index.rejected) > _SHOWN else []
    raise ValueError("; ".join([problem, *shown, *more]))


def describe_samples(samples: pd.DataFrame, arrays: Arrays) -> dict[str, float]:
    """Measure what a person wants to know before training on the samples.

    Returns:
        mask_area: mean share of a picture that the object covers, [0, 1]; masks_empty, masks_full, depths_constant: how
        many have no object, nothing but object, the same depth everywhere.
    """
    areas = read_reduced(arrays.mask, samples["mask_row"].to_numpy(), lambda masks: masks.mean((1, 2)))
    ranges = read_reduced(arrays.depth, samples["depth_row"].to_numpy(), lambda depths: np.ptp(depths, axis=(1, 2)))
    return {
        "mask_area": float(areas.mean()),
        "masks_empty": float((areas == 0).sum()),
        "masks_full": float((areas == 1).sum()),
        "depths_constant": float((ranges == 0).sum()),
    }


def write_rejected(path: Path, rejected: pd.DataFrame) -> None:
    """Write rejected.csv."""
    write_table(path, rejected[COLUMNS])


def _pictures(members: Members, kind: str) -> pd.DataFrame:
    """Give what is known of the pictures of a kind, of which there may be none."""
    if kind in members.pictures:
        return members.pictures[kind]
    return members.rejected.iloc[:0].assign(width=-1, height=-1, global_row=-1)[_PICTURE]


def _settle_repeats(members: Members, kind: str, rejections: Rejections, *, with_copies: bool = True) -> pd.DataFrame:
    """Keep one of those with the same name and bytes; turn down its copies, and the same name with other bytes.

    Args:
        members: All of them.
        kind: Of the pictures.
        rejections: Where to note it.
        with_copies: Whether copies are noted: of some kinds a data set has one, however many archives hold a copy.
    """
    pictures = _pictures(members, kind)
    (keys,) = make_keys([pictures], _NAME)
    is_repeated = find_repeated(keys)
    if not is_repeated.any():
        return pictures
    every = pictures[is_repeated].reset_index(drop=True)
    digests, paths = (members.look_up(every["place"].to_numpy(), column) for column in ("digest", "member"))
    every = every.assign(key=keys[is_repeated], digest=digests, path=paths)
    every = every.astype({"archive": str}).sort_values(["archive", "path"])
    every["where"] = every["archive"] + ": " + every["path"]
    is_copy = every.duplicated(["key", "digest"])
    if with_copies:
        used = every.groupby(["key", "digest"])["where"].transform("first")[is_copy]
        rejections.add(every[is_copy], _COPY + used + ", which is used", "nothing; or take it away")
    every = every[~is_copy]
    clashes = every[every.duplicated("key", keep=False)]
    by_name = clashes.groupby("key")["where"]
    first, last = by_name.transform("first"), by_name.transform("last")
    other = first.where(first.ne(clashes["where"]), last)
    rejections.add(clashes, "the same name with other content: " + other, "keep the right one of them")
    settled = every[~every.index.isin(clashes.index)]
    settled = settled.assign(archive=pd.Categorical(settled["archive"], pictures["archive"].cat.categories))
    return pd.concat([pictures[~is_repeated], settled[_PICTURE]], ignore_index=True)


def _drop_without_depth(samples: pd.DataFrame, layout: Layout, rejections: Rejections) -> pd.DataFrame:
    """Turn down the composites for which the layout itself names no depth map."""
    for column, value in layout.without_depth.items():
        reason = f"{_WITHOUT_DEPTH}for composites of {column} {value}"
        samples = rejections.drop(
            samples, samples[column].eq(value), reason, "nothing; or describe depth in data.layout"
        )
    return samples


def _join_kind(samples: pd.DataFrame, members: Members, kind: str, rejections: Rejections) -> pd.DataFrame:
    """Add the columns `kind`_row, `kind`_width and `kind`_height of the mask or depth that bears a composite's name."""
    others = _settle_repeats(members, kind, rejections)
    name = _name_of(others)
    position = _match(samples, others, name)
    used = np.bincount(position[position >= 0], minlength=len(others)).clip(max=2).astype(np.int8)
    _reject_leftovers(others[used == 0], name, members, kind, rejections)
    members.pictures.pop(kind, None)
    known = {
        f"{kind}_{column.removeprefix('global_')}": others[column].to_numpy()[position] if len(others) else -1
        for column in ("global_row", "width", "height")
    }
    is_missing = position < 0
    samples = samples.assign(**known)
    samples = rejections.drop(
        samples, is_missing, f"no {kind} bears its name", f"add the {kind}; if it is listed here, mend it"
    )
    is_shared = used[position[~is_missing]] > 1
    reason = f"its {kind} bears the name of other composites too"
    return rejections.drop(samples, is_shared, reason, f"give each its own {kind}")


def _match(samples: pd.DataFrame, others: pd.DataFrame, name: list[str]) -> npt.NDArray[np.integer[Any]]:
    """Find the one of the others, by its position, that has the name of each sample; -1 where none has it."""
    keys, names = make_keys([samples, others], name)
    return narrow(pd.Index(names).get_indexer(pd.Index(keys)))


def _name_of(others: pd.DataFrame) -> list[str]:
    """List what the names of a kind say at all: depth names of one layout, for instance, do not know of flips."""
    return [column for column in _NAME if others[column].ne("").any()] or _NAME


def _reject_leftovers(
    others: pd.DataFrame, name: list[str], members: Members, kind: str, rejections: Rejections
) -> None:
    """Turn down what bears the name of no composite, not even of one that was turned down."""
    if others.empty:
        return
    rejected = members.rejected[members.rejected["kind"].eq("composite")]
    mine, *theirs = make_keys([others, _pictures(members, "composite"), rejected], name)
    is_known = np.zeros(len(others), bool)
    for keys in theirs:
        is_known |= np.isin(mine, keys[np.isin(keys, mine)])
    rejections.add(others[~is_known], "no composite bears its name", f"add the composite, or take the {kind} away")


def _list_backgrounds(pictures: pd.DataFrame, members: Members) -> pd.DataFrame:
    """Give the backgrounds their columns of a sample, labelled by id; equal bytes get one row, the first."""
    digests = members.look_up(pictures["place"].to_numpy(), "digest")
    return pd.DataFrame(
        {
            "background_digest": digests.to_numpy(),
            "background_row": pictures.groupby(digests)["global_row"].transform("min").to_numpy(),
            "background_width": pictures["width"].to_numpy(),
            "background_height": pictures["height"].to_numpy(),
        },
        index=pd.Index(pictures["background"].astype(str)),
    )


def _add_ids(samples: pd.DataFrame, members: Members, mapping: str, rejections: Rejections) -> pd.DataFrame:
    """Find the ids of all composites: some at a time, as texts take most room, but all where labels are looked up."""
    blocks = [slice(None)] if members.layout.label_columns else blocks_of(len(samples))
    found: dict[str, list[pd.Categorical]] = {column: [pd.Categorical([], [""])] for column in (*IDS, "reason")}
    for block in blocks:
        ids = members.layout.resolve(mapping, read_names(samples.iloc[block], members), members.labels)
        for column, parts in found.items():
            parts.append(as_categories(ids[column]).array)
    joined = {column: pd.Series(concatenate_categories({column: parts})[column]) for column, parts in found.items()}
    samples = samples.assign(**{column: spell_numbers(joined[column]) for column in IDS}, reason=joined["reason"])
    is_bad = samples["reason"].ne("")
    cure = "check data.layout, or take the picture away"
    return rejections.drop(samples, is_bad, lambda bad: bad["reason"], cure).drop(columns="reason")


def _join_backgrounds(samples: pd.DataFrame, backgrounds: pd.DataFrame, rejections: Rejections) -> pd.DataFrame:
    samples = samples.assign(background_row=find_rows(samples["background"], backgrounds["background_row"]))
    samples = rejections.drop(
        samples,
        samples["background_row"].isna(),
        lambda bad: "there is no background " + bad["background"].astype(str),
        "add the background; if it is listed here, mend it",
    )
    rows = narrow(samples["background_row"].to_numpy(np.int64))
    facts = backgrounds.drop_duplicates("background_row").set_index("background_row")
    position = facts.index.get_indexer(pd.Index(rows))
    return samples.assign(
        background_row=rows,
        background_digest=as_categories(facts["background_digest"]).array[position],
        background_width=facts["background_width"].to_numpy()[position],
        background_height=facts["background_height"].to_numpy()[position],
    )


def _drop_other_shape(pictures: pd.DataFrame, kind: str, rejections: Rejections) -> pd.DataFrame:
    """Turn down what has another ratio of width to height than its `kind`, of which it has the size in columns."""

    def tell(bad: pd.DataFrame) -> pd.Series:
        sizes = bad[["width", "height", f"{kind}_width", f"{kind}_height"]].astype("int64").astype(str)
        own = sizes["width"] + "x" + sizes["height"]
        return own + f" px, but its {kind} " + sizes[f"{kind}_width"] + "x" + sizes[f"{kind}_height"] + " px"

    width, height = pictures[f"{kind}_width"].astype(float), pictures[f"{kind}_height"].astype(float)
    ratio = pictures["width"].astype(float) * height / (pictures["height"].astype(float) * width)
    differs = ratio.gt(1 + SAME_SHAPE) | ratio.lt(1 / (1 + SAME_SHAPE))
    fitting = rejections.drop(pictures, differs, tell, "give both the same shape")
    return fitting.drop(columns=[f"{kind}_width", f"{kind}_height"])


def _drop_unfitting(depths: pd.DataFrame, backgrounds: pd.DataFrame, rejections: Rejections) -> pd.DataFrame:
    """Turn down the depth maps of which there is no background, or one of another shape."""
    name = depths["background"].astype(str)
    sizes = {column: name.map(backgrounds[column].to_dict()) for column in ("background_width", "background_height")}
    depths = depths.assign(background=name, **sizes)
    depths = rejections.drop(
        depths,
        depths["background_width"].isna(),
        lambda bad: "there is no background " + bad["background"],
        "add it, or take its depth away",
    )
    return _drop_other_shape(depths, "background", rejections)


def _judge_background_depths(
    depths: pd.DataFrame, samples: pd.DataFrame, arrays: Arrays, rejections: Rejections
) -> tuple[pd.DataFrame, Agreement]:
    """Turn down the depth maps that do not go with the depth of their composites."""
    judged = judge_background_depths(depths.set_index("background")["global_row"], samples, arrays)
    reason, cure = (depths["background"].map(judged.faults[column]).fillna("") for column in ("reason", "cure"))
    is_bad = reason.ne("")
    rejections.add(depths[is_bad], reason[is_bad], cure[is_bad])
    return depths[~is_bad], judged.agreement


def _join_background_depths(samples: pd.DataFrame, depths: pd.DataFrame) -> pd.DataFrame:
    """Add the column `background_depth_row`, -1 where the background has no depth map."""
    rows = depths.set_index("background")["global_row"]
    of_categories = rows.reindex(samples["background"].cat.categories).fillna(-1).to_numpy(np.int64)
    return samples.assign(background_depth_row=narrow(of_categories)[samples["background"].cat.codes])


def _drop_repeated(samples: pd.DataFrame, rejections: Rejections) -> pd.DataFrame:
    """Name the samples and turn down those whose name is not their own, among them those whose ids run together."""
    texts = (samples[IDS].iloc[block].astype(str) for block in blocks_of(len(samples)))
    names = [ids[IDS[0]].str.cat(ids[IDS[1:]], "_") for ids in texts]
    samples = samples.assign(sample_id=pd.concat([pd.Series(dtype=str), *names]))
    return rejections.drop(
        samples,
        find_repeated_texts(samples["sample_id"]),
        lambda bad: "sample " + bad["sample_id"] + " a second time",
        "take one of the two away",
    )


def _finish(samples: pd.DataFrame) -> pd.DataFrame:
    """Keep the columns of the index, in the order of the composites' pictures, and give them their types."""
    texts = {name: samples[name].cat.remove_unused_categories() for name in ("archive", "background_digest")}
    samples = samples[INDEX_COLUMNS].assign(**texts)
    if not samples["composite_row"].is_monotonic_increasing:
        samples = samples.sort_values("composite_row", ignore_index=True)
    return samples.assign(**{column: numbers_where_whole(samples[column]) for column in IDS})
