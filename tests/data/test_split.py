"""Splits hold out whole groups, never move a sample once placed, and say how to mend an empty one."""

import hashlib
import re
from itertools import cycle

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdepth.data.split import assign_splits, count_groups
from maskdepth.params import SplitParams

BY = ["background", "foreground", "both", "sample"]


def make_index(backgrounds, foregrounds, placements=(1, 2)):
    rows = [
        (f"{foreground}_{background}_0_{placement}", foreground, background, background)
        for foreground in foregrounds
        for background in backgrounds
        for placement in placements
    ]
    return pd.DataFrame(rows, columns=["sample_id", "foreground", "background", "place"]).assign(archive="one.zip")


def make_params(by="background", val=0.2, test=0.2, seed=0, train_only=()):
    return SplitParams(by=by, val=val, test=test, seed=seed, train_only=list(train_only))


# So many that no seed below leaves a split empty: 0.8 to the power of 60 is a millionth.
LARGE = make_index(range(1, 61), range(1, 61), placements=(1,))


@pytest.mark.parametrize(("by", "columns"), [("background", ["background"]), ("foreground", ["foreground"])])
@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_no_group_is_in_two_splits(by, columns, seed):
    splits = assign_splits(LARGE, make_params(by, seed=seed))
    per_group = splits.groupby([LARGE[column].to_numpy() for column in columns]).nunique()
    assert per_group.max() == 1


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_by_both_no_test_background_or_object_is_ever_trained_on(seed):
    table = LARGE.assign(split=assign_splits(LARGE, make_params("both", seed=seed)).to_numpy())
    train, test = table[table["split"] == "train"], table[table["split"] == "test"]
    assert not set(train["background"]) & set(test["background"])
    assert not set(train["foreground"]) & set(test["foreground"])


def test_by_both_mixed_holds_out_exactly_one_of_background_and_object():
    table = LARGE.assign(split=assign_splits(LARGE, make_params("both")).to_numpy())
    train, test, mixed = (table[table["split"] == name] for name in ("train", "test", "mixed"))
    is_background_held_out = mixed["background"].isin(test["background"])
    is_foreground_held_out = mixed["foreground"].isin(test["foreground"])
    assert (is_background_held_out ^ is_foreground_held_out).all()
    assert mixed.loc[~is_background_held_out, "background"].isin(train["background"]).all()
    assert mixed.loc[~is_foreground_held_out, "foreground"].isin(train["foreground"]).all()
    assert is_background_held_out.any()
    assert is_foreground_held_out.any()
    assert set(table["split"]) == {"train", "val", "test", "mixed", "unused"}


@pytest.mark.parametrize("by", BY)
@given(seed=st.integers(0, 1000), extra=st.integers(1, 30), share=st.floats(0.2, 0.9))
@settings(max_examples=10)
def test_adding_rows_moves_nothing(by, seed, extra, share):
    added = make_index(range(1, 61 + extra), range(1, 61 + extra), placements=(1, 2))
    shuffled = added.sample(frac=1, random_state=seed)
    params = make_params(by, val=0.3, test=0.3, seed=seed)
    assert assign_splits(shuffled, params)[LARGE["sample_id"]].equals(assign_splits(LARGE, params))


def test_places_are_those_of_the_published_rule():
    # The first 53 bits of sha256("0:place:<name>") as a share of one: 1 -> 0.11, 3 -> 0.41, 5 -> 0.78.
    index = make_index([1, 3, 5], [1], placements=(1,))
    splits = assign_splits(index, make_params(val=0.3, test=0.2))
    assert splits.to_dict() == {"1_1_0_1": "test", "1_3_0_1": "val", "1_5_0_1": "train"}
    assert splits.index.name == "sample_id"


def draw(text):
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 11) / 2**53


def test_samples_are_drawn_by_their_own_names():
    draws = {name: draw(f"0:sample:{name}") for name in LARGE["sample_id"]}
    splits = assign_splits(LARGE, make_params("sample"))
    assert set(splits.index[splits == "test"]) == {name for name, drawn in draws.items() if drawn < 0.2}


def test_a_share_ends_before_the_draw_that_equals_it():
    first, second = sorted((draw(f"0:place:{name}"), name) for name in (1, 3, 5))[:2]
    index = make_index(range(1, 30), [1], placements=(1,))
    at_first = assign_splits(index, make_params(test=first[0], val=0.5))
    assert at_first[f"1_{first[1]}_0_1"] == "val"
    test = second[0] / 2  # exact, as is its double
    assert assign_splits(index, make_params(test=test, val=test))[f"1_{second[1]}_0_1"] == "train"


def test_a_larger_test_share_only_adds_to_the_test():
    small, large = (assign_splits(LARGE, make_params(test=test)) for test in (0.1, 0.5))
    assert set(small.index[small == "test"]) < set(large.index[large == "test"])


def test_shares_are_shares_of_the_groups():
    index = make_index(range(1000), [1], placements=(1,))
    shares = assign_splits(index, make_params(val=0.1, test=0.3)).value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.3, abs=0.04)  # three standard deviations of 1000 draws
    assert shares["val"] == pytest.approx(0.1, abs=0.03)


