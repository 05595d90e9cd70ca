"""What do drawn scenes teach a network about the depth of photographed places that it has never seen?

`collect` trains on drawn scenes alone, on photographs alone and on both, with equal numbers of updates (two of them
also with four times as many), and measures photographs of places that did not train; it goes on where it was stopped.
`report` says what differs, by paired intervals over places, and draws it. The photographs are those of a prepared data
set (`dvc repro split` makes it, with `places.csv` saying which backgrounds show one place); all of its places are
tested, in turns. Where it has the depth of its backgrounds, as `maskdepth label-depth --backgrounds` makes it, networks
that see it are trained, too, and drawn scenes show them theirs.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from PIL import Image
from support.pools import CHANGES, draw_pools, load_pool, pool_file, stretch_depth
from support.scene_tables import UNTRAINED, average, draw, read_parts, tabulate, tabulate_pairs
from support.shipped import SHIPPED_PARAMS
from support.trained import train_network
from torch import Tensor

from maskdepth.data.arrays.arrays import Arrays, ShardedArray, read_arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS
from maskdepth.data.samples import TRAIN, VAL, read_samples
from maskdepth.device import seed_everything, set_deterministic, set_threads
from maskdepth.evaluation.baseline import fit_ramp, guess_depths, guess_masks, mean_depths
from maskdepth.evaluation.samples import Predicted, evaluate_samples, predictions
from maskdepth.losses.depth import align
from maskdepth.making.labelling.onnx_teacher import Wanted, load_onnx_teacher, open_onnx
from maskdepth.models.catalogue import build_network, resolve_inputs
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.models.prediction import Prediction
from maskdepth.params import Params, load_params, override
from maskdepth.process.files import replacing
from maskdepth.process.memory import keep_freed_memory

_CPU = torch.device("cpu")
_METRICS = ("mask_iou", "depth_ssim", "depth_mae", "depth_ssi_mae")
_ALIGNED = "depth_ssim_aligned"
_NUMBERS = [*_METRICS, _ALIGNED]
_FLIP, _SCENE = ["flip"], ["flip", "scene"]
_FOLDS = 3
_LONGER = 4  # [epochs]
# Maps of a teacher have any range; theirs is that of these quantiles before one scale and shift are fitted to all.
_TEACHER_RANGE = (0.01, 0.995)
_MEAN_MAP, _RAMP, _TEACHER, _PHOTOGRAPHS = "mean map", "ramp", "TCMonoDepth small", "photographs"
_COPIED = "depth of the background, copied"
_CONTROLS = (_MEAN_MAP, _RAMP, _TEACHER, _COPIED)
_SEEN = ", depth seen"
_WITH_DEPTH = {
    _PHOTOGRAPHS,
    f"{_PHOTOGRAPHS}, longer",
    "both and scene",
    "both and scene, longer",
    "both stretched and scene",
}
_NO_CHANGE = "nothing"
_POOLS = "100,800,6400"

app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Condition:
    """What a network trains on.

    Attributes:
        name: In files and tables.
        backgrounds: How many drawn ones; 0 is none.
        change: What is taken out of the drawing, a key of `CHANGES`.
        has_photographs: Whether photographs train.
        augment: As `train.augment`.
        is_stretched: Whether the depth of drawn scenes has the range of the photographs', and not the camera's.
        epochs: How many times each sample is seen.
        sees_depth: Whether the network sees the depth of the backgrounds: of photographs as the data set has it.
    """

    name: str
    backgrounds: int
    augment: list[str]
    change: str = _NO_CHANGE
    has_photographs: bool = False
    is_stretched: bool = False
    epochs: int = 1
    sees_depth: bool = False


def plan(pools: list[int], has_depth: bool = True) -> list[Condition]:
    """List what is trained with the drawing as it is, with the depth of the backgrounds where it is at hand."""
    largest = pools[-1]
    conditions = [Condition(f"drawn {size}", size, _FLIP) for size in pools]
    conditions.append(Condition(f"drawn {largest} stretched", largest, _FLIP, is_stretched=True))
    conditions.append(Condition(f"drawn {largest} and scene", largest, _SCENE))
    for augment, told in ((_FLIP, ""), (_SCENE, " and scene")):
        with_photographs = partial(Condition, augment=augment, has_photographs=True)
        conditions.append(with_photographs(f"{_PHOTOGRAPHS}{told}", 0))
        conditions.append(with_photographs(f"both{told}", largest))
        conditions.append(with_photographs(f"both stretched{told}", largest, is_stretched=True))
    for name, size, augment in ((_PHOTOGRAPHS, 0, _FLIP), ("both and scene", largest, _SCENE)):
        conditions.append(Condition(f"{name}, longer", size, augment, has_photographs=True, epochs=_LONGER))
    if has_depth:
        seen = [one for one in conditions if one.name in _WITH_DEPTH]
        conditions += [replace(one, name=f"{one.name}{_SEEN}", sees_depth=True) for one in seen]
    return conditions


def plan_without(pools: list[int]) -> dict[str, Condition]:
    """List the trainings on the second largest pool without something, by what that is."""
    middle = pools[-2]
    changes = [change for change in CHANGES if change != _NO_CHANGE]
    return {change: Condition(f"drawn {middle} without {change}", middle, _FLIP, change) for change in changes}


@app.command()
def collect(
    data: Annotated[Path, typer.Argument(help="Folder of arrays, index.csv and split.csv.")],
    work: Annotated[Path, typer.Argument(help="Folder of what is drawn and measured.")],
    pools: Annotated[str, typer.Option(help="Numbers of drawn backgrounds, divisors of the composites.")] = _POOLS,
    composites: Annotated[int, typer.Option(min=32, help="That a training sees, most of them once.")] = 6400,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of photographs, where drawn scenes train, too.")] = 0.5,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    tested: Annotated[int, typer.Option(min=1, help="Samples of each place.")] = 20,
    only: Annotated[list[str] | None, typer.Option(help="A condition to train; all if none is named.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="A network for depth, ONNX, that takes bytes.")] = None,
    raw: Annotated[Path, typer.Option(help="The archives that the teacher sees the pictures of.")] = Path("data/raw"),
) -> None:
    """Draw, train and measure; a file for each."""
    set_threads()
    keep_freed_memory()
    set_deterministic(_CPU)
    params, photographs = load_params(SHIPPED_PARAMS), read_arrays(data / "arrays")
    rows = pd.concat(list(read_samples(data / "index.csv", data / "split.csv").values()), ignore_index=True)
    folds = cut_folds(rows, tested)
    parts, side = work / "parts", photographs.image_size
    parts.mkdir(parents=True, exist_ok=True)
    measure_baselines(parts, photographs, folds, composites)
    if photographs.background_depth is not None:
        measure_copied(parts, photographs, folds)
    if teacher is not None:
        measure_teacher(parts, photographs, folds, teacher, raw)
    sizes = [int(size) for size in pools.split(",")]
    # Drawn scenes alone first: a training tests all places, and with photographs it takes one for each fold.
    planned = [*plan(sizes, photographs.background_depth is not None), *plan_without(sizes).values()]
    planned.sort(key=lambda condition: condition.has_photographs)
    conditions = [condition for condition in planned if not only or condition.name in only]
    for seed, condition in product(range(seeds), conditions):
        draw_pools(condition.change, {condition.backgrounds} - {0}, composites, side, work / "drawn")
        settings = {"train.seed": seed, "train.epochs": condition.epochs, "train.augment": condition.augment}
        chosen = override(params, settings, "the benchmark")
        for number, (train, test) in enumerate(folds if condition.has_photographs else [whole(folds)]):
            part = parts / f"{condition.name.replace(' ', '_')}-f{number}-s{seed}.parquet"
            if part.exists():
                continue
            pool = read_pool(condition, work / "drawn") if condition.backgrounds else None
            mixed = round(composites * share) if condition.backgrounds else composites
            shown = spread(train, mixed if condition.has_photographs else 0)
            network = fit_condition(chosen, condition, photographs, shown, pool, composites)
            size, sees_depth = params.evaluate.batch_size, network.sees_background_depth
            batches = Batches(photographs, test, size, _CPU, with_background_depth=sees_depth)
            keep(part, measure(predictions(network, batches.in_order())), test, condition.name, seed)


Fold = tuple[pd.DataFrame, pd.DataFrame]  # rows that train, and that are tested


def cut_folds(rows: pd.DataFrame, tested: int) -> list[Fold]:
    """Test every place once, by samples that are spread evenly over it; the places of the other folds train."""
    rows = rows.assign(place=rows["place"].astype(str))
    places = rows["place"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    fold_of = {place: number % _FOLDS for number, place in enumerate(places)}
    fold = rows["place"].map(fold_of)
    few = pd.concat([spread(of_place, tested) for _, of_place in rows.groupby("place")])
    test = [few[few["place"].map(fold_of) == number].reset_index(drop=True) for number in range(_FOLDS)]
    return [(rows[fold != number].reset_index(drop=True), test[number]) for number in range(_FOLDS)]


def whole(folds: list[Fold]) -> Fold:
    """Test all places at once: for what trains on none."""
    return folds[0][0], pd.concat([test for _, test in folds], ignore_index=True)


def spread(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Take rows evenly; some more than once where there are not enough."""
    return rows.iloc[np.linspace(0, len(rows) - 1, count).astype(int)]


