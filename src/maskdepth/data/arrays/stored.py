"""Pixels that lie in an object store, read in ranges: what is fetched ahead is kept in files here until it is dropped.

MASKDEPTH_ARRAYS is the address of a copy of the arrays. Their cards are here all the same, and have to be those that
lie there: a card has the checksums of its arrays, so that an index cannot meet the pictures of another run.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.stores import explaining, open_store

if TYPE_CHECKING:
    import fsspec

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.integer[Any]]

ARRAYS_VARIABLE = "MASKDEPTH_ARRAYS"
# [bytes] What lies between two pictures, and is read with them, is not worth another request, which costs some tens of
# milliseconds.
_GAP_BYTES = 2**20
# The beginning of a .npy file, which says what is in it, is filled up to a multiple of this.
_HEADER_STEP, _LONGEST_HEADER = 64, 4096
_CURE = "copy the arrays there again"


class StoredArray:
    """The pixels of one kind in one shard of a store, which read like an array.

    Args:
        files: The store.
        path: The object, as the store takes it.
        shape: Number of pictures, then the shape of one.
    """

    def __init__(self, files: "fsspec.AbstractFileSystem", path: str, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.bytes_each = math.prod(shape[1:])
        self._files, self._path = files, path
        self._file: BinaryIO | None = None
        self._lock = Lock()  # of the file, which has one position
        self._held: dict[tuple[int, int], Pixels] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Rows, out: Pixels | None = None) -> Pixels:
        """Copy pictures by their row numbers, from what is held or else from the store.

        Args:
            rows: (n,) row numbers, each of them there; repeats allowed.
            out: (n, ...) array to copy into; a new one if None.

        Raises:
            RefusedError: The store cannot be read, or the object is another one than was opened.
        """
        out = np.empty((len(rows), *self.shape[1:]), np.uint8) if out is None else out
        is_missing = np.ones(len(rows), bool)
        for (first, end), pixels in list(self._held.items()):  # others are fetched meanwhile
            is_inside = is_missing & (first <= rows) & (rows < end)
            out[is_inside] = pixels[rows[is_inside] - first]
            is_missing &= ~is_inside
        for first, end in self.cut(rows[is_missing]):
            is_inside = is_missing & (first <= rows) & (rows < end)
            out[is_inside] = self._read(first, end)[rows[is_inside] - first]
        return out

    def cut(self, rows: Rows) -> Iterator[tuple[int, int]]:
        """Cut rows into ranges (first, end), each worth one request."""
        ordered = np.unique(rows)
        if ordered.size:
            cuts = np.flatnonzero(np.diff(ordered) * self.bytes_each > _GAP_BYTES + self.bytes_each) + 1
            for some in np.split(ordered, cuts):
                yield int(some[0]), int(some[-1]) + 1

    def hold(self, first: int, end: int) -> None:
        """Fetch a range into a file that has no name, and is gone with this process whatever happens to it.

        Raises:
            OSError: The disk is full.
            RefusedError: As `take`.
        """
        pixels = self._read(first, end)
        try:
            with tempfile.TemporaryFile() as file:
                file.write(pixels.tobytes())
                file.flush()
                self._held[first, end] = np.memmap(file, np.uint8, "r", shape=pixels.shape)
        except OSError as error:  # of a file without a name
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error

    def drop(self, first: int, end: int) -> None:
        """Give the file of a range that is held, or not any more, back to the disk."""
        self._held.pop((first, end), None)

    def _read(self, first: int, end: int) -> Pixels:
        with self._lock, explaining(self._path):
            file = self._open()
            file.seek(file.seek(0, os.SEEK_END) - (len(self) - first) * self.bytes_each)
            data = file.read(size := (end - first) * self.bytes_each)
            if len(data) != size:
                raise RefusedError("it ended before its size", _CURE, self._path)
        return np.frombuffer(data, np.uint8).reshape(end - first, *self.shape[1:])

    def _open(self) -> BinaryIO:
        """Open the object once: the store then refuses whatever is put in its place."""
        if self._file is None:
            file = self._files.open(self._path, cache_type="none")
            header = file.seek(0, os.SEEK_END) - math.prod(self.shape)
            if not 0 < header <= _LONGEST_HEADER or header % _HEADER_STEP:
                raise RefusedError("it has another size than its card says", _CURE, self._path)
            self._file = file
        return self._file


class Store:
    """A copy of the arrays in an object store.

    Args:
        url: Its address.
        shards: The shards that are expected there, by their folders here, in which their cards are.

    Raises:
        RefusedError: The store cannot be read, or does not hold what the cards here say.
    """

    def __init__(self, url: str, shards: Sequence[Path], card_file: str) -> None:
        with explaining(url):
            self._files, root = open_store(url)
            self._root = root.rstrip("/")
            cards = {f"{self._root}/{shard.name}/{card_file}": shard / card_file for shard in shards}
            there = self._files.cat(list(cards))
        for path, here in cards.items():
            if there[path] != here.read_bytes():
                raise RefusedError(f"it is not the card that lies at {here}", _CURE, path)

    def open(self, shard: str, name: str, shape: tuple[int, ...]) -> StoredArray:
        """Give an array of a shard; nothing is read yet."""
        return StoredArray(self._files, f"{self._root}/{shard}/{name}", shape)


def find_store(shards: Sequence[Path], card_file: str) -> Store | None:
    """Open the store that MASKDEPTH_ARRAYS names; None where it names none. Raises as `Store`."""
    url = os.environ.get(ARRAYS_VARIABLE, "").strip()
    return Store(url, shards, card_file) if url else None
