"""The other ways, in our own words: what the five student projects did, and what one would write today without us.

Each is written as its users would, but without what would slow it down by accident: no printing, no drive in the
cloud, nothing computed twice.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import simplejpeg
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Names = Sequence[str]

# Pictures of one sample, in the order of `list_files`: two in colour, then two of one value a pixel.
_KINDS = ("background", "composite", "mask", "depth")
_MODES = ("RGB", "RGB", "L", "L")
# Samples that webdataset holds in memory to give them in another order; the number of its documentation.
_SHUFFLED = 1000
_FIND = r"_(?P<foreground>\d+)_(?P<background>\d+)_(?P<flip>\d)_(?P<placement>\d+)\.jpg$"
_KEY = ["foreground", "background", "flip", "placement"]


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip into files, as all five began."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / archive.stem)


def extract_and_read(raw: Path, folder: Path) -> int:
    """Unpack all archives, then read all files, in one process as the projects did. Give the number of bytes."""
    return read_files(extract_in_order(raw, folder))


def extract_and_open(raw: Path, folder: Path, size: int) -> list[Pixels]:
    """Unpack all archives, then open and resize file after file, as the projects' data sets did in one process."""
    return decode_files(extract_in_order(raw, folder), size)


def extract_in_order(raw: Path, folder: Path) -> list[Path]:
    """Unpack all archives, one after the other; give the pictures."""
    for archive in sorted(raw.glob("*.zip")):
        extract(archive, folder)
    return sorted(folder.rglob("*.jpg"))


def extract_and_decode(raw: Path, folder: Path, size: int, workers: int) -> list[Pixels]:
    """Unpack all archives, then decode all files into arrays; each step by all cores."""
    with ProcessPoolExecutor(workers) as pool:
        shares = extract_all(raw, folder, pool, workers)
        return [np.stack(pictures) for pictures in _by_shape(pool.map(decode_files, shares, [size] * workers))]


def extract_all(raw: Path, folder: Path, pool: Executor, workers: int) -> list[list[Path]]:
    """Unpack all archives by all cores; give the pictures, a share for each worker."""
    archives = sorted(raw.glob("*.zip"))
    list(pool.map(extract, archives, [folder] * len(archives)))
    paths = sorted(folder.rglob("*.jpg"))
    return [paths[start::workers] for start in range(workers)]


def read_files(paths: Iterable[Path]) -> int:
    """Read files whole; give the number of bytes."""
    return sum(len(path.read_bytes()) for path in paths)


def decode_file(path: Path, size: int) -> Pixels:
    """Open a picture file, in the mode that it has, and resize it with antialiasing."""
    with Image.open(path) as picture:
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def decode_files(paths: Sequence[Path], size: int) -> list[Pixels]:
    return [decode_file(path, size) for path in paths]


def decode_only(files: Iterable[bytes]) -> None:
    """Decode JPEG files in memory at their full size and keep nothing: Pillow's libjpeg alone."""
    for data in files:
        Image.open(io.BytesIO(data)).load()


def decode_turbo_only(files: Iterable[bytes]) -> None:
    """Do so by libjpeg-turbo with its vector instructions, which the libjpeg of Pillow's wheels lacks."""
    for data in files:
        is_grey = simplejpeg.decode_jpeg_header(data)[2] == "Gray"
        simplejpeg.decode_jpeg(data, "GRAY" if is_grey else "RGB")


def map_by_listing(names: tuple[Names, Names, Names], pairs: Iterable[tuple[int, int]]) -> list[tuple[str, str, str]]:
    """Pair the files of three listings: for every (foreground, background) all names are searched.

    What is found is put together by its position, as the project did; so it is wrong unless all three agree.
    """
    samples: list[tuple[str, str, str]] = []
    for foreground, background in pairs:
        key = f"{foreground}_{background}_"
        starts = (f"fg_bg_jpg/fg_bg_{key}", f"mask_black_jpg/bg_mask_{key}", f"depth_fg_bg_jpg/depth_fg_bg_{key}")
        found: tuple[list[str], ...] = ([], [], [])
        for files in zip(*names, strict=True):
            for name, start, kind in zip(files, starts, found, strict=True):
                if name.startswith(start):
                    kind.append(name)
        samples += zip(*found, strict=True)
    return samples


