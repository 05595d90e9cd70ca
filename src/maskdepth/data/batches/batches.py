"""Mini-batches of samples: uint8 arrays gathered by row number, on the device that computes.

The arrays are read where they lie, a background once and not once per sample. On a CUDA device they are moved over
whole if they fit; elsewhere the next batch is gathered in a thread while the present one is computed. Pictures stay
bytes until a network or a loss wants numbers: a fourth of the memory to gather, to move and to augment. Which samples
a batch has is told to a CUDA device once an epoch: a copy from the host in each step would be a wait in each.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, zip_longest
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.batches.ahead import fetching, plan_ranges
from maskdepth.data.batches.order import BLOCK, block_size, shuffle
from maskdepth.data.batches.places import HostPlace, PinnedPlace, Place
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.data.tables import narrow
from maskdepth.device import RESIDENT_VARIABLE, is_out_of_memory, share_for_pictures
from maskdepth.process.console import readable_size, warn

# One batch is read, one fetched, one computed.
_PLACES = 3

# What is moved to a device in one piece [bytes], so that no second copy of all pictures is held on the way.
_CHUNK_BYTES = 2**28

# How the depth of a background is known: as the data has it, by an estimate of another origin, or not at all.
GIVEN_DEPTH, ESTIMATED_DEPTH, UNKNOWN_DEPTH = 255, 128, 0


class Batch(NamedTuple):
    """Some samples as they are stored, on the device that computes.

    Attributes:
        background: (B, 3, H, W) uint8 scene without the object, RGB.
        composite: (B, 3, H, W) uint8 scene with the object, RGB.
        mask: (B, 1, H, W) uint8 object region, {0, 1}.
        depth: (B, 1, H, W) uint8 relative depth, 0 near and 255 far.
        sample_ids: The names of the B samples.
        background_depth: (B, 2, H, W) uint8 depth of the scene without the object, levels as of `depth`, and how it is
            known: GIVEN_DEPTH, ESTIMATED_DEPTH or UNKNOWN_DEPTH. None where nobody asked for it, or it is known of no
            background.
    """

    background: Tensor
    composite: Tensor
    mask: Tensor
    depth: Tensor
    sample_ids: list[str]
    background_depth: Tensor | None = None

    def inputs(self) -> tuple[Tensor, ...]:
        """Give what a network takes, float32, [0, 1]: background, composite, and, if there is any, the depth of the
        background and how it is known.
        """
        pictures = [self.background, self.composite]
        if self.background_depth is not None:
            pictures.append(self.background_depth)
        return tuple(map(_scale, pictures))

    def part(self, start: int, end: int) -> "Batch":
        """Give some of the samples, by their positions."""
        pictures = {name: kind[start:end] for name, kind in self._asdict().items() if kind is not None}
        return self._replace(**pictures)

    def targets(self) -> tuple[Tensor, Tensor]:
        """Give what losses and metrics take: mask, {0, 1}, and depth, [0, 1], both float32."""
        return self.mask.float(), _scale(self.depth)


class Pictures(Protocol):
    """Where the pictures of all samples are: PICTURE_KINDS, then the depth of the backgrounds and if it is known."""

    def read(self, parts: list[np.ndarray], block: int = BLOCK) -> Iterator[list[Tensor]]:
        """Give the pictures of each part, sample numbers, on the device that computes.

        Args:
            parts: The samples of each batch.
            block: Neighbouring samples that are in batches near to each other.
        """


class Batches:
    """The samples of a table, in batches; a last batch of one sample is joined to the one before.

    Args:
        arrays: All pictures.
        rows: One row per sample with `sample_id` and `background_row`, `composite_row`, `mask_row`, `depth_row`.
        batch_size: Samples per batch.
        device: Where the batches are wanted.
        with_background_depth: Whether the depth of the backgrounds is wanted, too: `background_depth_row` of `rows`.

    Attributes:
        knows_depth: Whether the depth of the backgrounds was wanted, and is known of some of them.

    Raises:
        ValueError: `rows` is empty.
    """

    def __init__(
        self,
        arrays: Arrays,
        rows: pd.DataFrame,
        batch_size: int,
        device: torch.device,
        *,
        with_background_depth: bool = False,
    ) -> None:
        if rows.empty:
            raise ValueError("no samples to make batches of; check the split with split.csv")
        self.sample_ids = rows["sample_id"]
        self.batch_size = batch_size
        self.device = device
        pictures = [getattr(arrays, kind) for kind in PICTURE_KINDS]
        wanted = [narrow(rows[f"{kind}_row"].to_numpy()) for kind in PICTURE_KINDS]
        self.knows_depth = False
        if with_background_depth and arrays.background_depth is not None:
            of_backgrounds = narrow(rows["background_depth_row"].to_numpy())
            is_known = of_backgrounds >= 0
            self.knows_depth = bool(is_known.any())
            known = np.where(is_known, GIVEN_DEPTH, UNKNOWN_DEPTH).astype(np.uint8)
            pictures += [arrays.background_depth, ShardedArray([known])]
            # Where there is none, any other is read, and not shown.
            wanted += [of_backgrounds.clip(0), np.arange(len(rows))]
        self._pictures = _place(pictures, wanted, device)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self._cut(np.arange(len(self.sample_ids))))

    def in_order(self) -> Iterator[Batch]:
        """Give every sample once, in the order of the table."""
        return self._read(self._cut(np.arange(len(self.sample_ids))))

    def epoch(self, seed: int, epoch: int, start_step: int = 0, window: float = 1) -> Iterator[Batch]:
        """Give every sample once, in an order that depends on `seed`, `epoch` and `window` alone.

        Args:
            seed: The training's seed.
            epoch: Which pass over the samples.
            start_step: Batches to leave out at the front: those that were trained before a break.
            window: Share of the samples that are shuffled at a time, (0, 1].
        """
        order = shuffle(len(self.sample_ids), window, torch.Generator().manual_seed(mix_seed(seed, epoch)))
        return self._read(self._cut(order)[start_step:], block_size(len(order), window))

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        parts = np.split(order, range(self.batch_size, len(order), self.batch_size))
        # Batch normalisation of one sample at a scale of one pixel has nothing to average over.
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [np.concatenate(parts[-2:])]
        return parts

    def _read(self, parts: list[np.ndarray], block: int = BLOCK) -> Iterator[Batch]:
        for part, pictures in zip(parts, self._pictures.read(parts, block), strict=True):
            yield self._finish(pictures, part)

    def _finish(self, pictures: list[Tensor], part: np.ndarray) -> Batch:
        """View pictures, the last axis RGB or absent, with their channels first."""
        background, composite, mask, depth, *more = pictures
        views = background.permute(0, 3, 1, 2), composite.permute(0, 3, 1, 2), mask.unsqueeze(1), depth.unsqueeze(1)
        batch = Batch(*views, self.sample_ids.iloc[part].tolist())
        if not more:
            return batch
        levels, known = more[0].unsqueeze(1), more[1].view(-1, 1, 1, 1)
        levels = levels.masked_fill(known == UNKNOWN_DEPTH, UNKNOWN_DEPTH)
        return batch._replace(background_depth=torch.cat([levels, known.expand_as(levels)], 1))


def _scale(picture: Tensor) -> Tensor:
    """Give uint8 pixels as float32, [0, 1], each channel's plane in one piece."""
    return picture.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