def read_pool(condition: Condition, drawn: Path) -> Arrays:
    """Read drawn scenes as a condition wants them."""
    pool = load_pool(pool_file(drawn, condition.change, condition.backgrounds))
    return stretch_depth(pool) if condition.is_stretched else pool


def fit_condition(
    params: Params, condition: Condition, photographs: Arrays, shown: pd.DataFrame, pool: Arrays | None, composites: int
) -> Network:
    """Train a network on `composites` samples: these photographs, and drawn ones for the rest."""
    pictures, chosen = photographs, [shown] if len(shown) else []
    if pool is not None:
        kinds = (*PICTURE_KINDS, BACKGROUND_DEPTH) if condition.sees_depth else PICTURE_KINDS
        starts = {kind: len(getattr(photographs, kind)) for kind in kinds}
        number = np.arange(composites - len(shown))
        of_drawn = pd.DataFrame({f"{kind}_row": starts[kind] + number for kind in PICTURE_KINDS})
        of_drawn["background_row"] = starts["background"] + number % condition.backgrounds
        if condition.sees_depth:
            of_drawn[f"{BACKGROUND_DEPTH}_row"] = starts[BACKGROUND_DEPTH] + number % condition.backgrounds
        chosen.append(of_drawn.assign(sample_id=[f"drawn {one}" for one in number]))
        joined = {kind: getattr(photographs, kind).parts + getattr(pool, kind).parts for kind in kinds}
        pictures = Arrays(photographs.image_size, **{kind: ShardedArray(parts) for kind, parts in joined.items()})
    rows = pd.concat(chosen, ignore_index=True)
    seed_everything(params.train.seed)
    moments = [moment for kind in PICTURE_KINDS[:2] for moment in colours(getattr(pictures, kind), rows[f"{kind}_row"])]
    inputs = resolve_inputs(params.model) + f"+{BACKGROUND_DEPTH}" * condition.sees_depth
    spec = NetworkSpec(params.model.name, inputs, Normalisation(*moments), pictures.image_size)
    return train_network(params, build_network(spec), pictures, {TRAIN: rows, VAL: rows.head(2)})


