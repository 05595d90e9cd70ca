"""Proves that a data set from a hand-held camera is laid straight, and that one from a tripod is not touched."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.index import registered
from maskdepth.data.index.registered import register_where_needed

SIDE, SCENES, EACH = 64, 5, 6
COUNT = SCENES * EACH
MARGIN = 8


def draw_scene(rng):
    """Draw structure at several scales, with a margin around the view: float (S + 16, S + 16, 3)."""
    size = SIDE + 2 * MARGIN
    noise = [ndimage.gaussian_filter(rng.normal(size=(size, size, 3)), (b, b, 0), mode="wrap") * b for b in (1, 3, 9)]
    return np.clip(35 * sum(noise) + 120, 20, 220)


def view(picture, down=0.0, right=0.0):
    """Look at the middle of a picture (h, w, ...) from beside it: uint8."""
    moved = ndimage.shift(picture, (-down, -right, *(0,) * (picture.ndim - 2)), order=1, mode="nearest")
    return moved[MARGIN:-MARGIN, MARGIN:-MARGIN].round().astype(np.uint8)


def make_world(motion):
    """Give samples and arrays whose backgrounds were seen from up to `motion` pixels beside their composites."""
    rng = np.random.default_rng(3)
    scenes = [draw_scene(rng) for _ in range(SCENES)]
    depths = [np.clip(ndimage.gaussian_filter(rng.normal(size=(80, 80)), 8) * 900 + 128, 0, 255) for _ in range(SCENES)]
    shifts = rng.uniform(-motion, motion, (COUNT, 2))
    composites, masks, depth_maps = [], [], []
    for number in range(COUNT):
        scene, shift = number // EACH, shifts[number]
        mask = np.zeros((SIDE, SIDE), np.uint8)
        top, left = rng.integers(0, SIDE - 24, 2)
        mask[top : top + 24, left : left + 16] = 1
        composites.append(np.where(mask[..., None], np.array([230, 40, 200], np.uint8), view(scenes[scene], *shift)))
        masks.append(mask)
        depth_maps.append(np.where(mask, 10, view(depths[scene], *shift)).astype(np.uint8))
    arrays = Arrays(
        SIDE,
        *(ShardedArray([np.stack(some)]) for some in (list(map(view, scenes)), composites, masks, depth_maps)),
        ShardedArray([np.stack(list(map(view, depths)))]),
    )
    rows = np.arange(COUNT)
    scene_rows = rows // EACH
    samples = pd.DataFrame(
        {"sample_id": [f"s{row}" for row in rows], "background_digest": [f"d{row}" for row in scene_rows]}
        | {f"{kind}_row": rows for kind in ("composite", "mask", "depth")}
        | {f"{kind}_row": scene_rows for kind in ("background", "background_depth")}
    )
    return samples, arrays


def apart(samples, arrays, one, other):
    """Give the mean difference of two kinds off the object, of each sample."""
    first, second = (
        getattr(arrays, kind).take(samples[f"{kind}_row"].to_numpy()).astype(float).reshape(COUNT, SIDE, SIDE, -1)
        for kind in (one, other)
    )
    inner = np.zeros((SIDE, SIDE), bool)
    inner[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    free = (arrays.mask.take(samples["mask_row"].to_numpy()) == 0) & inner
    return np.array([np.abs(a - b)[where].mean() for a, b, where in zip(first, second, free, strict=True)])


def behind(arrays, folder):
    """Put what was registered behind the arrays, as `read_arrays` does."""
    more = {kind: np.load(folder / f"{kind}.npy") for kind in ("background", "background_depth")}
    parts = {kind: [*getattr(arrays, kind).parts, more[kind]] for kind in more}
    return Arrays(
        SIDE,
        ShardedArray(parts["background"]),
        arrays.composite,
        arrays.mask,
        arrays.depth,
        ShardedArray(parts["background_depth"]),
    )


def test_each_sample_of_a_moved_camera_gets_a_background_of_its_own(tmp_path):
    samples, arrays = make_world(motion=2.5)
    laid = register_where_needed(samples, arrays, "auto", tmp_path)
    moved = laid.samples["background_row"].ge(SCENES).to_numpy()
    assert laid.probed.is_needed
    assert laid.verdicts.total() == COUNT
    assert laid.verdicts["registered"] == moved.sum() >= 0.9 * COUNT
    assert laid.samples["background_row"][moved].is_monotonic_increasing
    now = behind(arrays, tmp_path)
    before, after = (apart(*world, "background", "composite") for world in ((samples, arrays), (laid.samples, now)))
    assert (after[moved] < 0.5 * before[moved]).mean() > 0.9
    np.testing.assert_array_equal(after[~moved], before[~moved])


def test_the_depth_of_a_background_moves_with_it(tmp_path):
    samples, arrays = make_world(motion=2.5)
    laid = register_where_needed(samples, arrays, "auto", tmp_path)
    now = behind(arrays, tmp_path)
    before, after = (apart(*world, "background_depth", "depth") for world in ((samples, arrays), (laid.samples, now)))
    assert after.mean() < 0.5 * before.mean()


def test_a_background_without_a_depth_map_still_has_none(tmp_path):
    samples, arrays = make_world(motion=2.5)
    samples.loc[samples["background_row"].eq(2), "background_depth_row"] = -1
    laid = register_where_needed(samples, arrays, "auto", tmp_path).samples
    assert laid["background_depth_row"].lt(0).equals(samples["background_row"].eq(2))
    now = behind(arrays, tmp_path)
    known = laid["background_depth_row"].ge(0).to_numpy()
    shown = laid.assign(background_depth_row=laid["background_depth_row"].clip(0))
    assert apart(shown, now, "background_depth", "depth")[known].mean() < 3


@pytest.mark.parametrize(("motion", "how"), [(0.0, "auto"), (2.5, "off")])
def test_a_tripod_or_a_wish_leaves_all_as_it_is(tmp_path, motion, how):
    samples, arrays = make_world(motion)
    laid = register_where_needed(samples, arrays, how, tmp_path)
    assert laid.samples is samples
    assert not laid.verdicts
    assert laid.probed.is_needed == (motion > 0)
    assert np.load(tmp_path / "background.npy").shape == (0, SIDE, SIDE, 3)
    assert np.load(tmp_path / "background_depth.npy").shape == (0, SIDE, SIDE)


def test_processes_write_the_same_bytes(tmp_path, monkeypatch):
    samples, arrays = make_world(motion=2.5)
    register_where_needed(samples, arrays, "auto", tmp_path / "alone")
    monkeypatch.setattr(registered, "_FEW", 1)
    monkeypatch.setattr(registered, "_CHUNK", 7)
    monkeypatch.setattr(registered, "usable_cores", lambda: 2)
    register_where_needed(samples, arrays, "auto", tmp_path / "together")
    for name in ("background.npy", "background_depth.npy"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()
