"""The pictures as later stages read them: uint8 arrays, one folder (shard) per archive.

The pixels lie on the disk and are mapped into memory, or the encoded pictures do, and are decoded when they are taken.
A row of a kind is numbered through all shards, in the order of their names; the index refers to these numbers.
"""

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskdepth.data.arrays.encoded import Decoding, EncodedArray
from maskdepth.data.arrays.stored import ARRAYS_VARIABLE, Store, StoredArray, find_store

Pixels = npt.NDArray[np.uint8]
Part = Pixels | EncodedArray | StoredArray

# Shape of one picture of a kind, after its height and width.
CHANNELS: dict[str, tuple[int, ...]] = {
    "background": (3,),
    "composite": (3,),
    "mask": (),
    "depth": (),
    "background_depth": (),
}

# Kinds that lie as the background does, and move with it.
REGISTERED_KINDS = ("background", "background_depth")

CARD_FILE = "shard.json"

# How pictures are kept, as data.store names it.
PIXELS, ENCODED = "pixels", "encoded"

# Settings that all shards share.
_SHARED = ("layout", "definition", "store", "image_size", "depth_near", "depth_frame", "max_pixels")
# What every stage reads of a card; unzip alone reads more of it.
_CARD_TYPES = {
    "archive": str,
    "layout": str,
    "definition": dict,
    "store": str,
    "image_size": int,
    "depth_near": str,
    "depth_frame": str,
    "max_pixels": int,
    "counts": dict,
}
# Of a file that could not be read; DVC does not see that a disk was mended.
UNREAD_ADVICE = "are not as their archive announces, or cannot be read: copy it again, then `dvc repro --force unzip`"
_CURE = "run `dvc repro --force unzip`"
_CURE_OF_REGISTERED = "run `dvc repro --force index`"


class ShardedArray:
    """The arrays of one kind in all shards, as if they were one array.

    Args:
        parts: Arrays that differ in their first dimension only; at least one.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of pictures, then the shape of one."""
        return (len(self), *self.parts[0].shape[1:])

    def take(self, rows: npt.NDArray[np.integer[Any]], out: Pixels | None = None) -> Pixels:
        """Copy pictures by their row numbers, in the order asked for.

        Args:
            rows: (n,) row numbers, repeats allowed.
            out: (n, ...) array to copy into; a new one if None.

        Raises:
            ValueError: A row number is negative or too large: the index is not of these arrays.

        >>> halves = ShardedArray([np.array([[10], [11]], np.uint8), np.array([[12]], np.uint8)])
        >>> halves.take(np.array([2, 0])).tolist()
        [[12], [10]]
        """
        rows = np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            wrong = rows.min() if rows.min() < 0 else rows.max()
            raise ValueError(
                f"index.csv names row {wrong} of {len(self)} pictures: it was edited, or is not of these arrays; "
                "run `dvc repro`, which makes it again"
            )
        if out is None:
            out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if len(self.parts) == 1:
            return _take(self.parts[0], rows, out)
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        for shard in np.unique(shards):
            chosen = shards == shard
            out[chosen] = _take(self.parts[shard], rows[chosen] - self.starts[shard])
        return out


@dataclass(frozen=True)
class Arrays:
    """Everything that was decoded.

    Attributes:
        image_size: [px] S, height and width of every picture, once it is decoded.
        background: (n, S, S, 3) RGB.
        composite: (n, S, S, 3) RGB.
        mask: (n, S, S) in {0, 1}.
        depth: (n, S, S), 0 near and 255 far.
        background_depth: (n, S, S) likewise, of backgrounds; None where no archive has any.
    """

    image_size: int
    background: ShardedArray
    composite: ShardedArray
    mask: ShardedArray
    depth: ShardedArray
    background_depth: ShardedArray | None = None


def pixels_file(kind: str) -> str:
    """Name the file of the pixels of one kind."""
    return f"{kind}.npy"


def encoded_file(kind: str) -> str:
    """Name the file of the encoded pictures of one kind."""
    return f"{kind}.bin"


def spans_file(kind: str) -> str:
    """Name the file that says where each encoded picture of one kind lies."""
    return f"{kind}.spans.npy"


