"""Composed archives on disk: complete or absent, whatever happens.

Beside the archives lies a hidden folder. It has a list of placements for every batch of archives that is complete:
what is listed need not be made again.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import TextIO

import numpy as np

from maskdepth.making.composing.composition import Plan, pair_sample
from maskdepth.making.composing.manifest import STATE_FOLDER
from maskdepth.making.composing.pictures import load_prepared
from maskdepth.making.composing.rendering import COLUMNS, Rendered
from maskdepth.making.layout_writer import File, encode_picture, label_line, put_on_white, write_files
from maskdepth.process.files import replacing, sync

# Every placement: where each object is.
MANIFEST_TABLE = f"{STATE_FOLDER}/manifest.csv"
# What `maskdepth label-depth` takes. Its paths are relative to its folder, hence it lies, hidden, among the archives.
UNLABELLED_TABLE = ".label-depth.csv"

_LABELS = "labels.txt"
# In place of a batch, the files beside the archives.
_LOOSE = 0
# What stands between an archive and its member in a path.
_MEMBER = ".zip/"


def find_missing(plan: Plan) -> list[int]:
    """List the batches of archives that are not complete; 0 stands for the files beside the archives."""
    return [batch for batch in (_LOOSE, *plan.batches) if not _is_complete(plan, batch)]


def archives_of(plan: Plan, batch: int) -> set[str]:
    """Name the archives of a batch, by their paths below the folder of the archives."""
    paths = (
        plan.path_of(kind, pair_sample(foreground, background))
        for foreground, background in product(*plan.numbers_of(batch))
        for kind in plan.composition.kinds
    )
    return {path.partition(_MEMBER)[0] + ".zip" for path in paths}


def write_loose(plan: Plan) -> None:
    """Write the files beside the archives, in layouts that have such: single pictures, and labels."""
    with _staged(plan, _LOOSE) as (staging, _):
        write_files(staging, _singles(plan, _LOOSE))
        if plan.layout.labels:
            with (staging / _LABELS).open("w", encoding="utf-8") as file:
                file.writelines(label_line(plan.layout, plan.totals, sample) for sample in plan.samples())


def write_batch(plan: Plan, batch: int, made: Iterable[Rendered]) -> None:
    """Write the archives of a batch as its composites come, and put them in their place when all have come."""
    with _staged(plan, batch) as (staging, rows):
        write_files(staging, chain(_singles(plan, batch), _noting(made, rows)))


def write_tables(plan: Plan) -> None:
    """Write what lists all placements, and what lists all that is without depth, when all archives are complete."""
    with _writing(plan.composition.out / MANIFEST_TABLE) as table:
        table.write(",".join(COLUMNS) + "\n")
        for batch in plan.batches:
            with _rows_path(plan, batch).open(encoding="utf-8") as rows:
                shutil.copyfileobj(rows, table)
    if plan.composition.depths is None:
        with _writing(plan.composition.out / UNLABELLED_TABLE) as table:
            table.write("composite,background,mask\n")
            for sample in plan.samples():
                paths = (plan.path_of(kind, sample) for kind in ("composite", "background", "mask"))
                table.write(",".join(paths).replace(_MEMBER, "/") + "\n")


def prepared_dir(plan: Plan) -> Path:
    """Say where the prepared pictures are while a composition is made."""
    return plan.composition.out / STATE_FOLDER / "prepared"


def _is_complete(plan: Plan, batch: int) -> bool:
    files = archives_of(plan, batch) if batch else {path for path, _, _ in _list_singles(plan, _LOOSE)}
    if not batch and plan.layout.labels:
        files.add(_LABELS)
    return _rows_path(plan, batch).is_file() and all((plan.composition.out / name).is_file() for name in files)


def _singles(plan: Plan, batch: int) -> Iterator[File]:
    """Backgrounds, their depth, objects and their masks that lie in the archives of a batch, or beside all archives."""
    for path, kind, number in _list_singles(plan, batch):
        yield path, _encode_single(plan, kind, number, Path(path).suffix)


def _list_singles(plan: Plan, batch: int) -> Iterator[tuple[str, str, int]]:
    """Path, kind and number of each."""
    totals = plan.totals
    foregrounds: Sequence[int] = range(1, totals.foreground + 1)
    backgrounds: Sequence[int] = range(1, totals.background + 1)
    if batch:
        foregrounds, backgrounds = plan.numbers_of(batch)
    background_samples = [pair_sample(foregrounds[0], background) for background in backgrounds]
    foreground_samples = [pair_sample(foreground, backgrounds[0]) for foreground in foregrounds]
    kinds = {"background": background_samples, "foreground": foreground_samples, "foreground_mask": foreground_samples}
    if plan.composition.depths is not None and "background_depth" in plan.layout.paths:
        kinds["background_depth"] = background_samples
    for kind, samples in kinds.items():
        if (_MEMBER in plan.layout.paths[kind]) == bool(batch):
            for sample in samples:
                number = sample.background if kind.startswith("background") else sample.foreground
                yield plan.path_of(kind, sample), kind, number


def _encode_single(plan: Plan, kind: str, number: int, suffix: str) -> bytes:
    settings = plan.composition
    if kind == "background_depth":
        depth = load_prepared(prepared_dir(plan), "depth", number)
        return encode_picture(np.round(255 * depth).astype(np.uint8), 0 if suffix == ".png" else settings.depth_quality)
    picture = load_prepared(prepared_dir(plan), kind.removesuffix("_mask"), number)
    if kind == "foreground_mask":
        return encode_picture(picture[..., 3], settings.mask_quality)
    if kind == "background":
        return encode_picture(picture, settings.quality)
    return encode_picture(picture, 0) if suffix == ".png" else encode_picture(put_on_white(picture), settings.quality)


def _noting(made: Iterable[Rendered], rows: TextIO) -> Iterator[File]:
    """Give the files of composites, noting the placement of each."""
    for composite in made:
        rows.write(composite.row)
        yield from composite.files


@contextmanager
def _staged(plan: Plan, batch: int) -> Iterator[tuple[Path, TextIO]]:
    """Give a folder for files and a list for placements; when all is there, put the files in place, the list last."""
    out = plan.composition.out
    staging = out / STATE_FOLDER / "partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    with _writing(_rows_path(plan, batch)) as rows:
        yield staging, rows
        files = [path for path in staging.rglob("*") if path.is_file()]
        targets = [out / path.relative_to(staging) for path in files]
        for path, target in zip(files, targets, strict=True):
            sync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        for folder in {target.parent for target in targets}:
            sync(folder)
    shutil.rmtree(staging)


@contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears when it is whole and on the disk."""
    with replacing(path, durable=True) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def _rows_path(plan: Plan, batch: int) -> Path:
    """Say where the placements of a batch are listed when its archives are complete."""
    return plan.composition.out / STATE_FOLDER / "placements" / f"{batch}.csv"
