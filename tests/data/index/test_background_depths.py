"""The depth map of a background is joined where it belongs; any other is named with a reason, and costs no sample."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from maskdepth.data.archives.members import members_of
from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.index.joining import build_index
from maskdepth.data.layouts.layout import read_layouts

NUM_BACKGROUNDS, PER_BACKGROUND, SIDE = 6, 4, 32
LAYOUT = read_layouts()["sudhakarmlal"]


def draw_scene(number):
    """A floor that comes nearer downwards, with bumps of its own: (S, S) levels."""
    bumps = gaussian_filter(np.random.default_rng(number).standard_normal((SIDE, SIDE)), 5)
    floor = np.linspace(190, 90, SIDE)[:, None] + 60 * bumps / np.abs(bumps).max()
    return floor.clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def scenes():
    return np.stack([draw_scene(number) for number in range(NUM_BACKGROUNDS)])


@pytest.fixture(scope="module")
def arrays(scenes):
    """Backgrounds of one colour each, and composites of a bright square that is nearer than all else."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 128, (NUM_BACKGROUNDS, 1, 1, 3), np.uint8)
    of = np.repeat(np.arange(NUM_BACKGROUNDS), PER_BACKGROUND)
    masks = np.zeros((len(of), SIDE, SIDE), np.uint8)
    for mask in masks:
        top, left = random.integers(4, SIDE - 12, 2)
        mask[top : top + 8, left : left + 8] = 1
    backgrounds = np.broadcast_to(colours, (NUM_BACKGROUNDS, SIDE, SIDE, 3))
    pictures = {
        "background": backgrounds,
        "composite": np.where(masks[..., None] > 0, 255, backgrounds[of]).astype(np.uint8),
        "mask": masks,
        "depth": np.where(masks > 0, 10, scenes[of]).astype(np.uint8),
        "background_depth": scenes,
    }
    return Arrays(SIDE, **{kind: ShardedArray([np.ascontiguousarray(one)]) for kind, one in pictures.items()})


@pytest.fixture(scope="module")
def table():
    """The members of which these pictures are, a row each."""
    rows = []

    def add(kind, row, name, ids):
        said = {"foreground": "", "background": "", "flip": "", "placement": "", "number": ""} | ids
        fixed = {"archive": "a", "shard": "a", "width": SIDE, "height": SIDE, "reason": "", "cure": ""}
        rows.append({"kind": kind, "member": name, "digest": name, "row": row, "global_row": row} | fixed | said)

    for number in range(NUM_BACKGROUNDS):
        add("background", number, f"bg{number}", {"background": str(number)})
        add("background_depth", number, f"bg_depth{number}", {"background": str(number)})
    for number in range(NUM_BACKGROUNDS * PER_BACKGROUND):
        background, placement = divmod(number, PER_BACKGROUND)
        ids = {"foreground": "1", "background": str(background), "flip": "0", "placement": str(placement)}
        for kind in ("composite", "mask", "depth"):
            add(kind, number, f"{kind}{number}", ids)
    return pd.DataFrame(rows)


def index_of(arrays, table):
    return build_index(members_of(table, pd.DataFrame(), LAYOUT), arrays)


def with_maps(arrays, maps):
    return replace(arrays, background_depth=ShardedArray([np.asarray(maps, np.uint8)]))


def reasons(index):
    return dict(index.rejected[["member", "reason"]].to_numpy().tolist())


def rows_of(index):
    """Give the row of the map of each background."""
    return index.samples.groupby("background")["background_depth_row"].unique().map(list).to_dict()


def test_every_sample_gets_the_map_of_its_background(arrays, table):
    index = index_of(arrays, table)
    assert index.rejected.empty
    assert rows_of(index) == {number: [number] for number in range(NUM_BACKGROUNDS)}
    assert (index.num_backgrounds, index.num_background_depths) == (NUM_BACKGROUNDS, NUM_BACKGROUNDS)
    assert index.depth_agreement.share == 1


def test_without_any_map_nothing_is_said_of_them(arrays, table):
    index = index_of(replace(arrays, background_depth=None), table[table["kind"].ne("background_depth")])
    assert index.samples["background_depth_row"].eq(-1).all()
    assert index.num_background_depths == 0
    assert index.depth_agreement is None


def test_a_missing_map_costs_no_sample(arrays, table):
    index = index_of(arrays, table[table["member"].ne("bg_depth2")])
    assert index.rejected.empty
    assert len(index.samples) == NUM_BACKGROUNDS * PER_BACKGROUND
    assert rows_of(index)[2] == [-1]
    assert (index.num_backgrounds, index.num_background_depths) == (NUM_BACKGROUNDS, NUM_BACKGROUNDS - 1)


