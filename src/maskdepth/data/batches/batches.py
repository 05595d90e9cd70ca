"""Mini-batches of samples: uint8 arrays gathered by row number, on the device that computes.

The arrays are read where they lie, a background once and not once per sample. On a CUDA device they are moved over
whole if they fit; elsewhere the next batch is gathered in a thread while the present one is computed. Pictures stay
bytes until a network or a loss wants numbers: a fourth of the memory to gather, to move and to augment.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.pictures.decoding import PICTURE_KINDS

# Share of the device's free memory that pictures may take; the rest is the network's.
_RESIDENT_SHARE = 0.5


class Batch(NamedTuple):
    """Some samples as they are stored, on the device that computes.

    Attributes:
        background: (B, 3, H, W) uint8 scene without the object, RGB.
        composite: (B, 3, H, W) uint8 scene with the object, RGB.
        mask: (B, 1, H, W) uint8 object region, {0, 1}.
        depth: (B, 1, H, W) uint8 relative depth, 0 near and 255 far.
        sample_ids: The names of the B samples.
    """

    background: Tensor
    composite: Tensor
    mask: Tensor
    depth: Tensor
    sample_ids: list[str]

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Give what a network takes: background and composite, float32, [0, 1]."""
        return _scale(self.background), _scale(self.composite)

    def targets(self) -> tuple[Tensor, Tensor]:
        """Give what losses and metrics take: mask, {0, 1}, and depth, [0, 1], both float32."""
        return self.mask.float(), _scale(self.depth)


Gather = Callable[[np.ndarray], list[Tensor]]


class Batches:
    """The samples of a table, in batches; a last batch of one sample is joined to the one before.

    Args:
        arrays: All pictures.
        rows: One row per sample with `sample_id` and `background_row`, `composite_row`, `mask_row`, `depth_row`.
        batch_size: Samples per batch.
        device: Where the batches are wanted.

    Raises:
        ValueError: `rows` is empty.
    """

    def __init__(self, arrays: Arrays, rows: pd.DataFrame, batch_size: int, device: torch.device) -> None:
        if rows.empty:
            raise ValueError("no samples to make batches of; check the split with split.csv")
        self.sample_ids = rows["sample_id"].to_numpy()
        self.batch_size = batch_size
        self.device = device
        pictures = [getattr(arrays, kind) for kind in PICTURE_KINDS]
        wanted = [rows[f"{kind}_row"].to_numpy(np.int64) for kind in PICTURE_KINDS]
        if (
            device.type == "cuda"
            and _count_bytes(pictures, wanted) < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        ):
            self._gather = _resident_gather(pictures, wanted, device)
        else:
            self._gather = _streaming_gather(pictures, wanted, device)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self._cut(np.arange(len(self.sample_ids))))

    def in_order(self) -> Iterator[Batch]:
        """Give every sample once, in the order of the table."""
        return self._read(self._cut(np.arange(len(self.sample_ids))))

    def epoch(self, seed: int, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Give every sample once, in an order that depends on `seed` and `epoch` alone.

        Args:
            seed: The training's seed.
            epoch: Which pass over the samples.
            start_step: Batches to leave out at the front: those that were trained before a break.
        """
        generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
        order = torch.randperm(len(self.sample_ids), generator=generator).numpy()
        return self._read(self._cut(order)[start_step:])

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        parts = np.split(order, range(self.batch_size, len(order), self.batch_size))
        # Batch normalisation of one sample at a scale of one pixel has nothing to average over.
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [np.concatenate(parts[-2:])]
        return parts

    def _read(self, parts: list[np.ndarray]) -> Iterator[Batch]:
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = [reader.submit(self._gather, part) for part in parts[:1]]
            for part, following in zip_longest(parts, parts[1:]):
                pictures = ahead.pop().result()
                if following is not None:
                    ahead.append(reader.submit(self._gather, following))
                yield self._finish(pictures, part)

    def _finish(self, pictures: list[Tensor], part: np.ndarray) -> Batch:
        """Bring pictures, the last axis RGB or absent, to the device and view them with their channels first."""
        background, composite, mask, depth = (picture.to(self.device, non_blocking=True) for picture in pictures)
        views = background.permute(0, 3, 1, 2), composite.permute(0, 3, 1, 2), mask.unsqueeze(1), depth.unsqueeze(1)
        return Batch(*views, self.sample_ids[part].tolist())


def _scale(picture: Tensor) -> Tensor:
    """Give uint8 pixels as float32, [0, 1], each channel's plane in one piece."""
    return picture.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _streaming_gather(pictures: list[ShardedArray], wanted: list[np.ndarray], device: torch.device) -> Gather:
    """Read the pictures of a batch from the arrays each time."""

    def gather(part: np.ndarray) -> list[Tensor]:
        read = [torch.from_numpy(kind.take(rows[part])) for kind, rows in zip(pictures, wanted, strict=True)]
        # From pinned memory a CUDA device fetches a batch while it computes the one before.
        return [kind.pin_memory() for kind in read] if device.type == "cuda" else read

    return gather


def _resident_gather(pictures: list[ShardedArray], wanted: list[np.ndarray], device: torch.device) -> Gather:
    """Move every wanted picture to the device once, and pick the pictures of a batch there."""
    held: list[tuple[Tensor, Tensor]] = []
    for kind, rows in zip(pictures, wanted, strict=True):
        unique, position = np.unique(rows, return_inverse=True)
        held.append((torch.from_numpy(kind.take(unique)).to(device), torch.from_numpy(position).to(device)))

    def gather(part: np.ndarray) -> list[Tensor]:
        chosen = torch.from_numpy(part).to(device)
        return [kind[position[chosen]] for kind, position in held]

    return gather


def _count_bytes(pictures: list[ShardedArray], wanted: list[np.ndarray]) -> int:
    return sum(len(np.unique(rows)) * int(np.prod(kind.shape[1:])) for kind, rows in zip(pictures, wanted, strict=True))


def mix_seed(*parts: int) -> int:
    """Make one seed of several numbers, [0, 2**63); every part changes all of it.

    Randomness as a function of (seed, epoch, step) needs no generator state to be saved and restored.

    >>> mix_seed(0, 1) == mix_seed(0, 1), mix_seed(0, 1) == mix_seed(1, 0)
    (True, False)
    """
    digest = hashlib.sha256(",".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
