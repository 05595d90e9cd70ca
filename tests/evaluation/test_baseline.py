"""Proves that each baseline answers as it says and knows nothing more, and that masks are cleaned one by one."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from support.batches import cut, square_batch

from maskdepth.data.batches.batches import GIVEN_DEPTH, UNKNOWN_DEPTH
from maskdepth.evaluation.baseline import (
    clean_masks,
    copy_backgrounds,
    fit_ramp,
    guess_depths,
    guess_masks,
    mean_depths,
    measure_baselines,
)
from maskdepth.metrics.names import HEADLINE


class InOrder(list):
    """Batches that are gone through again and again, as those of a table are."""

    @property
    def knows_depth(self):
        return self[0].background_depth is not None

    def in_order(self):
        return iter(self)


def test_the_difference_finds_what_differs():
    batch = square_batch()
    (guessed,) = guess_masks([batch])
    assert ((guessed.prediction.mask_logits > 0) == batch.mask.bool()).all()


def test_the_mean_depths_do_not_depend_on_the_batches():
    batch, places = square_batch(4), ["a", "b", "a", "b"]
    whole, parts = (mean_depths(batches, places, {"a"}) for batches in ([batch], cut(batch, 1)))
    torch.testing.assert_close(whole.overall, batch.targets()[1].mean(0))
    torch.testing.assert_close(parts.overall, whole.overall)
    assert whole.by_place.keys() == {"a"} == parts.by_place.keys()
    torch.testing.assert_close(whole.by_place["a"], batch.targets()[1][[0, 2]].mean(0))
    torch.testing.assert_close(parts.by_place["a"], whole.by_place["a"])


def test_the_ramp_is_the_best_of_its_kind_for_all_maps_together():
    maps = torch.rand(5, 1, 6, 9, generator=torch.Generator().manual_seed(0)).double()
    fitted = fit_ramp(maps.mean(0)).double()
    error = (maps - fitted).square().sum()
    down, right = torch.meshgrid(torch.linspace(-1, 1, 6), torch.linspace(-1, 1, 9), indexing="ij")
    for term in (torch.ones(6, 9), down, down**2, right, right**2):
        for step in (-0.01, 0.01):
            assert (maps - fitted - step * term).square().sum() > error


def test_every_sample_gets_the_map_of_its_place():
    batch = square_batch(3)
    near, far = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    guessed = list(guess_depths(cut(batch, 2), ["a", "b", "a"], {"a": near}, far))
    depths = torch.cat([each.prediction.depth for each in guessed])
    assert depths.amax((1, 2, 3)).tolist() == [0, 1, 0]


def test_places_that_training_saw_are_remembered_and_others_are_not():
    train, test = InOrder(cut(square_batch(4), 3)), InOrder(cut(square_batch(2), 1))
    train_rows = pd.DataFrame({"background": [1, 1, 2, 2]})
    new, seen = (measure_baselines(train, train_rows, test, pd.DataFrame({"background": b})) for b in ([3, 4], [1, 4]))
    assert list(new) == ["difference", "mean_map", "ramp"]
    assert list(seen) == [*new, "remembered"]
    assert {name for table in seen.values() for name in table} == set(HEADLINE)
    # The second place is new, so it is answered with the mean of all.
    pd.testing.assert_series_equal(seen["remembered"].iloc[1], seen["mean_map"].iloc[1])


def known_batch():
    """Three squares; the depth of the background is a ramp, unknown of the last one."""
    batch = square_batch(3)
    ramp = torch.linspace(255, 0, 32).round().view(1, 1, 32, 1).expand(3, 1, 32, 32)
    depth = torch.cat([ramp, torch.full_like(ramp, GIVEN_DEPTH)], 1).byte()
    depth[2] = UNKNOWN_DEPTH
    return batch._replace(background_depth=depth)


def test_the_depth_of_the_background_is_given_back_where_it_is_known():
    batch = known_batch()
    otherwise = torch.full((1, 32, 32), 0.4)
    (copied,) = copy_backgrounds([batch], otherwise, has_plane=False)
    known = batch.background_depth[:2, :1] / 255
    torch.testing.assert_close(copied.prediction.depth[:2], known)
    torch.testing.assert_close(copied.prediction.depth[2], otherwise)
    outside = batch.mask[:2] == 0
    torch.testing.assert_close(known[outside], batch.targets()[1][:2][outside], atol=1.5 / 255, rtol=0)


def test_a_plane_stands_where_the_pictures_differ_as_near_as_the_ground_at_its_foot():
    batch = known_batch()
    (planes,) = copy_backgrounds([batch], torch.full((1, 32, 32), 0.4), has_plane=True)
    (copied,) = copy_backgrounds([batch], torch.full((1, 32, 32), 0.4), has_plane=False)
    inside = batch.mask.bool()
    foot = batch.background_depth[0, 0, 19, 0] / 255  # all squares end at row 19
    for sample in (0, 1):
        assert planes.prediction.depth[sample][inside[sample]].unique().tolist() == [foot.item()]
    outside = ~inside
    assert torch.equal(planes.prediction.depth[outside], copied.prediction.depth[outside])


def test_a_plane_under_nothing_is_the_scene():
    batch = known_batch()
    empty = batch._replace(composite=batch.background)
    (planes,) = copy_backgrounds([empty], torch.full((1, 32, 32), 0.4), has_plane=True)
    (copied,) = copy_backgrounds([empty], torch.full((1, 32, 32), 0.4), has_plane=False)
    assert torch.equal(planes.prediction.depth, copied.prediction.depth)


def test_baselines_copy_the_background_where_its_depth_is_given_and_there_alone():
    rows = pd.DataFrame({"background": [3, 4, 5]})
    train_rows = pd.DataFrame({"background": [1, 1, 2]})
    measured = measure_baselines(InOrder([square_batch(3)]), train_rows, InOrder([known_batch()]), rows)
    assert list(measured) == ["difference", "mean_map", "ramp", "copied_background", "plane_under_mask"]
    copied, plane = measured["copied_background"], measured["plane_under_mask"]
    assert (plane["depth_ssim"][:2] > copied["depth_ssim"][:2]).all()
    assert (plane["depth_mae_foreground"][:2] < copied["depth_mae_foreground"][:2]).all()
    pd.testing.assert_series_equal(copied.iloc[2], measured["mean_map"].iloc[2])


def test_cleaning_fills_holes_and_keeps_the_largest_region():
    raw = np.zeros((1, 16, 16), bool)
    raw[0, 4:12, 4:12] = True
    raw[0, 7:9, 7:9] = False  # a hole
    raw[0, 0, 0] = True  # a speck
    clean = clean_masks(raw)
    assert clean[0, 4:12, 4:12].all()
    assert clean.sum() == 64


def test_cleaning_nothing_gives_nothing():
    assert not clean_masks(np.zeros((2, 8, 8), bool)).any()


def clean_one(raw: np.ndarray) -> np.ndarray:
    """Clean a single mask step by step."""
    closed = ndimage.binary_closing(np.pad(raw, 1), structure=np.ones((3, 3)))[1:-1, 1:-1] | raw
    regions, _ = ndimage.label(ndimage.binary_fill_holes(closed))
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return (regions == sizes.argmax()) & (regions > 0)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.9])
def test_masks_are_cleaned_as_if_each_were_alone(share):
    random = np.random.default_rng(0)
    raw = ndimage.gaussian_filter(random.random((40, 14, 11)), (0, 1, 1))
    raw = raw < np.quantile(raw, share)
    raw[3], raw[4] = False, True
    np.testing.assert_array_equal(clean_masks(raw), np.stack([clean_one(mask) for mask in raw]))