def test_a_map_without_its_background_is_named(arrays, table):
    lonely = table["member"].eq("bg_depth2")
    index = index_of(arrays, table.assign(background=table["background"].mask(lonely, "77")))
    assert reasons(index) == {"bg_depth2": "there is no background 77"}


def test_a_map_of_another_shape_is_named_with_both_sizes(arrays, table):
    wide = table["member"].eq("bg_depth2")
    index = index_of(arrays, table.assign(width=table["width"].mask(wide, 64)))
    assert reasons(index) == {"bg_depth2": "64x32 px, but its background 32x32 px"}
    assert rows_of(index)[2] == [-1]


def test_a_map_of_another_size_and_the_same_shape_is_taken(arrays, table):
    small = table["member"].eq("bg_depth2")
    index = index_of(arrays, table.assign(width=table["width"].mask(small, 16), height=table["height"].mask(small, 16)))
    assert index.rejected.empty


def test_an_inverted_map_is_named_and_the_others_are_used(arrays, scenes, table):
    maps = scenes.copy()
    maps[3] = 255 - maps[3]
    index = index_of(with_maps(arrays, maps), table)
    (reason,) = reasons(index).values()
    assert reason.startswith("it has near and far the other way round: correlation -1.00 with the depth of its compos")
    assert rows_of(index) == {number: [-1 if number == 3 else number] for number in range(NUM_BACKGROUNDS)}


def test_all_maps_inverted_are_all_named(arrays, scenes, table):
    index = index_of(with_maps(arrays, 255 - scenes), table)
    assert len(index.rejected) == NUM_BACKGROUNDS
    assert index.num_background_depths == 0
    assert index.depth_agreement is not None


def test_two_maps_that_were_exchanged_are_named_with_where_they_belong(arrays, scenes, table):
    index = index_of(with_maps(arrays, scenes[[1, 0, 2, 3, 4, 5]]), table)
    belongs = "it is that of background {}, as the depth of its composites says"
    assert reasons(index) == {"bg_depth0": belongs.format(1), "bg_depth1": belongs.format(0)}


def test_a_map_of_a_scene_that_is_nowhere_else_is_named(arrays, scenes, table):
    maps = scenes.copy()
    maps[4] = np.linspace(60, 200, SIDE)[:, None] + 60 * np.sin(np.arange(SIDE))
    (reason,) = reasons(index_of(with_maps(arrays, maps), table)).values()
    assert "with the depth of its composites off their objects" in reason


def see_roughly(scenes, seed=7):
    """As a network might: blurred, with bumps of its own, in another range."""
    bumps = gaussian_filter(np.random.default_rng(seed).standard_normal(scenes.shape), (0, 4, 4))
    seen = gaussian_filter(scenes.astype(float), (0, 3, 3)) * 0.6 + 20 + 12 * bumps / np.abs(bumps).max()
    return seen.clip(0, 255)


def test_the_maps_of_a_network_are_taken(arrays, scenes, table):
    index = index_of(with_maps(arrays, see_roughly(scenes)), table)
    assert index.rejected.empty
    assert index.depth_agreement.share == 1


def test_the_maps_of_a_network_that_are_numbered_otherwise_do_not_fit(arrays, scenes, table):
    index = index_of(with_maps(arrays, np.roll(see_roughly(scenes), 1, axis=0)), table)
    assert index.depth_agreement.share < 0.9


def test_a_flat_map_or_a_flat_scene_says_nothing_about_near_and_far(arrays, scenes, table):
    maps = scenes.copy()
    maps[0] = 128
    assert index_of(with_maps(arrays, maps), table).rejected.empty


def test_an_object_that_covers_all_leaves_nothing_to_compare(arrays, table):
    covered = arrays.mask.parts[0].copy()
    covered[:PER_BACKGROUND] = 1
    index = index_of(replace(arrays, mask=ShardedArray([covered])), table)
    assert index.rejected.empty


def test_a_copy_in_another_archive_counts_once_and_is_no_news(arrays, table):
    copies = table[table["kind"].eq("background_depth")].assign(archive="b")
    index = index_of(arrays, pd.concat([table, copies], ignore_index=True))
    assert index.rejected.empty
    assert index.num_background_depths == NUM_BACKGROUNDS


def test_two_different_maps_of_one_background_are_both_turned_down(arrays, table):
    other = table[table["member"].eq("bg_depth2")].assign(archive="b", digest="other")
    index = index_of(arrays, pd.concat([table, other], ignore_index=True))
    assert index.rejected["reason"].str.startswith("the same name with other content").tolist() == [True, True]
    assert rows_of(index)[2] == [-1]
