"""Proves that augmentation keeps the labels true, stays in range, and is decided by its seed alone."""

import pytest
import torch

from maskdepth.data.batches.augmentation import AUGMENTATIONS, augment
from maskdepth.data.batches.batches import Batch


def draw_batch(size=64, side=16):
    generator = torch.Generator().manual_seed(0)
    levels = {"generator": generator, "dtype": torch.uint8}
    background, composite = torch.randint(0, 256, (2, size, 3, side, side), **levels)
    mask = torch.randint(0, 2, (size, 1, side, side), **levels)
    depth = torch.randint(0, 256, (size, 1, side, side), **levels)
    return Batch(background, composite, mask, depth, [str(number) for number in range(size)])


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


def test_background_jitter_touches_the_background_alone():
    batch = draw_batch()
    jittered = augment(batch, ["background_jitter"], 1)
    assert not torch.equal(jittered.background, batch.background)
    assert all(torch.equal(after, before) for after, before in zip(jittered[1:4], batch[1:4], strict=True))


def test_background_jitter_lights_by_at_most_fifteen_per_cent():
    batch = draw_batch()._replace(background=torch.full((64, 3, 16, 16), 128, dtype=torch.uint8))
    gain = augment(batch, ["background_jitter"], 1).background.float().mean((2, 3)) / 128
    # The mean of 256 pixels of noise up to 5 grey levels stays within 2 of nothing.
    assert (gain - 1).abs().max() < 0.15 + 0.02
    assert (gain - 1).abs().max() > 0.1
    assert 10 < ((gain - 1).abs() < 0.005).all(1).sum() < 35  # three in ten keep their light


def test_background_jitter_shifts_by_at_most_three_pixels_with_the_border_repeated():
    point = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    point[:, :, 8, 8] = 255
    moved = augment(draw_batch()._replace(background=point), ["background_jitter"], 1).background
    position = moved.sum(1).flatten(1).argmax(1)
    offsets = torch.stack([position // 16 - 8, position % 16 - 8])
    assert offsets.abs().max() == 3
    assert 16 < (offsets != 0).any(0).sum() < 48
    grey = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    flat = augment(draw_batch()._replace(background=grey), ["background_jitter"], 1)
    assert flat.background.min() > 76  # nothing dark came in over the border
