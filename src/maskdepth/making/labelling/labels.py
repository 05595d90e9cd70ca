"""Depth maps for pictures in folders and archives, made with a pretrained network: `maskdepth label-depth`.

Every label is a 16-bit grey PNG, dark is near, under the name of its picture or under the one that a layout has for the
depth of a composite. In its text it carries what it was made of, so a run that was stopped goes on where it was: a
label is kept if it is whole and nothing it was made of changed.
`.provenance.json` beside them says which network made them, under which licence, and whether they can be trusted; it
is hidden, as all that belongs to no data set: labels may lie in `data/raw`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from PIL import Image, PngImagePlugin

from maskdepth.data.files import File, read_colour, read_mask, read_whole
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.making.labelling.alignment import Distance, Label, label_aligned, label_alone
from maskdepth.making.labelling.onnx_teacher import LOOKED_AT, SUFFIX, Wanted, load_onnx_teacher, open_onnx
from maskdepth.making.labelling.sources import (
    COLUMNS,
    NUM_REMEMBERED,
    Source,
    check_sizes,
    identify_content,
    label_path,
    read_sources,
)
from maskdepth.making.labelling.teacher import (
    UNKNOWN_LICENCE,
    Teacher,
    check_licence,
    load_teacher,
    predict_distances,
    require_transformers,
)
from maskdepth.process.console import progress, say, warn
from maskdepth.process.files import replace_text, replacing
from maskdepth.process.workspace import require_writable

if TYPE_CHECKING:
    import torch

PROVENANCE_FILE = ".provenance.json"

_DEEPEST = 65535

# Name of the PNG text that tells what a label was made of.
_TEXT = "maskdepth"
# What must be the same for labels to lie in one folder.
_IDENTITY = ("weights", "input", "output")
_MOST_WARNINGS = 5
# Of labels in their own names, and in those of layouts.
_SUFFIXES = (".png", ".jpg")


def label_depth(
    pictures: Path,
    out: Path,
    checkpoint: str,
    batch_size: int,
    allow_noncommercial: bool,
    device: "torch.device",
    layout: str | None = None,
    input_size: int | None = None,
    *,
    backgrounds: bool = False,
    pixels: str | None = None,
    larger: str | None = None,
) -> dict[str, Any]:
    """Make a depth map for every picture, or those that are missing if some were made before.

    Labels of composites that come with background and mask are aligned with their background, so that one scene has
    the same depth under all objects. Other pictures are normalised each by its own range.

    Args:
        pictures: A folder of pictures and archives of pictures, or a CSV table with the columns
            composite,background,mask that names files relative to its own folder; see `read_sources`.
        out: Folder for the labels; made when missing.
        checkpoint: Id on the hub, or a folder; see `load_teacher`. Or an ONNX file; see `load_onnx_teacher`.
        batch_size: Pictures that the network sees at once. Another size can change last bits.
        allow_noncommercial: Also use weights whose licence forbids commercial use.
        device: Where to compute; ONNX files do on the CPU.
        layout: Name of the layout whose composites are labelled, and in whose names for depth; None labels all
            pictures in their own names.
        input_size: Side [px] to which the network resizes pictures; None is as it was made for. A larger one shows
            more detail and costs its square.
        backgrounds: Label the backgrounds of the layout, one map each, instead of its composites.
        pixels: What an ONNX file takes for pixels, where it does not say so: a key of `PIXELS`.
        larger: Which end its larger answers are, "near" or "far"; None looks.

    Returns:
        What is written to .provenance.json.

    Raises:
        ValueError: A setting, the table, an archive, the checkpoint or the output folder is not usable, or no label
            could be made.
        FileNotFoundError: `pictures` or a file that the table names is missing.
        Timeout: Another process makes labels in the same folder.
    """
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}; expected 1 or more")
    wanted, is_onnx = Wanted(pixels, larger, input_size), checkpoint.endswith(SUFFIX)
    if not is_onnx and (pixels or larger):
        raise ValueError(f"--pixels and --larger are for ONNX files; {checkpoint} says by itself what they are")
    if not is_onnx and Path(checkpoint).is_file():
        raise ValueError(f"{checkpoint}: of files only ONNX ({SUFFIX}) is read; name one, an id on the hub or a folder")
    sources = read_sources(pictures, layout, backgrounds=backgrounds)
    file = open_onnx(Path(checkpoint)) if is_onnx else None
    licence = check_licence(checkpoint, allow_noncommercial, file.licence if file else "")
    if not file:
        require_transformers()
    check_sizes(sources)
    _make_folder(out, pictures, may_be_inside=layout is not None)
    if licence == UNKNOWN_LICENCE:
        warn(f"the licence of {checkpoint} is not known here; make sure that it allows what the labels are for")
    if not backgrounds:
        _warn_of_unpaired(sources)
    with FileLock(out / ".lock", timeout=0):
        if file:
            teacher = load_onnx_teacher(file, licence, wanted, _read_some(sources))
        else:
            teacher = load_teacher(checkpoint, licence, device, input_size)
        _claim_folder(out, teacher)
        kept, rejected = _label_all(teacher, sources, out, batch_size)
        if len(rejected) == len(sources):
            raise ValueError(f"none of {len(sources)} pictures could be labelled; {_first_reason(rejected)}")
        summary = _summarise(teacher, [source for source in sources if source.name not in rejected], rejected, out)
        _write_json(out / PROVENANCE_FILE, summary)
    _say_result(summary, kept, out)
    return summary


def _make_folder(out: Path, pictures: Path, may_be_inside: bool) -> None:
    # The names of a layout tell labels and composites apart; without one a second run would label the labels.
    if not may_be_inside and pictures.is_dir() and out.resolve().is_relative_to(pictures.resolve()):
        raise ValueError(f"the labels would lie among the pictures, in {out}; choose a folder outside {pictures}")
    require_writable([out])


def _warn_of_unpaired(sources: Sequence[Source]) -> None:
    alone = sum(not source.is_paired for source in sources)
    if alone:
        warn(
            f"{alone} of {len(sources)} pictures come without background and mask: each is normalised by its own "
            f"range, so the same scene gets other depths under other objects; a table of {','.join(COLUMNS)} cures it"
        )


def _read_some(sources: Sequence[Source]) -> list[Image.Image]:
    """Read pictures from all over the list, by which a network is tried; those that cannot be read have their turn."""
    pictures = []
    for source in sources[:: -(-len(sources) // LOOKED_AT)]:
        with suppress(RefusedError):
            pictures.append(read_colour(source.composite))
    return pictures


def _claim_folder(out: Path, teacher: Teacher) -> None:
    """Note which network the labels of a folder are made with.

    Raises:
        ValueError: It holds labels of another one.
    """
    path = out / PROVENANCE_FILE
    if path.is_file() and any(found.suffix in _SUFFIXES for found in out.rglob("*")):
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["teacher"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: {error!r}; choose another folder, or delete this one") from error
        if any(before.get(name) != teacher.facts[name] for name in _IDENTITY):
            raise ValueError(
                f"{out} holds labels made with {before.get('checkpoint')} (weights {str(before.get('weights'))[:12]}, "
                f"input {before.get('input')}), which those of {teacher.facts['checkpoint']} (weights "
                f"{teacher.facts['weights'][:12]}, input {teacher.facts['input']}) would not fit; choose another "
                "folder, or delete this one"
            )
    _write_json(path, {"teacher": teacher.facts, "finished": False})


def _label_all(teacher: Teacher, sources: Sequence[Source], out: Path, batch_size: int) -> tuple[int, dict[str, str]]:
    """Make the labels that are missing; return how many were there and why some could not be made, by name."""
    kept = 0
    rejected: dict[str, str] = {}
    identify = lru_cache(NUM_REMEMBERED)(identify_content)
    # Sources are sorted by background, so remembering one is enough for looking at each once.
    look_at_background = lru_cache(maxsize=1)(partial(_look_at, teacher))
    # A network's last bits depend on what else is in the batch: batches are cut from all sources, not from what is
    # left to do, so that labels come out the same however often the run was stopped.
    batches = [sources[start : start + batch_size] for start in range(0, len(sources), batch_size)]
    for batch in progress(batches, "label-depth"):
        keys = {source.name: _make_key(teacher, source, identify) for source in batch}
        waiting = {source for source in batch if not _is_labelled(label_path(out, source), keys[source.name])}
        kept += len(batch) - len(waiting)
        if waiting:
            rejected |= _label_batch(teacher, batch, waiting, keys, out, look_at_background)
    return kept, rejected


def _label_batch(
    teacher: Teacher,
    batch: Sequence[Source],
    waiting: set[Source],
    keys: dict[str, str],
    out: Path,
    look_at_background: Callable[[File], Distance],
) -> dict[str, str]:
    """Look at all of a batch, write the labels that are waiting, and return why some could not be made."""
    pictures: dict[Source, Image.Image] = {}
    rejected: dict[str, str] = {}
    for source in batch:
        try:
            pictures[source] = read_colour(source.composite)
        except RefusedError as error:
            rejected[source.name] = str(error)
    for source, distance in zip(pictures, predict_distances(teacher, list(pictures.values())), strict=True):
        if source not in waiting:
            continue
        try:
            label = _make_label(source, distance, look_at_background)
        except RefusedError as error:
            rejected[source.name] = str(error)
        else:
            _write_label(label_path(out, source), label, keys[source.name])
    for source in waiting:
        if source.name in rejected:  # what lies there is the label of a picture that is no more
            label_path(out, source).unlink(missing_ok=True)
    return rejected


def _make_label(source: Source, distance: Distance, look_at_background: Callable[[File], Distance]) -> Label:
    if source.background is None or source.mask is None:
        return label_alone(distance)
    return label_aligned(distance, look_at_background(source.background), read_mask(source.mask))


def _look_at(teacher: Teacher, file: File) -> Distance:
    return predict_distances(teacher, [read_colour(file)])[0]


def _write_label(path: Path, label: Label, key: str) -> None:
    """Write a label as 16-bit PNG with its checks and its key as text, in one step."""
    text = PngImagePlugin.PngInfo()
    checks = {name: value for name, value in label._asdict().items() if name != "depth"}
    text.add_text(_TEXT, json.dumps({"key": key, "checks": checks}))
    image = Image.fromarray((label.depth * _DEEPEST).round().astype(np.uint16))
    with replacing(path) as partial:
        image.save(partial, "PNG", pnginfo=text)


def _is_labelled(path: Path, key: str) -> bool:
    """Tell whether a label lies there that is whole and made of what its picture is made of today.

    Raises:
        ValueError: There is a picture that is no label of ours, and must not be replaced.
    """
    if not path.exists():
        return False
    try:
        return bool(_read_text(path)["key"] == key)
    except RefusedError:
        return False


def _read_text(path: Path) -> Any:
    image = read_whole(path)
    if _TEXT not in image.info:
        raise ValueError(f"{path} is a picture that this command has not made; choose another folder for the labels")
    return json.loads(image.info[_TEXT])


def _make_key(teacher: Teacher, source: Source, identify: Callable[[File], tuple[int, int]]) -> str:
    """Name all that a label depends on, but for the code."""
    parts = [teacher.facts[name] for name in _IDENTITY] + [identify(file) for file in source.files]
    return hashlib.sha256(json.dumps([source.is_paired, *parts], sort_keys=True).encode()).hexdigest()


def _summarise(teacher: Teacher, labelled: Sequence[Source], rejected: dict[str, str], out: Path) -> dict[str, Any]:
    """Gather the checks of all labels: means, and the variance of each scene."""
    saturated, edge_steps = [], []
    variances = defaultdict(list)
    for source in labelled:
        checks = _read_text(label_path(out, source))["checks"]
        saturated.append(checks["saturated"])
        if checks["edge_step"] is not None:
            edge_steps.append(checks["edge_step"])
        if checks["variance_outside"] is not None:
            variances[source.scene].append(checks["variance_outside"])
    return {
        "teacher": teacher.facts,
        "finished": True,
        "labels": len(labelled),
        "aligned": sum(source.is_paired for source in labelled),
        "rejected": dict(sorted(rejected.items())),
        "saturated": fmean(saturated),
        "edge_step": fmean(edge_steps) if edge_steps else None,
        "variance_outside": {scene: fmean(values) for scene, values in sorted(variances.items())},
    }


def _say_result(summary: dict[str, Any], kept: int, out: Path) -> None:
    rejected = summary["rejected"]
    for name in list(rejected)[:_MOST_WARNINGS]:
        warn(f"no label for {name}: {rejected[name]}")
    say(
        f"label-depth: {summary['labels']:,} labels in {out}, {kept:,} of them from before, {summary['aligned']:,} "
        f"aligned with their background; {len(rejected):,} pictures rejected; see {out / PROVENANCE_FILE}"
    )


def _first_reason(rejected: dict[str, str]) -> str:
    name = min(rejected)
    return f"{name}: {rejected[name]}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