def colours(pictures: ShardedArray, rows: pd.Series) -> Iterator[tuple[float, ...]]:
    """Give mean and deviation of each channel, [0, 1], of every fourth of the pictures."""
    levels = pictures.take(rows.to_numpy()[::4]) / np.float32(255)
    for moment in (levels.mean((0, 1, 2), dtype=np.float64), levels.std((0, 1, 2), dtype=np.float64)):
        yield tuple(map(float, moment))


def measure(predicted: Iterable[Predicted]) -> pd.DataFrame:
    """Measure samples, and their depth once more after the best scale and shift of each."""
    seen = list(predicted)
    table = evaluate_samples(seen, 0.5, _METRICS)
    aligned = [one._replace(prediction=one.prediction._replace(depth=best_of(one))) for one in seen]
    return table.assign(**{_ALIGNED: evaluate_samples(aligned, 0.5, ("depth_ssim",))["depth_ssim"]})


def best_of(predicted: Predicted) -> Tensor:
    """Give predicted depth by the scale and shift that suit each picture best, [0, 1]."""
    return align(predicted.prediction.depth.double(), predicted.depth.double(), least_scale=0.0).clamp(0, 1).float()


def keep(part: Path, measured: pd.DataFrame, test: pd.DataFrame, condition: str, seed: int) -> None:
    """Write what was measured, and say it."""
    table = pd.concat([test[["sample_id", "place", "foreground"]], measured], axis=1)
    with replacing(part) as partial_file:
        table.assign(condition=condition, seed=seed).to_parquet(partial_file, index=False)
    print(f"{part.stem}: " + ", ".join(f"{name} {value:.3f}" for name, value in measured.mean().items()), flush=True)


