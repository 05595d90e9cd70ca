"""The pixels tell whether composites were given their own backgrounds, and which mapping gives them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.toy import draw_background, draw_sample
from support.toy_arrays import decode_folder, make_toy_arrays

from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.index.joining import build_index
from maskdepth.data.index.pairing import (
    background_differences,
    find_rows,
    is_fitting,
    pick_free_points,
    pick_points,
)
from maskdepth.data.keys import choose_some
from maskdepth.data.layouts.layout import read_layouts


def shift_labels(folder, by):
    """Name the wrong background in every line of labels.txt."""
    path = folder / "labels.txt"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    for line in lines:
        number = int(line[0].removeprefix("Background/bg").removesuffix(".jpg"))
        line[0] = f"Background/bg{(number - 1 + by) % 3 + 1}.jpg"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))


def test_differences_worked_by_hand():
    composite = np.array([[[[10, 10, 10], [90, 90, 90]]]], np.uint8)  # one picture of 1 x 2 points
    background = np.array([[[[10, 13, 16], [0, 0, 0]]]], np.uint8)
    free = np.array([[[True, False]]])
    assert background_differences(composite, free, background).tolist() == [3.0]  # (0 + 3 + 6) / 3
    assert background_differences(composite, np.ones((1, 1, 2), bool), background).tolist() == [46.5]
    assert np.isnan(background_differences(composite, np.zeros((1, 1, 2), bool), background)).all()


def test_differences_equal_a_plain_loop():
    random = np.random.default_rng(0)
    composites, backgrounds = random.integers(0, 256, (2, 5, 7, 6, 3), dtype=np.uint8)
    free = random.random((5, 7, 6)) > 0.3
    pairs = zip(composites.astype(float), backgrounds.astype(float), free, strict=True)
    expected = [np.abs(composite - background)[points].mean() for composite, background, points in pairs]
    np.testing.assert_allclose(background_differences(composites, free, backgrounds), expected)


def test_a_composite_is_its_background_off_the_object():
    sample = draw_sample(1, 2, 0, 1)
    free = pick_free_points(sample.mask[None])
    assert not free[pick_points(sample.mask[None]) == 1].any()
    composite, background = (pick_points(picture[None]) for picture in (sample.composite, draw_background(2)))
    assert background_differences(composite, free, background).tolist() == [0.0]


def test_the_soft_border_of_the_object_is_not_compared():
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 10, 10] = 1
    assert (~pick_free_points(mask)[0]).nonzero()[0].tolist() == [9, 9, 9, 10, 10, 10, 11, 11, 11]


@pytest.mark.parametrize(("size", "points"), [(8, 8), (20, 20), (21, 11), (224, 19)])
def test_the_grid_has_at_most_twenty_points_a_side(size, points):
    assert pick_points(np.zeros((2, size, size, 3), np.uint8)).shape == (2, points, points, 3)


def test_what_fits_is_as_near_as_the_nearest_or_nearly_so():
    nearest = np.array([0.0, 0.0, 10.0, 10.0])
    assert is_fitting(np.array([2.0, 2.1, 17.0, 17.1]), nearest).tolist() == [True, False, True, False]


def test_the_choice_does_not_depend_on_the_order():
    names = pd.Series([f"picture {number}" for number in range(100)])
    shuffled = names.sample(frac=1, random_state=0)
    chosen, again = names.iloc[choose_some(names, 10)], shuffled.iloc[choose_some(shuffled, 10)]
    assert set(chosen) == set(again)
    assert len(set(chosen)) == 10


def test_rows_are_found_however_a_number_is_spelled():
    backgrounds = pd.Series([4, 6], index=["1", "02"])
    rows = find_rows(pd.Series(["2", "001", "3", ""], index=[7, 8, 9, 10]), backgrounds)
    assert rows.dropna().to_dict() == {7: 6, 8: 4}
    assert rows.index.tolist() == [7, 8, 9, 10]


def test_right_labels_are_kept(tmp_path):
    (pairing,) = build_index(*make_toy_arrays(tmp_path, "mshilpaa")).pairings
    assert (pairing.mapping, pairing.compared, pairing.fitting) == ("labels", 24, 24)


def test_wrong_labels_are_found_and_the_mapping_that_fits_is_used(tmp_path):
    right = make_toy_arrays(tmp_path, "mshilpaa")
    shift_labels(tmp_path, by=1)
    index = build_index(*decode_folder(tmp_path, read_layouts()["mshilpaa"]))
    used = index.pairings[-1]
    assert (used.mapping, used.share) == ("generated", 1.0)
    assert {pairing.mapping: pairing.fitting for pairing in index.pairings}["labels"] == 0
    expected = build_index(*right).samples
    pd.testing.assert_frame_equal(index.samples, expected)


def test_missing_labels_lead_to_the_next_mapping(tmp_path):
    make_toy_arrays(tmp_path, "mshilpaa")
    (tmp_path / "labels.txt").unlink()
    layout = read_layouts()["mshilpaa"]
    index = build_index(*decode_folder(tmp_path, layout))
    assert index.pairings[-1].mapping == "generated"
    assert len(index.samples) == 24


def test_names_that_pair_nothing_are_an_error_with_the_shares(tmp_path):
    members, arrays = make_toy_arrays(tmp_path)
    turned = replace(arrays, background=ShardedArray([arrays.background.parts[0][[1, 2, 0]]]))
    with pytest.raises(ValueError, match=r"by mapping 'explicit' 0\.0 %; at least 90 % must fit.*data\.layout"):
        build_index(members, turned)


def test_backgrounds_that_look_alike_all_fit(tmp_path):
    members, arrays = make_toy_arrays(tmp_path)
    flat = np.broadcast_to(np.array([99, 100, 101], np.uint8)[:, None, None, None], arrays.background.shape)
    grey = np.full(arrays.composite.shape, 100, np.uint8)
    index = build_index(members, replace(arrays, background=ShardedArray([flat]), composite=ShardedArray([grey])))
    assert index.pairings[0].fitting == 24


def test_a_single_background_tells_nothing_and_is_accepted(tmp_path):
    index = build_index(*make_toy_arrays(tmp_path, backgrounds=(7,)))
    assert (index.pairings[0].compared, len(index.samples)) == (0, 8)


def test_objects_that_fill_the_picture_tell_nothing_and_are_accepted(tmp_path):
    members, arrays = make_toy_arrays(tmp_path)
    full = replace(arrays, mask=ShardedArray([np.ones(arrays.mask.shape, np.uint8)]))
    index = build_index(members, full)
    assert (index.pairings[0].compared, len(index.samples)) == (0, 24)
