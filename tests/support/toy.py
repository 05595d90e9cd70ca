"""The toy world: shaded discs on gradients, so that every mask and depth is known to the last pixel.

Pictures are PNG under the names of the real data sets (also where those end in .jpg), so decoding at `TOY_SIZE`
gives back exactly what was drawn.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

TOY_SIZE = 32  # [px]
OBJECT_DEPTH = 40  # nearer than any background pixel, grey levels, 0 is near

# Every layout of the real data sets holds up to 100 backgrounds, 100 foregrounds and 20 placements.
NUM_IDS = 100
NUM_PLACEMENTS = 20


@dataclass(frozen=True)
class ToySample:
    """One composite and its truth: composite (S, S, 3), mask (S, S) {0, 1}, depth (S, S) with 0 near."""

    foreground: int
    background: int
    flip: int
    placement: int
    composite: Pixels
    mask: Pixels
    depth: Pixels

    @property
    def sample_id(self) -> str:
        return f"{self.foreground}_{self.background}_{self.flip}_{self.placement}"


@dataclass(frozen=True)
class ToyWorld:
    """What was drawn: the zip's path, the background pictures (S, S, 3) by id, and the samples in archive order."""

    path: Path
    backgrounds: dict[int, Pixels]
    samples: list[ToySample]


def write_toy_archive(
    folder: Path,
    layout: str = "sudhakarmlal",
    name: str = "batch1_images.zip",
    backgrounds: Iterable[int] = (1, 2, 3),
    foregrounds: Iterable[int] = (1, 2),
    flips: Iterable[int] = (0, 1),
    placements: Iterable[int] = (1, 2),
) -> ToyWorld:
    """Draw every combination of the ids and write it below `folder` as one of the known layouts.

    The default is 24 samples on 3 backgrounds. Layouts that keep pictures beside their zip get them as loose files.
    """
    pictures = {number: draw_background(number) for number in backgrounds}
    samples = [
        draw_sample(foreground, background, flip, placement)
        for foreground in foregrounds
        for background in pictures
        for flip in flips
        for placement in placements
    ]
    path = folder / name
    zipped, loose = _LAYOUTS[layout](pictures, samples)
    write_zip(path, zipped)
    for member, data in loose:
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).write_bytes(data)
    return ToyWorld(path, pictures, samples)


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members with a fixed time stamp, so that the same drawing is the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def draw_background(number: int) -> Pixels:
    """Blend four random corner colours over the picture; every number has its own."""
    corners = np.random.default_rng(number).integers(0, 256, (2, 2, 3))
    right, down = np.meshgrid(*[np.linspace(0, 1, TOY_SIZE)] * 2)
    weights = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    return np.asarray((weights @ corners.reshape(4, 3)).round(), np.uint8)