def measure_baselines(parts: Path, photographs: Arrays, folds: list[Fold], count: int) -> None:
    """Measure what has learned nothing, fitted to the training places of each fold; its mask is the difference."""
    for number, (train, test) in enumerate(folds):
        if (parts / f"ramp-f{number}.parquet").exists():
            continue
        read = partial(Batches, photographs, batch_size=64, device=_CPU)
        mean_map = mean_depths(read(spread(train, count)).in_order(), [""] * count, []).overall
        masks = evaluate_samples(guess_masks(read(test).in_order()), 0.5, ("mask_iou",))
        for name, one_map in ((_MEAN_MAP, mean_map), (_RAMP, fit_ramp(mean_map))):
            measured = measure(guess_depths(read(test).in_order(), [""] * len(test), {}, one_map))
            part = parts / f"{name.replace(' ', '_')}-f{number}.parquet"
            keep(part, measured.assign(mask_iou=masks["mask_iou"]), test, name, UNTRAINED)


def measure_teacher(parts: Path, photographs: Arrays, folds: list[Fold], file: Path, raw: Path) -> None:
    """Measure a network for depth that sees the composites of the archives, with one scale and shift for all.

    Scale and shift are fitted to the tested samples of the other folds. It says nothing of the mask.
    """
    if (parts / f"teacher-f{_FOLDS - 1}.parquet").exists():
        return
    pictures = [read_composites(raw, test["sample_id"]) for _, test in folds]
    wanted = Wanted(pixels="bytes", larger="near", input_size=None)
    see = load_onnx_teacher(open_onnx(file), "", wanted, pictures[0][:16]).see
    shape = (photographs.image_size,) * 2
    seen = [torch.stack([stretch(see([picture])[0], shape) for picture in of_fold]) for of_fold in pictures]
    measure_maps(parts, "teacher", _TEACHER, photographs, folds, seen)


def measure_copied(parts: Path, photographs: Arrays, folds: list[Fold]) -> None:
    """Measure the depth of the backgrounds, with one scale and shift for all, likewise."""
    if (parts / f"copied-f{_FOLDS - 1}.parquet").exists():
        return
    assert photographs.background_depth is not None
    levels = [photographs.background_depth.take(test[f"{BACKGROUND_DEPTH}_row"].to_numpy()) for _, test in folds]
    measure_maps(parts, "copied", _COPIED, photographs, folds, [torch.from_numpy(one)[:, None] / 255 for one in levels])


