"""Proves that augmentation keeps the labels true, stays in range, and is decided by its seed alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from maskdepth.data.batches import augmentation
from maskdepth.data.batches.augmentation import AUGMENTATIONS, flip, scene
from maskdepth.data.batches.augmentation import augment as augment_by
from maskdepth.data.batches.batches import ESTIMATED_DEPTH, GIVEN_DEPTH, UNKNOWN_DEPTH, Batch


def draw_batch(size=64, side=16):
    generator = torch.Generator().manual_seed(0)
    levels = {"generator": generator, "dtype": torch.uint8}
    background, composite = torch.randint(0, 256, (2, size, 3, side, side), **levels)
    mask = torch.randint(0, 2, (size, 1, side, side), **levels)
    mask[:, :, : side // 2] = 0
    depth = torch.randint(0, 256, (size, 1, side, side), **levels)
    return Batch(background, composite, mask, depth, [str(number) for number in range(size)])


def augment(batch, names, seed):
    return augment_by(batch, names, torch.Generator().manual_seed(seed))


def are_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_alone_decides(name):
    batch = draw_batch()
    once = augment(batch, [name], 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert are_equal(augment(batch, [name], 1), once)
    assert torch.equal(torch.get_rng_state(), before)
    assert not are_equal(augment(batch, [name], 2), once)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_batch_itself_is_left_alone_and_the_result_is_pictures_again(name):
    batch = draw_batch()
    changed = augment(batch, [name], 1)
    assert are_equal(batch, draw_batch())
    assert all(after.dtype == torch.uint8 for after in changed[:4])
    assert all(after.shape == before.shape for after, before in zip(changed[:4], batch[:4], strict=True))
    assert changed.sample_ids == batch.sample_ids


def test_no_names_change_nothing():
    assert are_equal(augment(draw_batch(), [], 1), draw_batch())


def test_flip_mirrors_all_pictures_of_a_sample_or_none():
    batch = draw_batch()
    flipped = augment(batch, ["flip"], 1)
    mirrored = 0
    for position in range(len(batch.mask)):
        before = [picture[position] for picture in batch[:4]]
        after = [picture[position] for picture in flipped[:4]]
        is_mirrored = torch.equal(after[0], before[0].flip(-1))
        mirrored += is_mirrored
        for one, other in zip(before, after, strict=True):
            assert torch.equal(other, one.flip(-1) if is_mirrored else one)
    assert 16 < mirrored < 48


def test_cutout_paints_the_same_hole_into_both_pictures_and_spares_the_labels():
    batch = draw_batch()
    cut = augment(batch, ["cutout"], 1)
    holes = [(after != before).any(1) for after, before in zip(cut[:2], batch[:2], strict=True)]
    assert torch.equal(*holes)
    assert torch.equal(cut.mask, batch.mask)
    assert torch.equal(cut.depth, batch.depth)
    assert cut.composite[holes[0].unsqueeze(1).expand(-1, 3, -1, -1)].unique().tolist() == [153]
    share = holes[0].flatten(1).float().mean(1)
    assert 16 < (share > 0).sum() < 48
    assert share.max() < 0.15


def test_flip_and_cutout_choose_their_samples_apart():
    batch = draw_batch(256)
    both = augment(batch, ["flip", "cutout"], 1)
    is_flipped = (both.mask != batch.mask).flatten(1).any(1)
    mirrored = torch.where(is_flipped.view(-1, 1, 1, 1), batch.composite.flip(-1), batch.composite)
    is_cut = (both.composite != mirrored).flatten(1).any(1)
    assert 100 < (is_flipped != is_cut).sum() < 156


def test_holes_reach_every_place_and_have_the_shapes_that_are_allowed():
    batch = draw_batch(512)
    holes = (augment(batch, ["cutout"], 3).composite != batch.composite).any(1)
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert rows.min() == 0
    assert 1 < rows[rows > 0].float().mean() < 6
    assert ((rows * columns)[rows > 0] <= 0.15 * 16 * 16).all()
    assert holes.any(0).any(0).all() and holes.any(0).any(1).all()


def draw_scene_batch(size=64, side=48):
    """A ramp as depth, and as pictures of it, with one dark near square as the object."""
    rows, columns = torch.arange(float(side)).view(-1, 1), torch.arange(float(side))
    ramp = (40 + 3 * rows + columns).round().byte().expand(size, 1, side, side)
    mask = torch.zeros_like(ramp)
    mask[:, :, 20:32, 16:28] = 1
    background = ramp.expand(size, 3, side, side)
    composite = background.masked_fill(mask > 0, 9)
    return draw_batch(size)._replace(
        background=background, composite=composite, mask=mask, depth=ramp.masked_fill(mask > 0, 15)
    )


def change_all(monkeypatch, batch, **settings):
    calm = {"_SCENE_SHARE": 1.0, "_CROP_AREA": (1.0, 1.0), "_GAMMA": 1.0, "_GAIN": 1.0, "_SATURATION": 1.0}
    for name, value in (calm | settings).items():
        monkeypatch.setattr(augmentation, name, value)
    return augment(batch, ["scene"], 1)


def test_scene_changes_half_of_the_samples_and_all_their_pictures():
    batch = draw_scene_batch(200)
    changed = augment(batch, ["scene"], 1)
    is_changed = [(after != before).flatten(1).any(1) for after, before in zip(changed[:4], batch[:4], strict=True)]
    assert torch.equal(is_changed[0], is_changed[1])
    assert 70 < is_changed[0].sum() < 130
    for labels in is_changed[2:]:  # the smallest crops move no edge
        assert (labels <= is_changed[0]).all()
        assert labels.sum() > 0.9 * is_changed[0].sum()


def test_scene_without_a_cause_changes_nothing(monkeypatch):
    assert are_equal(change_all(monkeypatch, draw_scene_batch()), draw_scene_batch())


def test_scene_shows_the_same_part_in_every_picture_and_stretches_its_depth_to_the_range_of_the_whole(monkeypatch):
    batch = draw_scene_batch()
    changed = change_all(monkeypatch, batch, _CROP_AREA=(0.4, 0.5))
    assert not (changed.mask == batch.mask).flatten(1).all(1).any()
    whole = batch.depth[0][batch.mask[0] == 0].float().quantile(torch.tensor([0.01, 0.99]))
    for position in range(len(batch.mask)):
        behind = torch.from_numpy(~ndimage.binary_dilation(changed.mask[position, 0].numpy(), iterations=2))
        depth, seen = (picture[position, 0][behind].float() for picture in (changed.depth, changed.background))
        assert torch.corrcoef(torch.stack([depth, seen]))[0, 1] > 0.998  # the picture was the depth, and still is
        assert (depth.quantile(torch.tensor([0.01, 0.99])) - whole).abs().max() < 3
        thing = ndimage.binary_erosion(changed.mask[position, 0].numpy(), iterations=2)
        assert set(changed.composite[position, 0].numpy()[thing]) == {9}
        assert (changed.mask[position].sum() / batch.mask[position].sum()).item() == pytest.approx(1 / 0.45, rel=0.6)


def test_scene_reaches_every_border(monkeypatch):
    batch = draw_scene_batch(256)._replace(mask=torch.zeros(256, 1, 48, 48, dtype=torch.uint8))
    seen = change_all(monkeypatch, batch, _CROP_AREA=(0.4, 0.5)).background
    assert seen.min() == batch.background.min() or seen.min() < batch.background.min() + 6
    assert seen.max() > batch.background.max() - 6


def test_scene_keeps_a_picture_whole_where_a_part_would_be_a_flat_wall_or_lose_the_object(monkeypatch):
    batch = draw_scene_batch()
    wall = torch.full_like(batch.depth, 100)
    wall[:, :, -1] = 250
    changed = change_all(monkeypatch, batch._replace(depth=wall), _CROP_AREA=(0.4, 0.5))
    is_changed = (changed.mask != batch.mask).flatten(1).any(1)
    assert 0 < is_changed.sum() < 40
    assert (changed.depth[is_changed, :, -2:].amax((1, 2, 3)) >= 248).all()  # the lowest row is still seen
    assert torch.equal(changed.depth[~is_changed], wall[~is_changed])
    corner = torch.zeros_like(batch.mask)
    corner[:, :, :4, :4] = 1
    changed = change_all(monkeypatch, batch._replace(mask=corner), _CROP_AREA=(0.4, 0.5))
    assert (changed.mask.flatten(1).sum(1) >= 8).all()


def test_scene_changes_the_light_of_both_pictures_alike_and_of_neither_label(monkeypatch):
    batch = draw_scene_batch()
    coloured = torch.cat([batch.background[:, :1], batch.background[:, 1:] // 2], 1)
    batch = batch._replace(background=coloured, composite=torch.where(batch.mask > 0, batch.composite, coloured))
    lit = change_all(monkeypatch, batch, _GAMMA=1.4, _GAIN=1.25, _SATURATION=1.6)
    assert torch.equal(lit.depth, batch.depth) and torch.equal(lit.mask, batch.mask)
    behind = (batch.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(lit.background[behind], lit.composite[behind])
    brightness = lit.background.float().mean((1, 2, 3)) / batch.background.float().mean((1, 2, 3))
    assert brightness.min() < 0.8 and brightness.max() > 1.2
    colour = (lit.background[:, 0].float() - lit.background[:, 1].float()).mean((1, 2)) / brightness
    assert colour.max() > 1.3 * colour.min()


def test_scene_does_to_the_depth_of_the_background_what_it_does_to_the_depth():
    batch = draw_scene_batch()._replace(mask=torch.zeros(64, 1, 48, 48, dtype=torch.uint8))
    known = torch.full_like(batch.depth, GIVEN_DEPTH)
    changed = scene(batch._replace(background_depth=torch.cat([batch.depth, known], 1)), torch.Generator())
    levels, told = changed.background_depth.chunk(2, 1)
    assert torch.equal(levels, changed.depth)
    assert not torch.equal(levels, batch.depth)
    assert torch.equal(told, known)


def jitter_all(monkeypatch, batch, **settings):
    for name, value in {"_JITTER_SHARE": 1.0, "_LARGEST_SHIFT": 0.0, "_LARGEST_GAIN": 0.0, "_STRONGEST_NOISE": 0.0,
                        "_COMPRESSED_SHARE": 0.0, **settings}.items():  # fmt: skip
        monkeypatch.setattr(augmentation, name, value)
    return augment(batch, ["camera_jitter"], 1)


def draw_smooth_batch(size=64):
    """As `draw_batch`, with pictures of gentle waves, three blocks of JPEG and a part wide."""
    rows, columns = torch.arange(28.0).view(-1, 1), torch.arange(28.0)
    waves = torch.stack([(rows / 5 + k).sin() + (columns / 4 + k).cos() for k in range(3)])
    levels = (128 + 33 * waves).round().byte().expand(size, 3, 28, 28)
    return draw_batch(size, side=28)._replace(background=levels, composite=levels)


def test_camera_jitter_changes_one_sample_in_ten_and_no_label():
    batch = draw_batch(1000)
    jittered = augment(batch, ["camera_jitter"], 1)
    is_changed = [(after != before).flatten(1).any(1) for after, before in zip(jittered[:2], batch[:2], strict=True)]
    assert torch.equal(*is_changed)
    assert 70 < is_changed[0].sum() < 130
    assert all(torch.equal(after, before) for after, before in zip(jittered[2:4], batch[2:4], strict=True))


def test_camera_jitter_without_a_cause_changes_nothing(monkeypatch):
    assert are_equal(jitter_all(monkeypatch, draw_batch()), draw_batch())


def test_camera_jitter_lights_the_background_by_four_per_cent_at_most(monkeypatch):
    batch = draw_batch()._replace(background=torch.full((64, 3, 16, 16), 200, dtype=torch.uint8))
    lit = jitter_all(monkeypatch, batch, _LARGEST_GAIN=0.04)
    gain = lit.background.float().mean((2, 3)) / 200 - 1
    assert 0.03 < gain.abs().max() < 0.043
    assert gain.std(1).mean() > 0.01  # each channel for itself
    assert torch.equal(lit.composite, batch.composite)


def test_camera_jitter_moves_the_background_by_less_than_a_pixel_in_every_direction(monkeypatch):
    batch = draw_smooth_batch()
    moved = jitter_all(monkeypatch, batch, _LARGEST_SHIFT=0.75)
    assert torch.equal(moved.composite, batch.composite)
    before, after = (picture[:, 0].double().numpy() for picture in (batch.background, moved.background))
    found = []
    for one, other in zip(before, after, strict=True):
        errors = {
            (down, right): np.abs(ndimage.shift(one, (down, right), order=3) - other)[4:-4, 4:-4].mean()
            for down in np.arange(-1, 1.01, 0.25)
            for right in np.arange(-1, 1.01, 0.25)
        }
        found.append(min(errors, key=errors.get))
        assert min(errors.values()) < 2
    assert np.abs(found).max() == 0.75
    assert np.ptp(found, axis=0).tolist() == [1.5, 1.5]


def test_camera_jitter_adds_noise_to_both_pictures_apart(monkeypatch):
    grey = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    batch = draw_batch()._replace(background=grey, composite=grey)
    noisy = jitter_all(monkeypatch, batch, _STRONGEST_NOISE=8.0)
    first, second = (picture.double().flatten(1) - 128 for picture in noisy[:2])
    assert 7 < first.std(1).max() < 9
    assert first.std(1).min() < 1.5
    assert abs((first * second).mean() / (first.std() * second.std())) < 0.05


@pytest.mark.parametrize(("quality", "strength"), [(50, 1.0), (25, 2.0)])  # where libjpeg's steps are whole
def test_camera_jitter_compresses_as_jpeg_does(monkeypatch, quality, strength):
    batch = draw_smooth_batch(1)
    noise = torch.randint(-20, 21, (1, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    grey = (batch.composite[:, :1] + noise).clamp(0, 255).byte()
    batch = batch._replace(composite=grey.expand(1, 3, 28, 28))
    known = {"_COMPRESSED_SHARE": 1.0, "_WEAKEST": strength, "_STRONGEST": strength}
    compressed = jitter_all(monkeypatch, batch, **known).composite[0, 0]
    file = io.BytesIO()
    Image.fromarray(grey[0, 0].numpy()).save(file, "JPEG", quality=quality)
    saved = torch.from_numpy(np.array(Image.open(file)))
    apart = (compressed.short() - saved.short()).abs()[:24, :24]  # blocks that are cut are filled up in another way
    assert apart.double().mean() < 0.2
    assert (saved != grey[0, 0]).double().mean() > 0.8


def draw_known_batch(size=256):
    """As `draw_batch`, with smooth depth of the backgrounds, unknown for the first one."""
    ramps = torch.linspace(60, 200, 16).view(1, 1, 16, 1).expand(size, 1, 16, 16)
    known = torch.full_like(ramps, GIVEN_DEPTH)
    depth = torch.cat([ramps, known], 1).round().byte()
    depth[0] = UNKNOWN_DEPTH
    return draw_batch(size)._replace(background_depth=depth)


def test_the_depth_of_backgrounds_is_shown_as_it_is_or_estimated_and_that_is_told():
    batch = draw_known_batch()
    shown, known = augment(batch, [], 1).background_depth.chunk(2, 1)
    told = known.flatten(1).float().mean(1)
    is_absent, is_estimated, is_given = (told == level for level in (UNKNOWN_DEPTH, ESTIMATED_DEPTH, GIVEN_DEPTH))
    assert is_absent.nonzero().tolist() == [[0]]  # whose depth is not known
    assert (is_absent | is_estimated | is_given).all()
    assert 60 < is_given.sum() < 110  # a third of 256
    assert shown[is_absent].max() == 0
    ramp = batch.background_depth[1, :1]
    assert (shown[is_given] == ramp).all()
    estimates = shown[is_estimated].float()
    apart = (estimates - ramp).abs().mean((1, 2, 3))
    assert 4 < apart.mean() < 30  # a network's maps are off by some 20 levels
    seen = torch.corrcoef(torch.stack([estimates.flatten(1).mean(0), ramp.flatten().float()]))
    assert seen[0, 1] > 0.95  # on the average it is the scene


def test_the_seed_alone_decides_how_the_depth_of_backgrounds_is_shown():
    batch = draw_known_batch()
    once, again, other = (augment(batch, ["flip"], seed).background_depth for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(batch.background_depth, draw_known_batch().background_depth)


def test_the_depth_of_backgrounds_changes_nothing_else():
    names = list(AUGMENTATIONS)
    assert are_equal(augment(draw_known_batch(), names, 1), augment(draw_batch(256), names, 1))


def test_flip_mirrors_the_depth_of_the_background_with_the_rest():
    batch = draw_batch()._replace(background_depth=torch.arange(16).expand(64, 2, 16, 16).byte())
    flipped = flip(batch, torch.Generator().manual_seed(0))
    mirrored = (flipped.mask != batch.mask).flatten(1).any(1)
    assert torch.equal((flipped.background_depth != batch.background_depth).flatten(1).any(1), mirrored)
