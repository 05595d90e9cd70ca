"""Samples from members: composites, masks and depths are joined by name, and the names are checked against the pixels.

Nothing is joined by its position in a list, and nothing is left out silently: what does not become part of a sample
is a row of rejected.csv that says why and what to do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maskdepth.data.archives.members import Members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.agreement import Agreement
from maskdepth.data.index.background_depths import judge_background_depths
from maskdepth.data.index.pairing import Pairing, choose_mapping, find_rows, read_reduced
from maskdepth.data.layouts.layout import Layout
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS, SAME_SHAPE
from maskdepth.data.samples import IDS, INDEX_COLUMNS, ROWS
from maskdepth.data.tables import numbers_where_whole, spell_numbers, write_table

# All that a name can say: a composite, a mask and a depth of equal name are one sample.
_NAME = [*IDS, "number"]
_REJECTED = ["archive", "member", "reason", "cure"]
_USED = ["kind", "archive", "member", *_NAME, "width", "height", "digest", "global_row", "reason", "cure"]

# Of which a data set has one for a background, however many archives hold a copy of it.
_SHARED_KINDS = ("background", BACKGROUND_DEPTH)

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
    """Join the members into samples.

    Of members with the same name and the same bytes one is used; with other bytes none is, as nothing says which is
    right. Backgrounds with the same bytes share one row, whatever their numbers; their copies, of which some layouts
    have one in each archive, are not listed. A mask or depth of a composite that was turned down is not listed beside
    it. A depth map of a background that is turned down, or missing, turns down no sample.

    Raises:
        ValueError: No mapping of the layout gives the composites backgrounds that they look like.
    """
    # Numbers are spelled alike before anything is compared: bg_001 and bg1 are the same background.
    table = members.table[_USED].assign(**{column: spell_numbers(members.table[column]) for column in _NAME})
    # Texts that repeat are categories: copying them from table to table would take most of the time.
    table = table.astype({"kind": "category", "archive": "category"})
    pictures = _settle_repeats(table[table["reason"].eq("") & table["kind"].isin([*PICTURE_KINDS, BACKGROUND_DEPTH])])
    of_kind = {
        kind: pictures[pictures["reason"].eq("") & pictures["kind"].eq(kind)]
        for kind in (*PICTURE_KINDS, BACKGROUND_DEPTH)
    }
    samples = of_kind["composite"].rename(columns={"global_row": "composite_row"})
    samples = _mark_without_depth(samples, members.layout)
    for kind in ("mask", "depth"):
        samples = _join_kind(samples, of_kind[kind], kind)
    samples = samples.astype(dict.fromkeys(_NAME, "str"))  # layouts fill in what names do not say
    backgrounds = _list_backgrounds(of_kind["background"])
    pairings = choose_mapping(samples[samples["reason"].eq("")], backgrounds["background_row"], members, arrays)
    samples = _add_ids(samples, members.layout.resolve(pairings[-1].mapping, samples, members.labels))
    samples = _join_backgrounds(samples, backgrounds)
    samples = _mark_repeated(_mark_other_shapes(samples))
    composites = table[table["kind"].eq("composite")]
    leftovers = [_find_leftovers(of_kind[kind], composites, kind) for kind in ("mask", "depth")]
    depths = _mark_unfitting(of_kind[BACKGROUND_DEPTH], backgrounds)
    agreement = None
    if not depths.empty:
        depths, agreement = _judge_background_depths(depths, samples, arrays)
    samples = _join_background_depths(samples, depths)
    rejected = _collect_rejected([table, pictures, *leftovers, depths, samples])
    num_members = int(table["member"].ne("").sum())  # a refused archive has one row without
    finished = _finish(samples)
    known = finished["background"][finished["background_depth_row"].ge(0)]
    counts = finished["background"].nunique(), known.nunique()
    return Index(finished, rejected, num_members, table["archive"].nunique(), pairings, agreement, *counts)


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
    write_table(path, rejected[_REJECTED])


def _mark(table: pd.DataFrame, where: pd.Series, reason: str | pd.Series, cure: str | pd.Series) -> pd.DataFrame:
    """Turn down the rows `where`, unless something else is wrong with them already."""
    fresh = where & table["reason"].eq("")
    return table.assign(reason=table["reason"].mask(fresh, reason), cure=table["cure"].mask(fresh, cure))


def _settle_repeats(pictures: pd.DataFrame) -> pd.DataFrame:
    """Keep one of those with the same name and bytes; turn down its copies, and the same name with other bytes."""
    name = ["kind", *_NAME]
    is_repeated = pictures.duplicated(name, keep=False)
    if not is_repeated.any():
        return pictures
    every = pictures[is_repeated].sort_values(["archive", "member"])
    is_copy = every.duplicated([*name, "digest"])
    used = _places(every).groupby([every[column] for column in (*name, "digest")], observed=True).transform("first")
    copies = _mark(every, is_copy, _COPY + used + ", which is used", "nothing; or take it away")[is_copy]
    repeated = every[~is_copy]
    clashes = repeated[repeated.duplicated(name, keep=False)]
    places = _places(clashes)
    by_name = places.groupby([clashes[column] for column in name], observed=True)
    first, last = by_name.transform("first"), by_name.transform("last")
    other = first.where(first.ne(places), last)
    is_clash = pd.Series(repeated.index.isin(clashes.index), repeated.index)
    repeated = _mark(repeated, is_clash, "the same name with other content: " + other, "keep the right one of them")
    return pd.concat([pictures[~is_repeated], repeated, copies[~copies["kind"].isin(_SHARED_KINDS)]])


def _mark_without_depth(samples: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Turn down the composites for which the layout itself names no depth map."""
    for column, value in layout.without_depth.items():
        reason = f"{_WITHOUT_DEPTH}for composites of {column} {value}"
        samples = _mark(samples, samples[column].eq(value), reason, "nothing; or describe depth in data.layout")
    return samples