def merge_by_pandas(names: tuple[Names, Names, Names]) -> pd.DataFrame:
    """Pair the files by regular expression and merge: what one would write today."""
    kinds = []
    for kind, listing in zip(("composite", "mask", "depth"), names, strict=True):
        column = pd.Series(listing)
        kinds.append(column.str.extract(_FIND).assign(**{kind: column}))
    composites, masks, depths = kinds
    return composites.merge(masks, on=_KEY, validate="1:1").merge(depths, on=_KEY, validate="1:1")


def mean_std_of_files(paths: Iterable[Path]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation per channel from sums of float pixels, file by file, [0, 1]."""
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")) / 255
        total += pixels.sum((0, 1))
        squares += (pixels**2).sum((0, 1))
        count += pixels.shape[0] * pixels.shape[1]
    mean = total / count
    return mean, np.sqrt(squares / count - mean**2)


class Preparation:
    """What both loaders of picture files do with one that is decoded: resized, scaled to [0, 1], colours normalised.

    Args:
        size: [px] height and width wanted.
    """

    def __init__(self, size: int) -> None:
        from torchvision.transforms import v2

        self.resize = v2.Resize((size, size), antialias=True)
        self.normalise = v2.Normalize([0.5] * 3, [0.25] * 3)

    def __call__(self, picture: Image.Image) -> Any:
        from torchvision.transforms.v2 import functional

        pixels = functional.pil_to_tensor(self.resize(picture)).float() / 255
        return self.normalise(pixels) if picture.mode == "RGB" else pixels


class FileSamples:
    """Samples read from picture files one by one, for torch's DataLoader: four files a sample.

    Args:
        paths: Background, composite, mask and depth of each sample.
        size: [px] height and width wanted.
    """

    def __init__(self, paths: Sequence[tuple[Path, ...]], size: int) -> None:
        self.paths = paths
        self.prepare = Preparation(size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        maps = []
        for path, mode in zip(self.paths[number], _MODES, strict=True):
            with Image.open(path) as picture:
                maps.append(self.prepare(picture.convert(mode)))
        return tuple(maps)


def write_tars(folder: Path, samples: Sequence[tuple[Path, ...]], count: int) -> list[str]:
    """Copy the four files of each sample into webdataset's tars, so many; its workers take turns by whole tars."""
    import webdataset

    folder.mkdir()
    tars = [str(folder / f"samples-{number:04}.tar") for number in range(count)]
    for start, tar in enumerate(tars):
        with webdataset.TarWriter(tar, encoder=False) as writer:
            for number in range(start, len(samples), count):
                files = zip(_KINDS, samples[number], strict=True)
                writer.write({"__key__": f"{number:06}"} | {f"{kind}.jpg": path.read_bytes() for kind, path in files})
    return tars


def load_tars(tars: Sequence[str], size: int, batch_size: int, workers: int) -> Iterable[list[Any]]:
    """Give what webdataset makes of its tars: the pipeline of its documentation, batches made by the workers.

    Args:
        tars: One for each worker at least.
        size: [px] height and width wanted.
        batch_size: Samples; each worker's last batch may have fewer.
        workers: Processes, which stay for the next pass; 0 is none beside the caller's.
    """
    import webdataset

    prepare = Preparation(size)
    names = [f"{kind}.jpg" for kind in _KINDS]
    greys = [name for name, mode in zip(names, _MODES, strict=True) if mode == "L"]
    # The maps first and as grey: as "pil" alone they would be turned into colours and back.
    samples = (
        webdataset.WebDataset(list(tars), shardshuffle=len(tars))
        .shuffle(_SHUFFLED)
        .decode("pill", only=greys)
        .decode("pil", partial=True)
        .to_tuple(*names)
        .map_tuple(*[prepare] * len(names))
        .batched(batch_size)
    )
    loader: Iterable[list[Any]] = webdataset.WebLoader(
        samples, batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )
    return loader


class ArraySamples:
    """Samples taken from decoded arrays one by one: what one would write for torch's DataLoader on top of them.

    Args:
        pictures: Arrays of background, composite, mask and depth.
        rows: The row of each sample in each of them, (n, 4).
    """

    def __init__(self, pictures: Sequence[Pixels], rows: npt.NDArray[np.int64]) -> None:
        self.pictures = pictures
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        import torch

        maps = [torch.from_numpy(kind[row].copy()) for kind, row in zip(self.pictures, self.rows[number], strict=True)]
        return tuple((map_.permute(2, 0, 1) if map_.ndim == 3 else map_[None]).float() / 255 for map_ in maps)


def train_by_hand(model: Any, batches: Iterable[tuple[Any, ...]], learning_rate: float) -> dict[str, list[float]]:
    """The training loop of a notebook: float32, two cross-entropies, losses and the IoU of both maps each batch.

    Args:
        model: Maps (B, 6, H, W) to two scores (B, 1, H, W).
        batches: Background, composite, mask, depth; each float, [0, 1].
        learning_rate: Of Adam.

    Returns:
        What was measured in each batch.
    """
    import torch
    from torch.nn import functional

    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    history: dict[str, list[float]] = {"loss": [], "mask_iou": [], "depth_iou": []}
    for background, composite, mask, depth in batches:
        optimizer.zero_grad()
        mask_scores, depth_scores = model(torch.cat([background, composite], dim=1))
        mask_loss = functional.binary_cross_entropy_with_logits(mask_scores, mask)
        depth_loss = functional.binary_cross_entropy_with_logits(depth_scores, depth)
        loss = mask_loss + depth_loss
        loss.backward()
        optimizer.step()
        history["loss"].append(loss.item())
        history["mask_iou"].append(batch_iou(mask_scores, mask))
        history["depth_iou"].append(batch_iou(depth_scores, depth))
    return history


def build_smp_unet(channels: int) -> Any:
    """Build segmentation_models_pytorch's U-Net on a ResNet-18 without weights, its two classes told apart.

    Args:
        channels: Of the stacked pictures.

    Returns:
        Maps (B, C, H, W), sides of multiples of 32 [px], to two scores (B, 1, H, W): mask, depth.
    """
    import segmentation_models_pytorch

    model = segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, in_channels=channels, classes=2)
    model.register_forward_hook(lambda module, inputs, scores: scores.split(1, dim=1))
    return model


