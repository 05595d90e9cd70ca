"""Samples are joined by their full names, and every member that is left over is named with a reason and a cure."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy import draw_sample
from support.toy_arrays import make_toy_arrays

from maskdepth.data.archives.members import members_of
from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.index.joining import build_index, describe_samples
from maskdepth.data.index.rejections import check_rejected, write_rejected
from maskdepth.data.layouts.layout import read_layouts

COLUMNS = (
    "sample_id,foreground,background,flip,placement,archive,background_digest,"
    "background_row,composite_row,mask_row,depth_row,background_depth_row"
)
COMPOSITE, MASK, DEPTH = (f"{folder}_1_2_0_1.jpg" for folder in ("fg_bg", "bg_mask", "depth_fg_bg"))


@pytest.fixture(scope="module")
def table(toy):
    return toy[0].table


def index_of(arrays, table, layout="sudhakarmlal"):
    return build_index(members_of(table, pd.DataFrame(), read_layouts()[layout]), arrays)


def named(members, ending):
    return members["member"].str.endswith("/" + ending)


def change(members, ending, **values):
    """Copy the members with some values of one of them changed."""
    return members.assign(
        **{column: members[column].mask(named(members, ending), value) for column, value in values.items()}
    )


def reasons(index):
    return {member.rpartition("/")[2]: reason for member, reason in index.rejected[["member", "reason"]].to_numpy()}


@pytest.mark.parametrize("layout", ["sudhakarmlal", "mshilpaa", "sajnanshetty", "sumankanukollu", "deepjyotisaha85"])
def test_every_sample_of_every_layout_gets_its_own_pictures(tmp_path, layout):
    flips = (0,) if layout == "sumankanukollu" else (0, 1)
    members, arrays = make_toy_arrays(tmp_path, layout, flips=flips, foregrounds=(2, 11), backgrounds=(1, 10, 12))
    index = build_index(members, arrays)
    assert len(index.samples) == 12 * len(flips)
    assert index.rejected.empty
    for row in index.samples.itertuples():
        truth = draw_sample(row.foreground, row.background, row.flip, row.placement)
        assert row.sample_id == truth.sample_id
        for kind in ("composite", "mask", "depth"):
            picture = getattr(arrays, kind).take(np.array([getattr(row, f"{kind}_row")]))[0]
            np.testing.assert_array_equal(picture, getattr(truth, kind))


@given(st.randoms(use_true_random=False))
@settings(max_examples=4)
def test_the_order_of_the_members_changes_nothing(arrays, table, random):
    members = change(table, MASK, reason="damaged", cure="copy it again")
    order = list(range(len(members)))
    random.shuffle(order)
    index, shuffled = index_of(arrays, members), index_of(arrays, members.iloc[order])
    pd.testing.assert_frame_equal(shuffled.samples, index.samples, check_categorical=False)
    pd.testing.assert_frame_equal(shuffled.rejected, index.rejected)


@given(st.sets(st.integers(0, 71), min_size=1, max_size=12))
@settings(max_examples=8)
def test_whole_triples_and_nothing_else_are_samples(arrays, table, gone):
    triples = table[table["kind"].isin(["composite", "mask", "depth"])]
    left = triples.drop(triples.index[list(gone)])
    index = index_of(arrays, pd.concat([table[table["kind"].eq("background")], left]))
    key = ["foreground", "background", "flip", "placement"]
    kinds = left.groupby(key)["kind"].agg(set)
    whole = kinds[kinds.map(len) == 3].index
    assert set(index.samples["sample_id"]) == {"_".join(ids) for ids in whole}
    # What is left of a broken triple is listed: the composite, or else the mask and the depth themselves.
    broken = kinds.drop(whole)
    assert len(index.rejected) == sum(1 if "composite" in found else len(found) for found in broken)


@pytest.mark.parametrize(("member", "kind"), [(MASK, "mask"), (DEPTH, "depth")])
def test_a_composite_without_mask_or_depth_is_rejected(arrays, table, member, kind):
    index = index_of(arrays, table[~named(table, member)])
    assert reasons(index) == {COMPOSITE: f"no {kind} bears its name"}
    assert index.rejected["cure"].tolist() == [f"add the {kind}; if it is listed here, mend it"]
    assert "1_2_0_1" not in set(index.samples["sample_id"])


def test_mask_and_depth_without_composite_are_rejected(arrays, table):
    index = index_of(arrays, table[~named(table, COMPOSITE)])
    assert reasons(index) == {MASK: "no composite bears its name", DEPTH: "no composite bears its name"}


def test_a_composite_without_background_is_rejected(arrays, table):
    index = index_of(arrays, table[~named(table, "bg_img_2.jpg")])
    assert set(reasons(index).values()) == {"there is no background 2"}
    assert (len(index.samples), len(index.rejected)) == (16, 8)


def test_what_unzip_rejected_stays_rejected_with_its_reason(arrays, table):
    members = change(table, COMPOSITE, reason="cut short", cure="copy it again")
    unknown = members.iloc[[0]].assign(kind="unknown", member="notes.txt", reason="no known name", cure="ignore it")
    refused = unknown.assign(archive="batch2", member="", reason="encrypted", cure="supply it open")
    index = index_of(arrays, pd.concat([members, unknown, refused], ignore_index=True))
    assert reasons(index) == {COMPOSITE: "cut short", "notes.txt": "no known name", "": "encrypted"}
    assert index.rejected.columns.tolist() == ["archive", "member", "reason", "cure"]


def test_the_same_picture_in_two_archives_counts_once(arrays, table):
    again = table.assign(archive="batch2_images")
    index = index_of(arrays, pd.concat([table, again], ignore_index=True))
    pd.testing.assert_frame_equal(index.samples, index_of(arrays, table).samples)
    # The copies are told, one for each but the backgrounds, and are no reason to stop.
    assert set(index.rejected["archive"]) == {"batch2_images"}
    assert len(index.rejected) == table["kind"].isin(["composite", "mask", "depth"]).sum()
    assert index.rejected["reason"].str.fullmatch(r"the same bytes as batch1_images\S*: \S+, which is used").all()
    check_rejected(index, max_share=0.0)


def test_composites_that_a_layout_leaves_without_depth_are_told_and_stop_nothing(tmp_path):
    members, arrays = make_toy_arrays(tmp_path, "sumankanukollu", flips=(0,), foregrounds=(1, 2), backgrounds=(1, 2))
    plain = members.table[members.table["kind"].isin(["composite", "mask"])]
    mirrored = plain.assign(
        flip="1", member=plain["member"].str.replace("bg_fg", "bg_fgFlip"), digest="m" + plain["digest"].astype(str)
    )
    table = pd.concat([members.table, mirrored], ignore_index=True)
    index = index_of(arrays, table, "sumankanukollu")
    assert index.samples["flip"].eq(0).all()
    assert len(index.samples) == plain["kind"].eq("composite").sum()
    assert set(index.rejected["reason"]) == {"this layout has no depth for composites of flip 1"}
    assert index.rejected["cure"].ne("").all()
    check_rejected(index, max_share=0.0)


def test_the_same_name_with_other_content_is_rejected_on_both_sides(arrays, table):
    other = table[named(table, COMPOSITE)].assign(archive="batch2_images", digest="12345678")
    index = index_of(arrays, pd.concat([table, other], ignore_index=True))
    listed = dict(zip(index.rejected["archive"], index.rejected["reason"], strict=True))
    place = f"fg_bg_jpg/{COMPOSITE}"
    assert listed == {
        "batch1_images": f"the same name with other content: batch2_images: {place}",
        "batch2_images": f"the same name with other content: batch1_images: {place}",
    }


def test_identical_backgrounds_under_two_numbers_share_a_row(arrays, table):
    digest = table.loc[named(table, "bg_img_1.jpg"), "digest"].item()
    pictures = arrays.background.parts[0][[0, 0, 2]]
    same = replace(arrays, background=ShardedArray([pictures]), composite=_flat_composites(table, pictures))
    index = index_of(same, change(table, "bg_img_2.jpg", digest=digest))
    rows = index.samples.groupby("background")["background_row"].unique().explode()
    assert rows.to_dict() == {1: 0, 2: 0, 3: 2}


def _flat_composites(table, backgrounds):
    """Draw every composite as its background alone."""
    composites = table[table["kind"].eq("composite")]
    return ShardedArray([backgrounds[composites["background"].astype(int).to_numpy() - 1]])


@pytest.mark.parametrize(
    ("member", "kind", "listed"),
    [(MASK, "mask", COMPOSITE), (DEPTH, "depth", COMPOSITE), ("bg_img_2.jpg", "background", COMPOSITE)],
)
def test_another_shape_than_the_composite_is_rejected_with_both_sizes(arrays, table, member, kind, listed):
    index = index_of(arrays, change(table, member, width=64))
    assert reasons(index)[listed] == f"32x32 px, but its {kind} 64x32 px"


def test_another_size_of_the_same_shape_is_accepted(arrays, table):
    members = change(table, MASK, width=100, height=101)  # one pixel off after resizing
    assert index_of(arrays, members).rejected.empty


def test_zeros_in_front_do_not_part_a_composite_from_its_background(arrays, table):
    members = change(table, "bg_img_2.jpg", background="002")
    assert index_of(arrays, members).rejected.empty


def test_ids_that_run_together_are_rejected(arrays, table):
    # Foreground 1_2 on 3 and foreground 1 on 2_3 would both be called 1_2_3_0_1.
    names = table[table["placement"].eq("1") & table["flip"].eq("0")]
    first = names["foreground"].eq("1") & names["background"].eq("1")
    second = names["foreground"].eq("2") & names["background"].eq("2")
    members = names.assign(
        foreground=names["foreground"].mask(first, "1_2").mask(second, "1"),
        background=names["background"].mask(first, "3").mask(second, "2_3"),
    )
    backgrounds = table[table["kind"].eq("background")]
    backgrounds = backgrounds.assign(background=["1", "2_3", "3"], global_row=[0, 1, 2])
    members = pd.concat([backgrounds, members[first | second]], ignore_index=True)
    index = index_of(replace(arrays, mask=ShardedArray([np.ones(arrays.mask.shape, np.uint8)])), members)
    assert set(reasons(index).values()) == {"sample 1_2_3_0_1 a second time"}
    assert index.samples.empty


def test_masks_that_do_not_tell_placements_apart_are_rejected(arrays, table):
    masks = table["kind"].eq("mask")
    members = table[~masks | table["placement"].eq("1")]
    members = members.assign(placement=members["placement"].mask(masks, ""))
    index = index_of(arrays, members)
    assert set(reasons(index).values()) == {"its mask bears the name of other composites too"}


def test_a_number_outside_the_arithmetic_is_rejected(tmp_path):
    members, arrays = make_toy_arrays(tmp_path, "deepjyotisaha85")
    table = members.table.assign(number=members.table["number"].mask(members.table["number"].eq("1"), "999999"))
    (reason,) = reasons(index_of(arrays, table, "deepjyotisaha85")).values()
    assert "outside the layout's range" in reason


def test_nothing_left_is_an_error_that_shows_why(arrays, table):
    index = index_of(arrays, table[table["kind"].ne("depth")])
    with pytest.raises(ValueError, match=r"none of \d+ members .*no depth bears its name.*and 14 more in reje"):
        check_rejected(index, max_share=1.0)


def test_too_many_rejected_is_an_error_and_few_are_not(arrays, table):
    index = index_of(arrays, table[~named(table, MASK)])
    check_rejected(index, max_share=0.02)
    with pytest.raises(ValueError, match=r"1\.\d% of \d+ members are rejected; data\.max_rejected allows 1\.0%; bat"):
        check_rejected(index, max_share=0.01)


def test_a_refused_archive_counts_as_an_archive_and_not_as_a_member(arrays, table):
    refused = table.head(1).assign(
        kind="unknown", member="", archive="batch2_images", global_row=-1, reason="truncated"
    )
    members = pd.concat([table, refused], ignore_index=True)
    check_rejected(index_of(arrays, members), max_share=0.5)
    with pytest.raises(
        ValueError, match=r"^50\.0% of 2 archives are refused; data\.max_rejected allows 49\.0%; batch2_images: all of"
    ):
        check_rejected(index_of(arrays, members), max_share=0.49)
    with pytest.raises(ValueError, match=r"^50\.0% of 2 archives are refused and 1\.\d% of \d+ members are rejected; "):
        check_rejected(index_of(arrays, members[~named(members, MASK)]), max_share=0.01)


def test_the_quality_of_the_samples_is_counted(arrays, table):
    samples = index_of(arrays, table).samples
    mask, depth = arrays.mask.parts[0].copy(), arrays.depth.parts[0].copy()
    mask[0], mask[1], depth[5] = 0, 1, 77
    damaged = replace(arrays, mask=ShardedArray([mask]), depth=ShardedArray([depth]))
    facts = describe_samples(samples, damaged)
    assert facts.pop("mask_area") == pytest.approx(mask.mean())
    assert facts == {"masks_empty": 1, "masks_full": 1, "depths_constant": 1}


def test_rejected_members_are_written_even_when_there_are_none(arrays, table, tmp_path):
    write_rejected(tmp_path / "rejected.csv", index_of(arrays, table).rejected)
    assert (tmp_path / "rejected.csv").read_text() == "archive,member,reason,cure\n"
