"""Prediction beyond the network: how long a pair takes from files to files, what the refinement costs, and the start.

Pairs are pictures of 160 px, those of MASKDEPTH_REAL_DATA or drawn ones, written as JPEG. The network is the one that
MASKDEPTH_MODEL names, or one that has learned nothing: the time is the same; masks are compared with the truth only
where it was trained. One thread.
"""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from support.disturbed import Pair, read_pairs
from support.drawn import scratch
from support.timing import Case, Ratio, Times, measure, parse_options, report, summarise

from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.models.saved import load_network, save_network
from maskdepth.serving.files import ENDINGS, USUAL
from maskdepth.serving.planning import plan_predictions
from maskdepth.serving.predict import predict
from maskdepth.serving.refinement import refine_mask

_SIDE, _BATCH = 64, 16
_ROUNDS = 3  # of the processor's time
_LARGE, _FEW = (1920, 1080), 12
_QUALITY = 90
_SHIFT = 3  # [px] of a camera that moved

_NETWORK = "network alone"
_USUAL, _MOVED, _ALL = "mask, depth and panel", "the same, camera moved by 2 %", "all kinds of results"
_REFINED, _REFINED_LARGE = "refinement of a mask, 160 px", "refinement of a mask, 1080p"
_ENLARGED, _ENLARGED_LARGE = "enlarging it instead, 160 px", "enlarging it instead, 1080p"
_MISSING, _PASS = "maskdepth predict, a picture missing", "python -c pass"

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]


def main() -> None:
    options = parse_options(__doc__)
    os.environ["MASKDEPTH_THREADS"] = "1"
    torch.set_num_threads(1)
    pairs = read_pairs(1 if options.quick else 2)[: 3 if options.quick else None]
    path = os.environ.get("MASKDEPTH_MODEL")
    with scratch() as folder:
        model = Path(path) if path else write_fresh(folder / "model.safetensors")
        network = load_network(model)
        rooms, moved, visitors = write_files(folder, pairs)
        masks = [see(network, pair) for pair in pairs]
        few = [enlarge(pair) for pair in pairs[: 1 if options.quick else _FEW]]
        units = len(pairs)
        cases = {
            _NETWORK: Case(partial(run_network, network, pairs), units),
            _USUAL: Case(partial(run, folder, rooms, visitors, model, USUAL), units),
            _MOVED: Case(partial(run, folder, moved, visitors, model, USUAL), units),
            _ALL: Case(partial(run, folder, rooms, visitors, model, ENDINGS), units),
            _REFINED: Case(partial(refine, masks, pairs), units),
            _ENLARGED: Case(partial(resize, masks, pairs), units),
            _REFINED_LARGE: Case(partial(refine, masks, few), len(few)),
            _ENLARGED_LARGE: Case(partial(resize, masks, few), len(few)),
            _MISSING: Case(
                partial(start, folder, "-m", "maskdepth.cli", "predict", "no.jpg", "no.jpg", "--out", "out")
            ),
            _PASS: Case(partial(start, folder, "-c", "pass")),
        }
        times = measure(cases, quick=options.quick)
        facts = {f"{name}: processor time": f"{time_of_processor(case):.1f} ms" for name, case in cases.items()}
        if path:
            facts |= compare_masks(masks, pairs)
    facts |= {"photographs": str("MASKDEPTH_REAL_DATA" in os.environ), "network": str(path)}
    size = pairs[0].composite.shape[1]
    data = f"{units} pairs of {size} px, and {len(few)} enlarged to 1080p; units are pairs, or starts"
    report("predict", data, options, times, conclude(times), facts)


def write_fresh(path: Path) -> Path:
    halves = (0.5,) * 3
    spec = NetworkSpec("dsunet", "background+composite", Normalisation(halves, halves, halves, halves), _SIDE)
    save_network(build_network(spec), path)
    return path


def write_files(folder: Path, pairs: Sequence[Pair]) -> tuple[Path, Path, Path]:
    """Write backgrounds, backgrounds of a camera that moved, and composites."""
    folders = folder / "rooms", folder / "moved", folder / "visitors"
    for each in folders:
        each.mkdir()
    for number, pair in enumerate(pairs):
        pictures = pair.background, np.roll(pair.background, _SHIFT, 1), pair.composite
        for where, pixels in zip(folders, pictures, strict=True):
            Image.fromarray(pixels).save(where / f"{number}.jpg", quality=_QUALITY)
    return folders


