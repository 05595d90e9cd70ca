"""What the benchmarks work on: a small drawn sample, and many pictures made of it by repeating its bytes.

Drawing costs more than all that is measured here, and neither a decoder nor a disk is faster at a picture that it has
met under another name.
"""

import itertools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from support.shipped import SHIPPED_PARAMS

from maskdepth.data.archives.archive import find_archives
from maskdepth.data.archives.listings import write_listings
from maskdepth.data.archives.members import Members, members_of
from maskdepth.data.archives.planning import plan_shard
from maskdepth.data.archives.shards import write_shards
from maskdepth.data.arrays.arrays import Arrays, ShardedArray, read_arrays
from maskdepth.data.layouts.layout import IDS, NAME_COLUMNS, read_layouts
from maskdepth.making.drawing.sample import write_sample
from maskdepth.params import load_params

if TYPE_CHECKING:
    from maskdepth.models.network import Network

# Of the data set that the five student projects made: 100 foregrounds, 100 backgrounds, 2 flips, 20 placements.
BACKGROUNDS = 100
PLACEMENTS = 40  # plain and mirrored
PICTURE_SIZE = 160  # [px] of the project whose names are used here
USUAL_SIZE = 224  # [px] about what the pictures of the four other projects have
ARRAY_SIZE = 64  # [px]

_LAYOUT = "sudhakarmlal"
_DATA = load_params(SHIPPED_PARAMS).data.model_copy(update={"image_size": ARRAY_SIZE})
_DRAWN_BACKGROUNDS, _DRAWN_FOREGROUNDS, _DRAWN_COMPOSITES = 10, 2, 60
_SEED = 0

