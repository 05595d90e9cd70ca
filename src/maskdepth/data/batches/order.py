"""The order in which a training sees its samples: a function of a generator alone, wherever it is resumed.

Samples that are read one after the other may lie anywhere in the arrays, which a disk behind a network answers slowly.
Within a window they lie in a few blocks of neighbours, so that whoever reads ahead fetches long pieces.
"""

import numpy as np
import numpy.typing as npt
import torch

# [samples] Neighbours that stay together until their window is shuffled: some megabytes in one piece.
BLOCK = 256
# A window of fewer blocks would show little of the data at a time.
_LEAST_BLOCKS = 8


def block_size(count: int, share: float) -> int:
    """Count the neighbours that stay together where a window holds a share of so many samples."""
    return max(1, min(BLOCK, int(share * count) // _LEAST_BLOCKS))


def shuffle(count: int, share: float, generator: torch.Generator) -> npt.NDArray[np.int64]:
    """Shuffle blocks of neighbouring samples, and then the samples of each window of blocks.

    Args:
        count: Samples, numbered as they lie.
        share: What a window holds of them, (0, 1]; 1 shuffles all at once.
        generator: Of the CPU.

    Returns:
        (count,) each sample once.

    >>> order = shuffle(80, 0.5, torch.Generator().manual_seed(0))
    >>> sorted(order.tolist()) == list(range(80)), sorted({number // 5 for number in order[:40].tolist()})
    (True, [5, 6, 8, 9, 10, 11, 12, 13])
    """

    def permute(length: int) -> npt.NDArray[np.int64]:
        drawn: npt.NDArray[np.int64] = torch.randperm(length, generator=generator).numpy()
        return drawn

    if share == 1:
        return permute(count)
    size = block_size(count, share)
    blocks = np.split(np.arange(count), range(size, count, size))
    order = [blocks[number] for number in permute(len(blocks))]
    step = max(_LEAST_BLOCKS, round(share * count / size))
    windows = [np.concatenate(order[start : start + step]) for start in range(0, len(order), step)]
    return np.concatenate([window[permute(len(window))] for window in windows])