def read_arrays(arrays_dir: Path, registered_dir: Path | None = None) -> Arrays:
    """Open the arrays of all shards; no picture is read yet.

    Args:
        arrays_dir: The shards.
        registered_dir: Where the index laid backgrounds over their composites; their rows are behind all others.

    Raises:
        FileNotFoundError: There is no shard.
        ValueError: A shard is incomplete, or not of the same run as the others, or as the store that is named.
    """
    cards = read_cards(arrays_dir)
    size = next(iter(cards.values()))["image_size"]
    store = find_store(list(cards), CARD_FILE)
    arrays = {kind: _map_kind(cards, kind, store) for kind in CHANNELS}
    if registered_dir is not None:
        for kind in REGISTERED_KINDS:
            shape = None, size, size, *CHANNELS[kind]
            more = _map_array(registered_dir / pixels_file(kind), np.uint8, shape, _CURE_OF_REGISTERED)
            arrays[kind] = ShardedArray([*arrays[kind].parts, *([more] if len(more) else [])])
    if not arrays["background_depth"]:
        del arrays["background_depth"]
    return Arrays(size, **arrays)


def read_cards(arrays_dir: Path) -> dict[Path, dict[str, Any]]:
    """Read what every shard says about itself, in the order of their names.

    Raises:
        FileNotFoundError: There is no shard.
        ValueError: A card is damaged, or the shards are not of the same run.
    """
    cards = {path.parent: read_card(path.parent) for path in sorted(arrays_dir.glob(f"[!.]*/{CARD_FILE}"))}
    if not cards:
        raise FileNotFoundError(f"{arrays_dir} holds no arrays; run `dvc repro unzip`")
    first, *others = cards
    for shard in others:
        if any(cards[shard][name] != cards[first][name] for name in _SHARED):
            raise ValueError(f"{shard} and {first} were made with different settings; {_CURE}")
    return cards


def read_card(shard: Path) -> dict[str, Any]:
    """Read what a shard says about itself.

    Raises:
        FileNotFoundError: There is no such shard.
        ValueError: Not what unzip writes: no JSON, or something that later stages read is missing or of another type.
    """
    path = shard / CARD_FILE
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {_CURE}") from error
    if not isinstance(card, dict):
        raise ValueError(f"{path} is damaged (expected an object, found {reprlib.repr(card)}); {_CURE}")
    for name, kind in _CARD_TYPES.items():
        if type(card.get(name)) is not kind:
            found = reprlib.repr(card[name]) if name in card else "nothing"
            raise ValueError(f"{path} is damaged ({name}: expected {kind.__name__}, found {found}); {_CURE}")
    if not all(type(count) is int for count in card["counts"].values()):
        raise ValueError(f"{path} is damaged (counts: expected numbers, found {reprlib.repr(card['counts'])}); {_CURE}")
    return card


def _take(part: Part, rows: npt.NDArray[np.integer[Any]], out: Pixels | None = None) -> Pixels:
    if isinstance(part, EncodedArray | StoredArray):
        return part.take(rows, out)
    # The rows are checked: mode "clip" then only spares numpy a second copy.
    return np.take(part, rows, axis=0, out=out, mode="clip")


def _map_kind(cards: Mapping[Path, dict[str, Any]], kind: str, store: Store | None) -> ShardedArray:
    return ShardedArray([_open_part(shard, card, kind, store) for shard, card in cards.items()])


def _open_part(shard: Path, card: dict[str, Any], kind: str, store: Store | None) -> Part:
    count, size = card["counts"].get(kind, 0), card["image_size"]
    shape = (count, size, size, *CHANNELS[kind])
    if not count:
        return np.empty(shape, np.uint8)
    if store:
        if card["store"] != PIXELS:
            raise ValueError(f"{ARRAYS_VARIABLE} takes arrays of data.store: pixels alone; these are {card['store']}")
        return store.open(shard.name, pixels_file(kind), shape)
    if card["store"] == PIXELS:
        return _map_array(shard / pixels_file(kind), np.uint8, shape)
    spans = _map_array(shard / spans_file(kind), np.int64, (count, 2))
    decoding = Decoding(size, card["depth_near"], card["depth_frame"], card["max_pixels"])
    try:
        return EncodedArray(shard / encoded_file(kind), spans, kind, CHANNELS[kind], decoding)
    except (OSError, ValueError) as error:
        raise ValueError(f"{shard / encoded_file(kind)} cannot be read ({error}); {_CURE}") from error


def _map_array(
    path: Path, dtype: type[np.generic], shape: tuple[int | None, ...], cure: str = _CURE
) -> npt.NDArray[Any]:
    """Map an array that is expected to have a shape; None is any length."""
    try:
        array = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {cure}") from error
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise ValueError(f"{path} holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}; {cure}")
    return array