def batch_iou(scores: Any, target: Any) -> float:
    """IoU of a whole batch at 0.5, in NumPy."""
    found, true = scores.detach().sigmoid().numpy() > 0.5, target.numpy() > 0.5
    return float(((found & true).sum() + 1e-5) / ((found | true).sum() + 1e-5))


def score_one_by_one(mask_prob: Any, depth: Any, mask: Any, true_depth: Any) -> list[tuple[float, float, float]]:
    """Mask IoU, depth SSIM (scikit-image) and depth RMSE, sample by sample: what one would write today."""
    from skimage.metrics import structural_similarity

    scores = []
    for prob, found, truth, true in zip(
        *(map_.numpy()[:, 0] for map_ in (mask_prob, depth, mask, true_depth)), strict=True
    ):
        pred, label = prob > 0.5, truth > 0.5
        iou = (pred & label).sum() / max(1, (pred | label).sum())
        similarity = structural_similarity(
            found, true, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        scores.append((float(iou), float(similarity), float(np.sqrt(((found - true) ** 2).mean()))))
    return scores


def _by_shape(shares: Iterable[list[Pixels]]) -> Iterator[list[Pixels]]:
    """Sort pictures by their shape: only alike ones stack."""
    groups: dict[tuple[int, ...], list[Pixels]] = {}
    for share in shares:
        for picture in share:
            groups.setdefault(picture.shape, []).append(picture)
    yield from groups.values()
