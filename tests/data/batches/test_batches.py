"""Proves that batches hold the right pictures on the right scale, each sample once, in a repeatable order."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.batches import batches as batches_module
from maskdepth.data.batches.batches import (
    GIVEN_DEPTH,
    UNKNOWN_DEPTH,
    Batch,
    Batches,
    ResidentPictures,
    StreamedPictures,
    mix_seed,
)
from maskdepth.data.pictures.decoding import PICTURE_KINDS

CPU = torch.device("cpu")
NUM_SAMPLES, NUM_BACKGROUNDS, SIDE = 7, 3, 4


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)

    def sharded(count, *channels, high=256):
        pictures = random.integers(0, high, (count, SIDE, SIDE, *channels), np.uint8)
        return ShardedArray([pictures[:2], pictures[2:]])

    pictures = {
        "background": sharded(NUM_BACKGROUNDS, 3),
        "composite": sharded(NUM_SAMPLES, 3),
        "mask": sharded(NUM_SAMPLES, high=2),
        "depth": sharded(NUM_SAMPLES),
    }
    return Arrays(SIDE, **pictures)


@pytest.fixture(scope="module")
def rows():
    numbers = np.arange(NUM_SAMPLES)
    return pd.DataFrame(
        {
            "sample_id": [f"sample{number}" for number in numbers],
            "background_row": numbers % NUM_BACKGROUNDS,
            "composite_row": numbers[::-1],
            "mask_row": numbers,
            "depth_row": numbers,
        }
    )


def list_ids(batches):
    return [batch.sample_ids for batch in batches]


def test_pictures_are_those_of_the_rows_with_their_channels_first(arrays, rows):
    batch = next(Batches(arrays, rows, 4, CPU).in_order())
    assert batch.sample_ids == ["sample0", "sample1", "sample2", "sample3"]
    for position in range(4):
        background = arrays.background.take(np.array([position % NUM_BACKGROUNDS]))[0]
        composite = arrays.composite.take(np.array([NUM_SAMPLES - 1 - position]))[0]
        mask, depth = arrays.mask.take(np.array([position]))[0], arrays.depth.take(np.array([position]))[0]
        np.testing.assert_array_equal(batch.background[position].numpy(), background.transpose(2, 0, 1))
        np.testing.assert_array_equal(batch.composite[position].numpy(), composite.transpose(2, 0, 1))
        np.testing.assert_array_equal(batch.mask[position, 0].numpy(), mask)
        np.testing.assert_array_equal(batch.depth[position, 0].numpy(), depth)
    assert {picture.dtype for picture in batch[:4]} == {torch.uint8}


def test_networks_and_losses_get_every_grey_level_as_a_number_from_0_to_1():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    mask = (levels > 99).byte()
    # As it comes from the arrays: channels last in memory.
    picture = levels.expand(1, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    batch = Batch(picture, picture.flip(-1), mask, levels, ["levels"])
    background, composite = batch.inputs()
    expected = torch.arange(256).view(1, 1, 16, 16) / 255
    assert torch.equal(background, expected.expand(1, 3, 16, 16))
    assert torch.equal(composite, background.flip(-1))
    target_mask, depth = batch.targets()
    assert torch.equal(depth, expected)
    assert torch.equal(target_mask, (levels > 99).float())


@pytest.mark.parametrize("batch_size", [2, 3, 7, 50])
def test_an_epoch_holds_every_sample_once(arrays, rows, batch_size):
    batches = Batches(arrays, rows, batch_size, CPU)
    parts = list_ids(batches.epoch(seed=0, epoch=0))
    assert len(parts) == len(batches)
    assert sorted(name for part in parts for name in part) == rows["sample_id"].tolist()


def test_a_last_batch_of_one_joins_the_one_before(arrays, rows):
    assert [len(part) for part in list_ids(Batches(arrays, rows, 3, CPU).in_order())] == [3, 4]
    assert [len(part) for part in list_ids(Batches(arrays, rows, 5, CPU).in_order())] == [5, 2]
    assert [len(part) for part in list_ids(Batches(arrays, rows[:1], 3, CPU).in_order())] == [1]


def test_order_is_a_function_of_seed_and_epoch(arrays, rows):
    batches = Batches(arrays, rows, 3, CPU)
    first = list_ids(batches.epoch(0, 0))
    torch.manual_seed(99)
    assert list_ids(batches.epoch(0, 0)) == first
    assert list_ids(batches.epoch(0, 1)) != first
    assert list_ids(batches.epoch(1, 0)) != first


@pytest.mark.parametrize("start_step", range(5))
def test_a_later_start_gives_the_tail_of_the_same_epoch(arrays, rows, start_step):
    batches = Batches(arrays, rows, 2, CPU)
    for window in (1, 0.5):
        whole = list_ids(batches.epoch(3, 5, window=window))
        assert list_ids(batches.epoch(3, 5, start_step, window)) == whole[start_step:]


def test_an_epoch_that_is_left_early_can_be_followed_by_another(arrays, rows):
    batches = Batches(arrays, rows, 2, CPU)
    left = batches.epoch(0, 0)
    next(left)
    left.close()
    assert len(list(batches.epoch(0, 0))) == len(batches)


def test_pictures_held_on_the_device_equal_those_read_each_time(arrays, rows):
    pictures = [getattr(arrays, kind) for kind in PICTURE_KINDS]
    wanted = [rows[f"{kind}_row"].to_numpy(np.int64) for kind in PICTURE_KINDS]
    parts = [np.array([5, 0, 3]), np.array([1, 6])]
    held = ResidentPictures(pictures, wanted, CPU).read(parts)
    read = StreamedPictures(pictures, wanted, CPU).read(parts)
    for kinds in zip(held, read, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(*kinds, strict=True))


def test_pictures_that_go_over_in_pieces_are_whole(arrays, monkeypatch):
    monkeypatch.setattr(batches_module, "_CHUNK_BYTES", 2 * SIDE * SIDE * 3)
    rows = np.array([4, 1, 6, 0, 2])
    (held,) = ResidentPictures([arrays.composite], [rows], CPU).read([np.arange(5)])
    np.testing.assert_array_equal(held[0].numpy(), arrays.composite.take(rows))


class Full:
    """Stands for pictures on a device that another process has filled meanwhile."""

    def __init__(self, *wanted):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("free", "share", "said"),
    [(100, "", "pictures do not fit into the 50 bytes"), (2**30, "", "MASKDEPTH_RESIDENT=0.5"), (2**30, "0", "")],
)
def test_pictures_that_find_no_room_on_the_device_are_read_for_each_batch(
    arrays, rows, monkeypatch, capsys, free, share, said
):
    monkeypatch.setenv("MASKDEPTH_RESIDENT", share)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(batches_module, "ResidentPictures", Full)
    placed = Batches(arrays, rows, 3, torch.device("cuda"))
    assert isinstance(placed._pictures, StreamedPictures)
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == bool(said)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a CUDA device with the CPU, and there is none here")
@pytest.mark.parametrize("share", ["", "0"])
def test_batches_on_a_gpu_equal_those_on_the_cpu(arrays, rows, monkeypatch, share):
    monkeypatch.setenv("MASKDEPTH_RESIDENT", share)
    for here, there in zip(
        Batches(arrays, rows, 3, CPU).epoch(0, 0),
        Batches(arrays, rows, 3, torch.device("cuda")).epoch(0, 0),
        strict=True,
    ):
        assert here.sample_ids == there.sample_ids
        for one, other in zip(here[:4], there[:4], strict=True):
            torch.testing.assert_close(one, other.cpu())


def test_no_samples_are_refused(arrays, rows):
    with pytest.raises(ValueError, match="no samples to make batches of"):
        Batches(arrays, rows[:0], 3, CPU)


def test_mixed_seeds_differ_in_every_part_and_fit_a_generator():
    seeds = {mix_seed(*parts) for parts in [(0,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (10, 0), (1, 0, 0)]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.fixture(scope="module")
def known_rows(rows):
    """The depth of the second background is not known."""
    of_background = rows["background_row"].map({0: 1, 1: -1, 2: 0})
    return rows.assign(background_depth_row=of_background)


@pytest.fixture(scope="module")
def known_arrays(arrays):
    maps = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE), np.uint8)
    return replace(arrays, background_depth=ShardedArray([maps]))


def test_the_depth_of_a_background_comes_where_it_is_wanted_and_known(known_arrays, known_rows):
    batches = Batches(known_arrays, known_rows, 3, CPU, with_background_depth=True)
    assert batches.knows_depth
    batch = next(batches.in_order())
    maps = known_arrays.background_depth.parts[0]
    np.testing.assert_array_equal(batch.background_depth[0, 0].numpy(), maps[1])
    np.testing.assert_array_equal(batch.background_depth[2, 0].numpy(), maps[0])
    assert [known.unique().tolist() for known in batch.background_depth[:, 1]] == [[GIVEN_DEPTH], [0], [GIVEN_DEPTH]]
    assert batch.background_depth[1].unique().tolist() == [UNKNOWN_DEPTH]
    *pictures, depth = batch.inputs()
    assert len(pictures) == 2
    assert depth.dtype == torch.float32
    assert depth[:, 1].amax((1, 2)).tolist() == [1, 0, 1]
    torch.testing.assert_close(depth[0, 0] * 255, torch.from_numpy(maps[1]).float())


def test_nothing_else_of_a_batch_depends_on_whether_it_is_wanted(known_arrays, known_rows):
    plain, known = (Batches(known_arrays, known_rows, 3, CPU, with_background_depth=wanted) for wanted in (False, True))
    for one, other in zip(plain.epoch(4, 2), known.epoch(4, 2), strict=True):
        assert one.sample_ids == other.sample_ids
        assert all(torch.equal(*pair) for pair in zip(one[:4], other[:4], strict=True))
        assert one.background_depth is None
    assert not plain.knows_depth


def test_a_data_set_without_any_gives_none_though_it_is_wanted(arrays, rows):
    batches = Batches(arrays, rows.assign(background_depth_row=-1), 3, CPU, with_background_depth=True)
    assert not batches.knows_depth
    assert next(batches.in_order()).background_depth is None


def test_a_part_of_a_batch_is_that_of_all_its_pictures(known_arrays, known_rows):
    (batch,) = Batches(known_arrays, known_rows, 7, CPU, with_background_depth=True).in_order()
    part = batch.part(2, 5)
    assert part.sample_ids == batch.sample_ids[2:5]
    for one, whole in zip(part, batch, strict=True):
        assert torch.equal(torch.as_tensor(one), whole[2:5]) if isinstance(whole, torch.Tensor) else one == whole[2:5]
    assert batch._replace(background_depth=None).part(0, 2).background_depth is None
