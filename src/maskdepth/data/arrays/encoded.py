"""Pictures kept as their archives hold them, and decoded when they are asked for; they read like an array of pixels.

Large pictures take twenty times as much room decoded as encoded. One file holds all pictures of a kind, one after the
other, and a second one where each of them lies.
"""

import mmap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskdepth.data.pictures.decoding import Frame, Near, decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.process.workers import usable_cores

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.integer[Any]]
Spans = npt.NDArray[np.int64]

# A background belongs to many samples, and is asked for again and again, as is its depth: their pixels are kept, up to
# so much in a shard.
_HELD_KINDS = ("background", "background_depth")
_HELD_BYTES = 2**25


class Decoding(NamedTuple):
    """How pictures are decoded, as `decode_picture` takes it."""

    image_size: int
    depth_near: Near
    depth_frame: Frame
    max_pixels: int


class EncodedArray:
    """The pictures of one kind in one shard, which read like an array of shape (n, S, S) or (n, S, S, 3), uint8.

    Args:
        path: The file of encoded pictures.
        spans: (n, 2) where each begins in it, and its length [bytes]; one of no length is black.
        kind: What they show.
        channels: Shape of one after its height and width.
        decoding: How to decode them.

    Raises:
        ValueError: The file is shorter than the spans say.
    """

    def __init__(self, path: Path, spans: Spans, kind: str, channels: tuple[int, ...], decoding: Decoding) -> None:
        self.path = path
        self.shape = (len(spans), decoding.image_size, decoding.image_size, *channels)
        self._spans = spans
        self._kind = kind
        self._decoding = decoding
        self._bytes = _map_file(path)
        if len(spans) and int(spans.sum(1).max()) > len(self._bytes):
            raise ValueError(f"{path} has {len(self._bytes):,} bytes, its pictures {int(spans.sum(1).max()):,}")
        is_kept = kind in _HELD_KINDS and int(np.prod(self.shape)) <= _HELD_BYTES
        self._held = np.zeros(self.shape, np.uint8) if is_kept else None  # takes memory as it is filled
        self._is_held = np.zeros(len(spans), bool)

    def __len__(self) -> int:
        return len(self._spans)

    def take(self, indices: Rows, out: Pixels | None = None) -> Pixels:
        """Decode pictures by their row numbers, in the order asked for.

        Args:
            indices: (n,) row numbers, each of them there; repeats allowed.
            out: (n, ...) array to write into; a new one if None.

        Raises:
            ValueError: One cannot be decoded, though it could when it was written.
        """
        rows, positions = np.unique(indices, return_inverse=True)  # in the order of the file, each once
        if self._held is None:
            return np.take(self._decode(rows), positions, axis=0, out=out, mode="clip")
        missing = rows[~self._is_held[rows]]
        self._held[missing] = self._decode(missing)
        self._is_held[missing] = True
        return np.take(self._held, indices, axis=0, out=out, mode="clip")

    def _decode(self, rows: Rows) -> Pixels:
        """Decode pictures by all cores: most of the work is done outside of Python."""
        pictures = np.zeros((len(rows), *self.shape[1:]), np.uint8)
        shares = np.array_split(np.arange(len(rows)), min(usable_cores(), max(1, len(rows))))
        list(_threads().map(lambda share: self._decode_share(rows, share, pictures), shares))
        return pictures

    def _decode_share(self, rows: Rows, share: npt.NDArray[np.intp], pictures: Pixels) -> None:
        for position in share:
            start, length = self._spans[rows[position]].tolist()
            if not length:
                continue
            try:
                picture = decode_picture(self._bytes[start : start + length], self._kind, *self._decoding)
            except RefusedError as error:
                raise ValueError(f"{self.path}: picture {rows[position]}: {error}") from error
            pictures[position] = picture.pixels


def lay_out(sizes: Sequence[int]) -> Spans:
    """Put pictures of these sizes [bytes] one after the other.

    >>> lay_out([5, 3]).tolist()
    [[0, 5], [5, 3]]
    """
    lengths = np.asarray(sizes, np.int64)
    return np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)


def _map_file(path: Path) -> mmap.mmap | bytes:
    """Map a file into memory; an empty one cannot be."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores())