def test_backgrounds_of_one_place_are_in_one_split():
    index = LARGE.assign(place=LARGE["background"] // 2)
    for seed in range(5):
        splits = assign_splits(index, make_params(seed=seed)).to_numpy()
        assert index.groupby(splits)["place"].unique().explode().is_unique


def test_text_ids_are_groups_too():
    index = make_index([f"room {number}" for number in range(30)], ["NA", "007"])
    assert set(assign_splits(index, make_params())) == {"train", "val", "test"}


@pytest.mark.parametrize("by", ["background", "foreground", "both"])
def test_an_empty_split_is_an_error_whose_seed_cures_it(by):
    index = make_index([1, 2, 3, 4], [1, 2, 3, 4])
    failing = next(seed for seed in range(100) if not _fills(index, by, seed))
    with pytest.raises(ValueError, match=f"split by {by}: nothing falls into .* of 4 ") as error:
        assign_splits(index, make_params(by, seed=failing))
    assert "nearly always enough" in str(error.value)
    suggested = re.search(r"split.seed=(\d+)", str(error.value))
    assert suggested
    assert set(assign_splits(index, make_params(by, seed=int(suggested[1])))) >= {"train", "val", "test"}


def _fills(index, by, seed):
    try:
        assign_splits(index, make_params(by, seed=seed))
    except ValueError:
        return False
    return True


def test_two_groups_cannot_fill_three_splits_whatever_the_seed():
    with pytest.raises(ValueError, match=r"of 2 places\. Use larger split.val and split.test, or more data: 14 p"):
        assign_splits(make_index([1, 2], [1]), make_params())


@pytest.mark.parametrize(
    ("by", "seed", "found", "needed"),
    [
        ("both", 2, "1 places and 2 foregrounds", "14 places and as many foregrounds"),
        ("sample", 5, "2 samples", "14 samples"),
    ],
)
def test_an_empty_split_is_told_with_what_is_there_and_what_is_needed(by, seed, found, needed):
    with pytest.raises(ValueError, match="split by") as error:
        assign_splits(make_index([3], [1, 2], placements=(1,)), make_params(by, seed=seed))
    assert str(error.value) == (
        f"split by {by}: nothing falls into val and test with split.val=0.2 and split.test=0.2 of {found}. Use larger "
        f"split.val and split.test, or more data: {needed} are nearly always enough"
    )


def test_counts_say_what_each_split_holds():
    index = make_index([1, 3, 5], [1, 2])
    counts = count_groups(index, assign_splits(index, make_params(val=0.3, test=0.2)), "background")
    assert counts.to_dict("index") == {name: {"samples": 4, "places": 1} for name in ("train", "val", "test")}


# Photographs, and drawn scenes of which some show the places and objects of photographs.
PHOTOGRAPHS = make_index(range(1, 41), range(1, 41), placements=(1,))
DRAWN = make_index(range(31, 71), range(31, 71), placements=(2,)).assign(archive="drawn-1.zip")
BESIDE = pd.concat([PHOTOGRAPHS, DRAWN], ignore_index=True)


@pytest.mark.parametrize("by", BY)
def test_what_trains_only_is_tested_on_nowhere_and_shows_nothing_that_is_held_out(by):
    alone = assign_splits(PHOTOGRAPHS, make_params(by))
    splits = assign_splits(BESIDE, make_params(by, train_only=["drawn*"]))
    assert splits[: len(PHOTOGRAPHS)].astype(str).tolist() == alone.astype(str).tolist()
    drawn = splits[len(PHOTOGRAPHS) :]
    assert set(drawn) == ({"train"} if by == "sample" else {"train", "unused"})
    table = BESIDE.assign(split=splits.astype(str).to_numpy())
    for column in {"background": ["place"], "foreground": ["foreground"], "both": ["place", "foreground"]}.get(by, []):
        held_out = table.loc[table["split"].isin(["val", "test"]), column]
        assert not set(held_out) & set(table.loc[table["split"] == "train", column])
        new = table[(table["archive"] == "drawn-1.zip") & (table[column] > 40)]
        assert by == "both" or set(new["split"]) == {"train"}


@pytest.mark.parametrize(
    ("number", "told"), [(2, "a, b"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e, ..."), (7, "a, b, c, d, e, ...")]
)
def test_an_archive_that_is_not_there_cannot_train_only(number, told):
    index = BESIDE.assign(archive=[name for name, _ in zip(cycle("abcdefg"[:number]), BESIDE.index, strict=False)])
    with pytest.raises(ValueError) as caught:
        assign_splits(index, make_params(train_only=["a", "drwan*"]))
    assert str(caught.value) == f"split.train_only: no archive is called drwan*, only {told}"


def test_where_nothing_is_left_to_test_on_the_archives_that_train_only_are_not_counted():
    few = pd.concat([make_index([1], [1]), DRAWN], ignore_index=True)
    with pytest.raises(ValueError, match=r"nothing falls into .* of 1 places"):
        assign_splits(few, make_params(train_only=["drawn-1.zip"]))