def draw_sample(foreground: int, background: int, flip: int, placement: int) -> ToySample:
    """Paste a disc that is bright on its left (mirrored: right) half; foregrounds differ in radius and colour."""
    row, column = np.mgrid[:TOY_SIZE, :TOY_SIZE]
    random = np.random.default_rng([foreground, background, placement])
    centre_row, centre_column = random.integers(TOY_SIZE // 4, 3 * TOY_SIZE // 4, 2)
    radius = 4 + foreground % 4
    inside = (row - centre_row) ** 2 + (column - centre_column) ** 2 <= radius**2
    colour = np.random.default_rng([foreground]).integers(64, 256, 3)
    is_bright = (column < centre_column) != bool(flip)
    disc = np.where(is_bright[..., None], colour, colour // 2)
    composite = np.where(inside[..., None], disc, draw_background(background)).astype(np.uint8)
    depth = np.where(inside, OBJECT_DEPTH, draw_background_depth(background)).astype(np.uint8)
    return ToySample(foreground, background, flip, placement, composite, inside.astype(np.uint8), depth)


def write_background_depths(folder: Path, backgrounds: Iterable[int]) -> None:
    """Write the depth of backgrounds beside the archives, in the names of layout sudhakarmlal."""
    for number in backgrounds:
        path = folder / "depth_bg_jpg" / f"depth_bg_img_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(draw_background_depth(number)))


def encode_png(pixels: Pixels) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def draw_background_depth(number: int) -> Pixels:
    """A floor that comes nearer towards the lower edge, from `number`'s own horizon."""
    column = np.linspace(255 - number % 50, 100, TOY_SIZE)
    return np.repeat(column[:, None], TOY_SIZE, 1).astype(np.uint8)


Member = tuple[str, bytes]
Pictures = dict[int, Pixels]
Parts = tuple[list[Member], list[Member]]  # in the zip, beside it


def _triples(samples: Sequence[ToySample], names: Callable[[ToySample], tuple[str, str, str]]) -> list[Member]:
    """Encode each sample's composite, mask and depth under the three names of its layout."""
    return [
        (name, encode_png(pixels))
        for sample in samples
        for name, pixels in zip(names(sample), (sample.composite, sample.mask * 255, sample.depth), strict=True)
    ]


def _singles(pictures: Pictures, template: str) -> list[Member]:
    return [(template.format(number), encode_png(pixels)) for number, pixels in pictures.items()]


def _foregrounds(samples: Sequence[ToySample], template: str) -> list[Member]:
    """Cut-outs nobody decodes: a plain square each."""
    square = encode_png(np.full((8, 8, 3), 200, np.uint8))
    return [(template.format(number), square) for number in sorted({sample.foreground for sample in samples})]


def _sudhakarmlal(pictures: Pictures, samples: list[ToySample]) -> Parts:
    def names(sample: ToySample) -> tuple[str, str, str]:
        key = f"{sample.sample_id}.jpg"
        return f"fg_bg_jpg/fg_bg_{key}", f"mask_black_jpg/bg_mask_{key}", f"depth_fg_bg_jpg/depth_fg_bg_{key}"

    singles = _foregrounds(samples, "fg_jpg/fg_img_{}.jpg") + _singles(pictures, "bg_jpg/bg_img_{}.jpg")
    return singles + _triples(samples, names), []


def _mshilpaa(pictures: Pictures, samples: list[ToySample]) -> Parts:
    """The numbers follow the arithmetic of the makers: foreground, background, placement, flip."""

    def number(sample: ToySample) -> int:
        scene = (sample.foreground - 1) * NUM_IDS + sample.background - 1
        return (scene * NUM_PLACEMENTS + sample.placement - 1) * 2 + sample.flip + 1

    def names(sample: ToySample) -> tuple[str, str, str]:
        n = number(sample)
        return f"data_1/Fg-Bg/fg-bg{n}.jpg", f"data_1/Fg-Bg-Mask/fg-bg-mask{n}.jpg", f"data_1/Depth/depth{n}.jpg"

    def label(sample: ToySample) -> str:
        pair = f"Background/bg{sample.background}.jpg", f"Foreground/fg{sample.foreground}.png"
        return "\t".join([*pair, *names(sample)])

    labels = "".join(label(sample) + "\n" for sample in samples).encode()
    loose = _singles(pictures, "Background/bg{}.jpg") + _foregrounds(samples, "Foreground/fg{}.png")
    return _triples(samples, names), [*loose, ("labels.txt", labels)]


def _sajnanshetty(pictures: Pictures, samples: list[ToySample]) -> Parts:
    def names(sample: ToySample) -> tuple[str, str, str]:
        scene = (sample.background - 1) * NUM_IDS + sample.foreground - 1
        n = (scene * 2 + sample.flip) * NUM_PLACEMENTS + sample.placement
        place = f"bg_{sample.background:03d}/{n}.jpg"
        return f"fg_bg/{place}", f"fg_bg_mask/{place}", f"fg_bg_dense_depth/{place}"

    return _triples(samples, names), _singles(pictures, "background/{}.jpg")


def _sumankanukollu(pictures: Pictures, samples: list[ToySample]) -> Parts:
    def names(sample: ToySample) -> tuple[str, str, str]:
        n = (sample.foreground - 1) * NUM_PLACEMENTS + sample.placement
        name = f"{sample.background}_bg_{n}_fg.jpg"
        flip = "Flip" if sample.flip else ""
        return f"bg_fg{flip}_1/{name}", f"bg_fg{flip}_mask_1/{name}", f"depthMap/{name}"

    return _triples(samples, names), _singles(pictures, "bg/{}_bg.jpg")


def _deepjyotisaha85(pictures: Pictures, samples: list[ToySample]) -> Parts:
    def names(sample: ToySample) -> tuple[str, str, str]:
        scene = (sample.background - 1) * NUM_IDS + sample.foreground - 1
        n = (scene * NUM_PLACEMENTS + sample.placement - 1) * 2 + sample.flip + 1
        return f"image/fg_bg_{n}.jpg", f"mask/fg_bg_mask_{n}.jpg", f"depthmap/depth_{n}.jpg"

    return _triples(samples, names), _singles(pictures, "bg/bg_{}.jpg")


_LAYOUTS: dict[str, Callable[[Pictures, list[ToySample]], Parts]] = {
    "sudhakarmlal": _sudhakarmlal,
    "mshilpaa": _mshilpaa,
    "sajnanshetty": _sajnanshetty,
    "sumankanukollu": _sumankanukollu,  # only with flips=(0,): its depth names do not tell the mirrored ones apart
    "deepjyotisaha85": _deepjyotisaha85,
}