def _places(members: pd.DataFrame) -> pd.Series:
    """Say where each member is."""
    return members["archive"].str.cat(members["member"], ": ")


def _join_kind(samples: pd.DataFrame, others: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Add the columns `kind`_row, `kind`_width and `kind`_height of the mask or depth that bears a composite's name."""
    columns = {"global_row": f"{kind}_row", "width": f"{kind}_width", "height": f"{kind}_height"}
    name = _name_of(others)
    joined = others[[*name, *columns]].rename(columns=columns)
    samples = samples.merge(joined, on=name, how="left", validate="many_to_one")
    row = samples[f"{kind}_row"].fillna(-1).astype("int64")
    samples = samples.assign(**{f"{kind}_row": row})
    samples = _mark(samples, row.lt(0), f"no {kind} bears its name", f"add the {kind}; if it is listed here, mend it")
    is_good = samples["reason"].eq("")
    shared = is_good & row.where(is_good).duplicated(keep=False)
    return _mark(samples, shared, f"its {kind} bears the name of other composites too", f"give each its own {kind}")


def _name_of(others: pd.DataFrame) -> list[str]:
    """List what the names of a kind say at all: depth names of one layout, for instance, do not know of flips."""
    return [column for column in _NAME if others[column].ne("").any()] or _NAME


def _find_leftovers(others: pd.DataFrame, composites: pd.DataFrame, kind: str) -> pd.DataFrame:
    name = _name_of(others)
    known = others[name].merge(composites[name].drop_duplicates(), on=name, how="left", indicator=True)
    lonely = known["_merge"].eq("left_only").set_axis(others.index)
    return _mark(others, lonely, "no composite bears its name", f"add the composite, or take the {kind} away")


def _list_backgrounds(pictures: pd.DataFrame) -> pd.DataFrame:
    """Give the backgrounds their columns of a sample, labelled by id; equal bytes get one row, the first."""
    backgrounds = pictures.set_index("background")
    return pd.DataFrame(
        {
            "background_digest": backgrounds["digest"],
            "background_row": backgrounds.groupby("digest")["global_row"].transform("min"),
            "background_width": backgrounds["width"],
            "background_height": backgrounds["height"],
        }
    )


def _add_ids(samples: pd.DataFrame, ids: pd.DataFrame) -> pd.DataFrame:
    samples = samples.assign(**{column: spell_numbers(ids[column]).astype(str) for column in IDS})
    return _mark(samples, ids["reason"].ne(""), ids["reason"], "check data.layout, or take the picture away")


def _join_backgrounds(samples: pd.DataFrame, backgrounds: pd.DataFrame) -> pd.DataFrame:
    row = find_rows(samples["background"], backgrounds["background_row"])
    facts = backgrounds.drop_duplicates("background_row").set_index("background_row")
    samples = samples.assign(
        background_row=row,
        background_digest=row.map(facts["background_digest"]),
        background_width=row.map(facts["background_width"]),
        background_height=row.map(facts["background_height"]),
    )
    reason = "there is no background " + samples["background"]
    return _mark(samples, row.isna(), reason, "add the background; if it is listed here, mend it")


def _mark_other_shapes(samples: pd.DataFrame) -> pd.DataFrame:
    for kind in ("mask", "depth", "background"):
        samples = _mark_other_shape(samples, kind)
    return samples


def _mark_other_shape(pictures: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Turn down what has another ratio of width to height than its `kind`, of which it has the size in columns."""
    width, height = pictures[f"{kind}_width"].astype(float), pictures[f"{kind}_height"].astype(float)
    ratio = pictures["width"].astype(float) * height / (pictures["height"].astype(float) * width)
    differs = ratio.gt(1 + SAME_SHAPE) | ratio.lt(1 / (1 + SAME_SHAPE))
    sizes = pictures.loc[differs, ["width", "height", f"{kind}_width", f"{kind}_height"]].astype("int64").astype(str)
    reason = sizes["width"] + "x" + sizes["height"] + f" px, but its {kind} "
    reason += sizes[f"{kind}_width"] + "x" + sizes[f"{kind}_height"] + " px"
    return _mark(pictures, differs, reason, "give both the same shape")


def _mark_unfitting(depths: pd.DataFrame, backgrounds: pd.DataFrame) -> pd.DataFrame:
    """Turn down the depth maps of which there is no background, or one of another shape."""
    name = depths["background"].astype(str)
    sizes = {column: name.map(backgrounds[column].to_dict()) for column in ("background_width", "background_height")}
    depths = depths.assign(background=name, **sizes)
    is_lonely = depths["background_width"].isna()
    depths = _mark(depths, is_lonely, "there is no background " + name, "add it, or take its depth away")
    return _mark_other_shape(depths, "background")


def _judge_background_depths(
    depths: pd.DataFrame, samples: pd.DataFrame, arrays: Arrays
) -> tuple[pd.DataFrame, Agreement]:
    """Turn down the depth maps that do not go with the depth of their composites."""
    good = depths[depths["reason"].eq("")].set_index("background")["global_row"]
    judged = judge_background_depths(good, samples[samples["reason"].eq("")], arrays)
    reason, cure = (depths["background"].map(judged.faults[column]).fillna("") for column in ("reason", "cure"))
    return _mark(depths, reason.ne(""), reason, cure), judged.agreement


def _join_background_depths(samples: pd.DataFrame, depths: pd.DataFrame) -> pd.DataFrame:
    """Add the column `background_depth_row`, -1 where the background has no depth map."""
    rows = depths[depths["reason"].eq("")].set_index("background")["global_row"]
    return samples.assign(background_depth_row=samples["background"].map(rows).fillna(-1).astype("int64"))


def _mark_repeated(samples: pd.DataFrame) -> pd.DataFrame:
    """Name the samples and turn down those whose name is not their own, among them those whose ids run together."""
    name = samples["foreground"] + "_" + samples["background"] + "_" + samples["flip"] + "_" + samples["placement"]
    samples = samples.assign(sample_id=name)
    is_good = samples["reason"].eq("")
    repeated = name.where(is_good).duplicated(keep=False) & is_good
    return _mark(samples, repeated, "sample " + name + " a second time", "take one of the two away")


def _collect_rejected(tables: list[pd.DataFrame]) -> pd.DataFrame:
    rejected = pd.concat([table.loc[table["reason"].ne(""), _REJECTED] for table in tables]).astype("str")
    return rejected.sort_values(_REJECTED, ignore_index=True)


def _finish(samples: pd.DataFrame) -> pd.DataFrame:
    """Keep the good samples, in the order of the composites' pictures, and give the columns their types."""
    samples = samples.loc[samples["reason"].eq(""), INDEX_COLUMNS].sort_values("composite_row", ignore_index=True)
    return samples.astype(dict.fromkeys(["archive", "background_digest"], "str") | dict.fromkeys(ROWS, "int64")).assign(
        **{column: numbers_where_whole(samples[column]) for column in IDS}
    )