class StreamedPictures:
    """Pictures that are read from the arrays for each batch, in a thread, while the batch before is computed.

    Args:
        pictures: All of each kind.
        wanted: The row of each sample in each of them.
        device: Where they are wanted.
    """

    def __init__(self, pictures: list[ShardedArray], wanted: list[np.ndarray], device: torch.device) -> None:
        self._pictures, self._wanted, self._device = pictures, wanted, device

    def read(self, parts: list[np.ndarray], block: int = BLOCK) -> Iterator[list[Tensor]]:
        """Give the pictures of each part, sample numbers; those of a store are fetched in blocks before."""
        places = cycle(self._open_places())
        ranges = plan_ranges(self._pictures, self._wanted, parts, block)

        def send(number: int, part: np.ndarray) -> tuple[Place, list[Tensor]]:
            reach(number)
            place = next(places)
            return place, place.send(self._pictures, [rows[part] for rows in self._wanted])

        with fetching(ranges) as reach, ThreadPoolExecutor(max_workers=1) as reader:
            ahead = [reader.submit(send, 0, part) for part in parts[:1]]
            for number, (_, following) in enumerate(zip_longest(parts, parts[1:]), 1):
                place, sent = ahead.pop().result()
                if following is not None:
                    ahead.append(reader.submit(send, number, following))
                yield place.receive(sent)
                place.leave()

    def _open_places(self) -> list[Place]:
        if self._device.type != "cuda":
            return [HostPlace()]
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return [PinnedPlace(self._device, stream) for _ in range(_PLACES)]


class ResidentPictures:
    """Pictures that are moved to the device once; those of a batch are picked there, and nothing waits.

    Args:
        pictures: All of each kind; each that is wanted is held once.
        wanted: The row of each sample in each of them.
        device: Where they are held.
    """

    def __init__(self, pictures: list[ShardedArray], wanted: list[np.ndarray], device: torch.device) -> None:
        self._device = device
        self._held: list[tuple[Tensor, Tensor]] = []
        for kind, rows in zip(pictures, wanted, strict=True):
            unique, position = np.unique(rows, return_inverse=True)
            self._held.append((_move(kind, unique, device), torch.from_numpy(position).to(device)))

    def read(self, parts: list[np.ndarray], block: int = BLOCK) -> Iterator[list[Tensor]]:
        """Give the pictures of each part, sample numbers; all of these go over at once, at the beginning."""
        sizes = [len(part) for part in parts]
        order = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *parts])).to(self._device)
        for chosen in torch.split(order, sizes):
            yield [kind.index_select(0, position.index_select(0, chosen)) for kind, position in self._held]


def _place(pictures: list[ShardedArray], wanted: list[np.ndarray], device: torch.device) -> Pictures:
    """Hold pictures on a CUDA device if they fit there; say so where they do not."""
    share = share_for_pictures() if device.type == "cuda" else 0.0
    if not share:
        return StreamedPictures(pictures, wanted, device)
    size, room = _count_bytes(pictures, wanted), share * torch.cuda.mem_get_info(device)[0]
    if size <= room:
        try:
            return ResidentPictures(pictures, wanted, device)
        except RuntimeError as error:  # another process was faster
            if not is_out_of_memory(error):
                raise
    warn(
        f"{readable_size(size)} of pictures do not fit into the {readable_size(int(room))} that they may take of the "
        f"device's free memory ({RESIDENT_VARIABLE}={share:g}); they are read from the disk for each batch"
    )
    return StreamedPictures(pictures, wanted, device)


def _move(pictures: ShardedArray, rows: np.ndarray, device: torch.device) -> Tensor:
    """Move pictures to the device in pieces."""
    held = torch.empty((len(rows), *pictures.shape[1:]), dtype=torch.uint8, device=device)
    size = max(1, _CHUNK_BYTES // max(1, held[:1].nbytes))
    for start in range(0, len(rows), size):
        held[start : start + size].copy_(torch.from_numpy(pictures.take(rows[start : start + size])))
    return held


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