def measure_maps(
    parts: Path, file: str, condition: str, photographs: Arrays, folds: list[Fold], seen: list[Tensor]
) -> None:
    """Measure maps (B, 1, H, W) of the tested samples of each fold, by scale and shift of those of the other folds."""
    true = [next(Batches(photographs, test, len(test), _CPU).in_order()).targets() for _, test in folds]
    for number, (_, test) in enumerate(folds):
        others = [other for other in range(_FOLDS) if other != number]
        maps, depths = (
            torch.cat([of_fold[one].flatten() for one in others]) for of_fold in (seen, [d for _, d in true])
        )
        scale, shift = np.polyfit(maps.numpy(), depths.numpy(), 1)
        mask, depth = true[number]
        depth_pred = (seen[number] * float(scale) + float(shift)).clamp(0, 1).float()
        measured = measure([Predicted(Prediction(torch.zeros_like(mask), depth_pred), mask, depth)])
        keep(parts / f"{file}-f{number}.parquet", measured.assign(mask_iou=np.nan), test, condition, UNTRAINED)


def read_composites(raw: Path, names: Iterable[str]) -> list[Image.Image]:
    """Read composites from archives of sudhakarmlal's layout, as large as they are."""
    found = {}
    for path in sorted(raw.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            for name in names:
                if (member := f"fg_bg_jpg/fg_bg_{name}.jpg") in there:
                    found[name] = Image.open(io.BytesIO(archive.read(member))).convert("RGB")
    return [found[name] for name in names]


def stretch(distance: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """Give a map its usual range and another size: (1, height, width)."""
    low, high = np.quantile(distance, [1 - _TEACHER_RANGE[1], 1 - _TEACHER_RANGE[0]])
    whole = torch.from_numpy((distance - low) / (high - low)).clamp(0, 1)
    return torch.nn.functional.interpolate(whole[None, None], size=shape, mode="area")[0]


@app.command()
def report(
    work: Annotated[Path, typer.Argument(help="Folder of what was drawn and measured.")],
    out: Annotated[Path, typer.Option(help="Table of means over places, CSV.")],
    picture: Annotated[Path | None, typer.Option(help="PNG to draw.")] = None,
    pools: Annotated[str, typer.Option(help="As of `collect`.")] = _POOLS,
) -> None:
    """Say what differs from what, and draw it."""
    samples = read_parts(work / "parts")
    average(samples).to_csv(out, index=False, float_format="%.4f", lineterminator="\n")
    sizes = [int(size) for size in pools.split(",")]
    main, without = plan(sizes), {change: one.name for change, one in plan_without(sizes).items()}
    conditions = [*_CONTROLS, *(condition.name for condition in main), *without.values()]
    present = [name for name in conditions if (samples["condition"] == name).any()]
    samples = pd.concat([samples[samples["condition"] == name] for name in present], ignore_index=True)
    print(tabulate(samples, _CONTROLS))
    smallest, middle, largest = (f"drawn {size}" for size in (sizes[0], *sizes[-2:]))
    pairs = [(f"drawn {size}", smallest) for size in sizes[1:]]
    pairs += [(f"{name} stretched", name) for name in (largest, "both")]
    pairs += [(f"{name} and scene", name) for name in (largest, _PHOTOGRAPHS, "both", "both stretched")]
    pairs += [(f"both{told}", _PHOTOGRAPHS) for told in ("", " and scene", " stretched", " stretched and scene")]
    pairs += [("both and scene, longer", f"{_PHOTOGRAPHS}, longer")]
    pairs += [(f"{name}, longer", name) for name in (_PHOTOGRAPHS, "both and scene")]
    pairs += [(name, middle) for name in without.values()]
    pairs += [(f"{name}{_SEEN}", name) for name in sorted(_WITH_DEPTH)]
    print(tabulate_pairs(samples, [pair for pair in pairs if {*pair} <= {*present}]))
    if picture is not None:
        draw(samples, sizes, without, middle, picture)


if __name__ == "__main__":
    app()
