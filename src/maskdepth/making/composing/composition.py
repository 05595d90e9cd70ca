"""What a composed data set is: its settings, and how many pictures a layout can name."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from maskdepth.making.composing.placing import RULES
from maskdepth.making.layout_writer import (
    DIGITS,
    Sample,
    Totals,
    WrittenLayout,
    batch_of,
    find_written,
    path_of,
    written_layouts,
)

# How mirrored objects are placed: there are none, where their plain ones are, or anywhere.
MIRRORS = ("none", "same", "independent")

_SMALLEST_SIZE = 32  # [px]
_SMALLEST_OBJECT = 4  # [px]
_HIGHEST_QUALITY = 100


@dataclass(frozen=True)
class Composition:
    """A data set to compose.

    Attributes:
        foregrounds: Folder of cut-outs with alpha.
        backgrounds: Folder of pictures of any size.
        depths: Folder of depth maps, named as their backgrounds, grey, dark is near; None composes no depth.
        out: Folder for the archives.
        layout: One of `written_layouts`.
        size: Height and width of the composites [px].
        object_size: Height of the objects: a share of the picture's height up to 1, [px] above.
        placements: How often each object stands on each background.
        mirror: One of `MIRRORS`; mirrored objects come on top of the plain ones.
        rule: One of `RULES`.
        quality: JPEG quality of composites and backgrounds, 1 to 100; 0 is PNG.
        mask_quality: Likewise of masks.
        depth_quality: Likewise of depth maps.
        seed: Everything random follows from it.
    """

    foregrounds: Path
    backgrounds: Path
    depths: Path | None
    out: Path
    layout: str
    size: int
    object_size: float
    placements: int
    mirror: str
    rule: str
    quality: int
    mask_quality: int
    depth_quality: int
    seed: int

    @property
    def tall(self) -> int:
        """Height of an object, by `ground` of one in front [px]."""
        return round(self.object_size * self.size if self.object_size <= 1 else self.object_size)

    @property
    def flips(self) -> int:
        """2 where there are mirrored objects beside the plain ones."""
        return 1 if self.mirror == "none" else 2

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is made for each placement."""
        return ("composite", "mask") if self.depths is None else ("composite", "mask", "depth")

    @property
    def settings(self) -> dict[str, Any]:
        """All that the pictures depend on, but for the pictures that they are made of."""
        folders = ("foregrounds", "backgrounds", "depths", "out")
        return {name: value for name, value in asdict(self).items() if name not in folders}


def check_composition(composition: Composition) -> None:
    """Make sure that the settings can be meant.

    Raises:
        ValueError: One cannot; says what it may be.
    """
    for name, value, known in (
        ("layout", composition.layout, tuple(written_layouts())),
        ("mirror", composition.mirror, MIRRORS),
        ("rule", composition.rule, tuple(RULES)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    for name, number, least in (
        ("size", composition.size, _SMALLEST_SIZE),
        ("placements", composition.placements, 1),
        ("seed", composition.seed, 0),
    ):
        if number < least:
            raise ValueError(f"{name} is {number}; expected {least} or more")
    for name in ("quality", "mask_quality", "depth_quality"):
        quality = getattr(composition, name)
        if not 0 <= quality <= _HIGHEST_QUALITY:
            raise ValueError(f"{name} is {quality}; expected a JPEG quality of 1 to {_HIGHEST_QUALITY}, or 0 for PNG")
    if not math.isfinite(composition.object_size):
        raise ValueError(f"object_size is {composition.object_size}; expected a share of up to 1, or pixels")
    if not _SMALLEST_OBJECT <= composition.tall <= composition.size:
        raise ValueError(
            f"object_size {composition.object_size:g} makes objects {composition.tall} px tall on pictures of "
            f"{composition.size} px; expected {_SMALLEST_OBJECT} to {composition.size} px, or a share of up to 1"
        )


class Plan(NamedTuple):
    """A composition of pictures that were counted, and how its files are named."""

    composition: Composition
    layout: WrittenLayout
    totals: Totals

    @property
    def batches(self) -> range:
        """Numbers of the batches of archives."""
        return range(1, self.layout.batches + 1)

    def path_of(self, kind: str, sample: Sample) -> str:
        """Give the path of a picture of a sample below the folder of the archives."""
        return path_of(self.layout, self.totals, kind, sample)

    def numbers_of(self, batch: int) -> tuple[Sequence[int], Sequence[int]]:
        """Give the numbers of the foregrounds and of the backgrounds of which one batch has the composites."""
        numbers = {name: range(1, total + 1) for name, total in self.totals._asdict().items()}
        dealt = [
            number
            for number in numbers[self.layout.batch_by]
            if batch_of(self.layout, self.totals, pair_sample(number, number)) == batch
        ]
        chosen: dict[str, Sequence[int]] = numbers | {self.layout.batch_by: dealt}
        return chosen["foreground"], chosen["background"]

    def count_of(self, batch: int) -> int:
        """Count the composites of one batch."""
        foregrounds, backgrounds = self.numbers_of(batch)
        return len(foregrounds) * len(backgrounds) * self.composition.placements * self.composition.flips

    def samples_of(self, batch: int) -> Iterator[Sample]:
        """Yield what belongs into one batch, all placements of one object on one background in a row."""
        foregrounds, backgrounds = self.numbers_of(batch)
        placements, flips = range(1, self.composition.placements + 1), range(self.composition.flips)
        for foreground, background, placement, flip in product(foregrounds, backgrounds, placements, flips):
            yield pair_sample(foreground, background)._replace(flip=flip, placement=placement)

    def samples(self) -> Iterator[Sample]:
        """Yield all composites, batch after batch."""
        for batch in self.batches:
            yield from self.samples_of(batch)


def pair_sample(foreground: int, background: int) -> Sample:
    """Give the first composite of an object on a background; it has no running number."""
    return Sample(0, foreground, background, flip=0, placement=1)


def plan_composition(composition: Composition, backgrounds: int, foregrounds: int) -> Plan:
    """Find out how the layout names so many pictures, and into how many archives they are dealt.

    Raises:
        ValueError: The layout cannot tell so many apart, or has no names for mirrored ones.
    """
    layout = find_written(composition.layout, composed=True)
    counts = {"background": backgrounds, "foreground": foregrounds, "placement": composition.placements}
    for name, count in counts.items():
        if name in layout.order and count > DIGITS[name]:
            raise ValueError(
                f"{count} {name}s are more than the {DIGITS[name]} that the numbers of layout {composition.layout} "
                "tell apart; use fewer, or layout sudhakarmlal"
            )
    if composition.flips == 2 and not layout.mirrors:
        raise ValueError(
            f"layout {composition.layout} has no names for the depth of mirrored objects; set mirror to none, or use "
            "another layout"
        )
    number = backgrounds * foregrounds * composition.placements * composition.flips
    totals = Totals(backgrounds, foregrounds, number)
    batches = max(layout.batches, -(-number // layout.largest))
    return Plan(composition, replace(layout, batches=min(batches, getattr(totals, layout.batch_by))), totals)
