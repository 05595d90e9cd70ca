"""Proves that a window mixes what it holds, and holds a few blocks of neighbours from all over the data."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.data.batches.order import shuffle


def draw(count, share, seed=0):
    return shuffle(count, share, torch.Generator().manual_seed(seed))


@given(st.integers(1, 3000), st.floats(0, 1, exclude_min=True), st.integers(0, 99))
def test_every_sample_comes_once_and_the_generator_decides_all(count, share, seed):
    order = draw(count, share, seed)
    assert np.array_equal(np.sort(order), np.arange(count))
    assert np.array_equal(order, draw(count, share, seed))


def test_the_whole_is_shuffled_at_once():
    assert np.array_equal(draw(999, 1.0), torch.randperm(999, generator=torch.Generator().manual_seed(0)).numpy())


@pytest.mark.parametrize(("count", "share", "block"), [(1800, 1 / 8, 28), (100_000, 1 / 8, 256), (100_000, 0.02, 250)])
def test_a_window_holds_whole_blocks_of_neighbours_in_no_order(count, share, block):
    order = draw(count, share)
    first = order[: round(share * count / block) * block]
    blocks = np.unique(first // block)
    assert len(first) == len(blocks) * block  # the last block of all, which is shorter, is in another window
    assert blocks.max() - blocks.min() > len(blocks)  # from all over the data
    assert (np.diff(first) == 1).mean() < 0.05
    assert not np.array_equal(np.sort(first), np.sort(draw(count, share, seed=1)[: len(first)]))