Sample = tuple[int, int, int, int]  # foreground, background, flip, placement
Files = tuple[bytes, ...]  # composite, mask, depth


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder on the disk, gone at the end."""
    with TemporaryDirectory(prefix="maskdepth-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def draw_scenes(
    folder: Path, size: int, seed: int = _SEED, foregrounds: int = _DRAWN_FOREGROUNDS
) -> list[tuple[bytes, list[Files]]]:
    """Draw the small sample; give the JPEG files of each background, and of the samples on it."""
    raw = folder / "drawn"
    write_sample(raw, _LAYOUT, seed, _DRAWN_BACKGROUNDS, foregrounds, _DRAWN_COMPOSITES, size)
    files: dict[str, bytes] = {}
    for path in sorted(raw.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            files |= {name: archive.read(name) for name in archive.namelist()}
    keys = [name.removeprefix("fg_bg_jpg/fg_bg_") for name in files if name.startswith("fg_bg_jpg/")]
    scenes = []
    for number in range(1, _DRAWN_BACKGROUNDS + 1):
        on_it = [key for key in keys if int(key.split("_")[1]) == number]
        triples = [tuple(files[name] for name in names_of(key)) for key in on_it]
        scenes.append((files[f"bg_jpg/bg_img_{number}.jpg"], triples))
    return scenes


def names_of(key: str) -> tuple[str, str, str]:
    """Name composite, mask and depth of a sample such as `3_95_0_15.jpg`."""
    return f"fg_bg_jpg/fg_bg_{key}", f"mask_black_jpg/bg_mask_{key}", f"depth_fg_bg_jpg/depth_fg_bg_{key}"


def list_samples(count: int) -> list[Sample]:
    """List the first samples of a whole data set: objects outermost, then backgrounds, flips, placements."""
    foregrounds = range(1, -(-count // (BACKGROUNDS * PLACEMENTS)) + 1)
    ids = itertools.product(foregrounds, range(1, BACKGROUNDS + 1), (0, 1), range(1, PLACEMENTS // 2 + 1))
    return list(itertools.islice(ids, count))


def write_archives(folder: Path, num_samples: int, num_archives: int, size: int = PICTURE_SIZE) -> Path:
    """Write zips of so many samples, whose pictures, of this size [px], repeat the drawn ones; give their folder."""
    scenes = draw_scenes(folder, size)
    raw = folder / "raw"
    raw.mkdir()
    samples = list_samples(num_samples)
    for number, chosen in enumerate(np.array_split(np.arange(num_samples), num_archives)):
        with zipfile.ZipFile(raw / f"batch{number + 1}_images.zip", "w") as archive:
            for background in range(1, BACKGROUNDS + 1):
                archive.writestr(f"bg_jpg/bg_img_{background}.jpg", scenes[background % len(scenes)][0])
            for position in chosen:
                triples = scenes[samples[position][1] % len(scenes)][1]
                key = "_".join(map(str, samples[position])) + ".jpg"
                for name, data in zip(names_of(key), triples[position % len(triples)], strict=True):
                    archive.writestr(name, data)
    return raw


def make_arrays(num_samples: int, num_pictures: int, size: int) -> Arrays:
    """Make arrays as unzip writes them, in memory, without drawing.

    Composites are their background with a square of noise, so that the index finds them where they belong.

    Args:
        num_samples: Pictures of each kind but backgrounds.
        num_pictures: How many of them differ, all or a multiple of what one foreground has (4,000); the arrays repeat
            them, in shards of so many.
        size: [px] height and width.
    """
    random = np.random.default_rng(_SEED)
    samples = list_samples(num_samples)
    backgrounds = random.integers(0, 256, (BACKGROUNDS, size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2] = 1
    owners = np.array([sample[1] - 1 for sample in samples[:num_pictures]])
    composites = backgrounds[owners]
    composites[:, mask == 1] = random.integers(0, 256, (num_pictures, int(mask.sum()), 3), np.uint8)
    parts = {
        "background": [backgrounds],
        "composite": _repeat(composites, num_samples),
        "mask": _repeat(np.repeat(mask[None], num_pictures, 0), num_samples),
        "depth": _repeat(random.integers(0, 256, (num_pictures, size, size), np.uint8), num_samples),
    }
    arrays = {kind: ShardedArray(pictures) for kind, pictures in parts.items()}
    return Arrays(size, **arrays)


def list_members(num_samples: int) -> Members:
    """Name the members of the archives that the arrays of `make_arrays` would come from."""
    samples = list_samples(num_samples)
    lines: list[tuple[object, ...]] = [
        ("background", f"bg_jpg/bg_img_{number}.jpg", "", str(number), "", "", "", number - 1)
        for number in range(1, BACKGROUNDS + 1)
    ]
    for row, sample in enumerate(samples):
        ids = tuple(map(str, sample))
        names = names_of("_".join(ids) + ".jpg")
        lines += [(kind, name, *ids, "", row) for kind, name in zip(("composite", "mask", "depth"), names, strict=True)]
    members = pd.DataFrame(lines, columns=["kind", "member", *NAME_COLUMNS, "global_row"])
    digest = pd.Series(np.arange(len(members))).map("{:032x}".format)
    known: dict[str, Any] = {
        "width": PICTURE_SIZE,
        "height": PICTURE_SIZE,
        "reason": "",
        "cure": "",
        "shard": "batch1_images",
    }
    table = members.assign(digest=digest, row=members["global_row"], archive="batch1_images.zip", **known)
    return members_of(table, pd.DataFrame(), read_layouts()[_LAYOUT])


def unzip(raw: Path, arrays_dir: Path, workers: int, **settings: object) -> Arrays:
    """Do what the stage of that name does, but for its journal; settings are those of `data` that differ."""
    arrays_dir.mkdir(exist_ok=True)
    layout = read_layouts()[_LAYOUT]
    params = _DATA.model_copy(update=settings)
    with TemporaryDirectory() as folder:
        sources = write_listings(find_archives(raw), Path(folder))
        plans = [plan_shard(archive, source, layout, params, "code") for archive, source in sources.items()]
        for _ in write_shards(arrays_dir, plans, workers):
            pass
    return read_arrays(arrays_dir)


def list_rows(arrays: Arrays) -> pd.DataFrame:
    """Give what a loader needs of the index of arrays that `make_arrays` made."""
    samples = list_samples(len(arrays.composite))
    rows = {f"{kind}_row": np.arange(len(samples)) for kind in ("composite", "mask", "depth")}
    backgrounds = [sample[IDS.index("background")] - 1 for sample in samples]
    names = ["_".join(map(str, sample)) for sample in samples]
    return pd.DataFrame({"sample_id": names, "background_row": backgrounds, **rows})


def list_files(root: Path, rows: pd.DataFrame) -> list[tuple[Path, ...]]:
    """Give the files of background, composite, mask and depth of each row of the index, once they are extracted."""
    return [
        (root / f"bg_jpg/bg_img_{row.background}.jpg", *(root / name for name in names_of(f"{row.sample_id}.jpg")))
        for row in rows.itertuples()
    ]


def build(name: str, inputs: str = "background+composite") -> "Network":
    """Build a network with fresh weights, laid out as for training."""
    import torch

    from maskdepth.models.catalogue import build_network
    from maskdepth.models.network import NetworkSpec, Normalisation

    torch.manual_seed(_SEED)
    halves, quarters = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    spec = NetworkSpec(name, inputs, Normalisation(halves, quarters, halves, quarters), ARRAY_SIZE)
    return build_network(spec)


def _repeat(pictures: np.ndarray, count: int) -> list[np.ndarray]:
    """Give arrays of `count` pictures in all that share the memory of a few."""
    whole, rest = divmod(count, len(pictures))
    return [pictures] * whole + ([pictures[:rest]] if rest else [])