def run(folder: Path, rooms: Path, visitors: Path, model: Path, kinds: Iterable[str]) -> None:
    out = next(folder / f"out-{number}" for number in count() if not (folder / f"out-{number}").exists())
    scene = next(visitors.iterdir()) if "onto" in kinds else None
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        predict(plan_predictions(rooms, visitors, out, kinds, scene, overwrite=False), model)
    shutil.rmtree(out)


def shrink(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def enlarge(pair: Pair) -> Pair:
    background, composite = (
        np.asarray(Image.fromarray(pixels).resize(_LARGE, Image.Resampling.BICUBIC))
        for pixels in (pair.background, pair.composite)
    )
    return pair._replace(background=background, composite=composite)


def run_network(network: Network, pairs: Sequence[Pair]) -> None:
    for first in range(0, len(pairs), _BATCH):
        batch = pairs[first : first + _BATCH]
        ask(network, [pair.background for pair in batch], [pair.composite for pair in batch])


@torch.inference_mode()
def ask(network: Network, *pictures: Sequence[Pixels]) -> Map:
    seen = (torch.from_numpy(np.stack([shrink(each) for each in kind])).permute(0, 3, 1, 2) / 255 for kind in pictures)
    masks: Map = network(*seen).mask_logits.sigmoid()[:, 0].numpy()
    return masks


def see(network: Network, pair: Pair) -> Map:
    mask: Map = ask(network, [pair.background], [pair.composite])[0]
    return mask


def refine(masks: Sequence[Map], pairs: Sequence[Pair]) -> None:
    for mask, pair in zip(masks, pairs, strict=False):
        refine_mask(mask, pair.background, pair.composite)


def resize(masks: Sequence[Map], pairs: Sequence[Pair]) -> None:
    for mask, pair in zip(masks, pairs, strict=False):
        enlarge_mask(mask, pair)


def enlarge_mask(mask: Map, pair: Pair) -> Map:
    height, width = pair.composite.shape[:2]
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))


def start(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, check=False)


def time_of_processor(case: Case) -> float:
    """Say how long it keeps the processor [ms a unit], with the processes that it starts."""
    spent = []
    for _ in range(_ROUNDS):
        began = sum(os.times()[:4])
        case.run()
        spent.append(1e3 * (sum(os.times()[:4]) - began) / case.units)
    return median(spent)


def compare_masks(masks: Sequence[Map], pairs: Sequence[Pair]) -> dict[str, str]:
    """Give the mean IoU of masks at the size of their pictures, enlarged and refined."""
    scores = [
        [
            overlap(enlarge_mask(mask, pair), pair.mask),
            overlap(refine_mask(mask, pair.background, pair.composite), pair.mask),
        ]
        for mask, pair in zip(masks, pairs, strict=True)
    ]
    enlarged, refined = np.mean(scores, axis=0)
    error = np.diff(scores).std() / len(scores) ** 0.5
    return {
        "mask IoU, enlarged": f"{enlarged:.4f}",
        "mask IoU, refined": f"{refined:.4f}",
        "points gained": f"{100 * (refined - enlarged):.2f} +- {100 * error:.2f} (one standard error)",
    }


def overlap(mask_prob: Map, truth: NDArray[np.bool_]) -> float:
    pred = mask_prob > 0.5
    union = (pred | truth).sum()
    return float((pred & truth).sum() / union) if union else 1.0


def conclude(times: Times) -> list[Ratio]:
    """Give what is beyond the network, round by round [ms], what refining costs, and the start [s]."""
    ratios = []
    for name, goal in ((_USUAL, "<= 20"), (_MOVED, ""), (_ALL, "")):
        beyond = [1e3 * max(0.0, whole - part) for whole, part in zip(times[name], times[_NETWORK], strict=True)]
        ratios.append(summarise(f"milliseconds beyond the network, {name}", beyond, goal))
    for refined, enlarged, goal in ((_REFINED, _ENLARGED, ""), (_REFINED_LARGE, _ENLARGED_LARGE, "<= 30")):
        more = [1e3 * max(0.0, whole - part) for whole, part in zip(times[refined], times[enlarged], strict=True)]
        ratios.append(summarise(f"milliseconds more than enlarging, {refined}", more, goal))
    ratios.append(summarise(f"seconds, {_MISSING}", times[_MISSING], "<= 1"))
    return ratios


if __name__ == "__main__":
    main()
