"""Pictures in, mask and depth pictures out: a trained network on one pair or on whole folders, of any size and shape.

Pictures are decoded and resized as for training, and the results are brought back to the size of the composite.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.device import choose_device
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.process.console import printable, progress, say, warn
from maskdepth.process.workspace import require_writable
from maskdepth.serving.files import (
    FAILED,
    PREDICTED,
    SHOWN_SIDE,
    Decoded,
    Outcome,
    Pair,
    check_results,
    check_shapes,
    find_pairs,
    name_results,
    read_picture,
    require_inputs,
    write_png,
    write_report,
)
from maskdepth.serving.registration import NO_FIT, check_pixels, register

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

REPORT_FILE = "predictions.csv"

# As many pixels as the decoder takes at most have 120 MB as RGB without any compression.
MAX_BYTES = 128 * 2**20
BATCH_SIZE = 16

_DEEPEST = 65535
_MOST_WARNINGS = 5

# Between the parts of the picture for people [px], and its level.
_GAP, _WHITE = 4, 255
# Near is bright, as in the reports: both ends and the middle of the colour map magma.
_NEAR, _MIDDLE, _FAR = (252, 253, 191), (183, 55, 121), (0, 0, 4)


class Maps(NamedTuple):
    """What a network says about one pair of pictures.

    Attributes:
        mask_prob: (H, W) probability that a pixel belongs to the object, [0, 1].
        depth: (H, W) relative depth, [0, 1], 0 near and 1 far.
    """

    mask_prob: Map
    depth: Map


def predict(
    background: Path | str,
    composite: Path | str,
    out: Path | str,
    model: Path | str = "models/model.safetensors",
    *,
    threshold: float = 0.5,
    probability: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    registers: bool = True,
    batch_size: int = BATCH_SIZE,
    max_bytes: int = MAX_BYTES,
) -> list[Outcome]:
    """Predict mask and depth of pictures, each showing a scene without and with an object.

    For every pair writes `<name>_mask.png` (8 bit, 0 or 255), `<name>_depth.png` (16 bit, 0 is near) and, side by side
    for people, `<name>.png`. The name is the composite's, changed where it would not be safe. For a folder,
    `predictions.csv` says what became of each pair. Pictures are turned upright as their EXIF orientation says.

    Args:
        background: JPEG or PNG file of the scene without the object, or a folder of such.
        composite: The same with the object. Two folders are paired by file name up to the suffix; a single background
            goes with every composite of a folder.
        out: Folder for the results; made when missing.
        model: What `dvc repro` trained.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        probability: Also write `<name>_probability.png`, 8 bit, 255 is certain.
        overwrite: Replace results that are there already.
        strict: Fail if any pair failed, once all others are done.
        registers: Lay each background over its composite first, as `register` does: the camera may have moved a little,
            and the light changed.
        batch_size: Pairs that the network sees at once.
        max_bytes: Size above which a file is refused [bytes].

    Returns:
        One outcome per pair, by name.

    Raises:
        FileNotFoundError: A picture, folder or model is missing.
        ValueError: There are no pictures or no pairs; the model is not ours; a result cannot be written, is there
            already, or is an input. Or no pair could be predicted, or with `strict` not all.
    """
    if not 0 < threshold < 1 or batch_size < 1:
        raise ValueError(f"found threshold {threshold:g} and batch size {batch_size}; expected (0, 1) and 1 or more")
    out, composite = Path(out), Path(composite)
    require_inputs(Path(background), composite, Path(model))
    pairs, outcomes = find_pairs(Path(background), composite)
    results = {pair: name_results(out, pair.name, probability) for pair in pairs}
    report = out / REPORT_FILE if composite.is_dir() else None
    check_results(results, report, overwrite)
    network = load_network(Path(model)).to(choose_device())
    require_writable([out])

    read = partial(read_picture, network.spec.image_size, max_bytes, registers)
    read_background = lru_cache(maxsize=1)(read)  # a background that is everybody's is read once
    for start in progress(range(0, len(pairs), batch_size), "predict"):
        readable, failed = _read_pairs(pairs[start : start + batch_size], read_background, read)
        outcomes += failed
        told = {pair: _register(readable, pair) for pair in readable} if registers else {}
        for pair, maps in _predict_pairs(network, readable):
            if not all(np.isfinite(values).all() for values in maps):  # weights may be finite, and too large
                outcomes.append(Outcome(pair.name, FAILED, f"{model} answers with no numbers; train it again"))
                continue
            _write_results(results[pair], readable[pair], maps, threshold)
            outcomes.append(Outcome(pair.name, PREDICTED, told.get(pair, "")))
    outcomes.sort()
    if report:
        write_report(report, outcomes)
    _say_result(outcomes, out, strict)
    return outcomes


def predict_arrays(network: Network, background: Pixels, composite: Pixels) -> Maps:
    """Predict mask and depth of one scene; pure.

    Args:
        network: In evaluation mode, on any device.
        background: (h, w, 3) uint8 RGB, the scene without the object.
        composite: (H, W, 3) uint8 RGB, the same scene with the object; w / h = W / H.

    Returns:
        (H, W) probability of the object and (H, W) depth, 0 near; both float32, [0, 1].

    Raises:
        ValueError: An array is no such picture, their shapes differ, or the network is in training mode.
    """
    if network.training:
        raise ValueError("the network is in training mode, where every picture changes it; call network.eval()")
    check_pixels(background, composite)
    height, width = composite.shape[:2]
    check_shapes((background.shape[1], background.shape[0]), (width, height))
    side = network.spec.image_size
    seen = (np.stack([_resize(picture, side, side)]) for picture in (background, composite))
    return _resize_maps(_run(network, *seen)[0], width, height)


def _read_pairs(
    pairs: Iterable[Pair], read_background: Callable[[Path], Decoded], read_composite: Callable[[Path], Decoded]
) -> tuple[dict[Pair, tuple[Decoded, Decoded]], list[Outcome]]:
    """Read the pairs that can be read, background and composite, and say why the others cannot."""
    readable, failed = {}, []
    for pair in pairs:
        try:
            background, composite = read_background(pair.background), read_composite(pair.composite)
            check_shapes((background.width, background.height), (composite.width, composite.height))
        except RefusedError as error:
            failed.append(Outcome(pair.name, FAILED, printable(str(error))))
        else:
            readable[pair] = background, composite
    return readable, failed


def _register(pairs: dict[Pair, tuple[Decoded, Decoded]], pair: Pair) -> str:
    """Lay the background of one of the pairs over its composite; say in a line what was done.

    What has been registered is not kept at its own size: a batch of photographs would fill the memory.
    """
    background, composite = pairs[pair]
    assert background.whole is not None
    assert composite.whole is not None
    whole = background.whole
    if whole.shape != composite.whole.shape:
        whole = _resize(whole, composite.width, composite.height)
    found = register(whole, composite.whole)
    if found.verdict == "registered":
        seen, shown = (_resize(found.background, *part.shape[:2]) for part in (background.seen, background.shown))
        background = background._replace(seen=seen, shown=shown)
    pairs[pair] = background._replace(whole=None), composite._replace(whole=None)
    return found.describe()


def _predict_pairs(network: Network, pairs: dict[Pair, tuple[Decoded, Decoded]]) -> Iterator[tuple[Pair, Maps]]:
    """Show one batch to the network; the maps have its size."""
    if pairs:
        seen = (np.stack([picture.seen for picture in kind]) for kind in zip(*pairs.values(), strict=True))
        yield from zip(pairs, _run(network, *seen), strict=True)


@torch.inference_mode()
def _run(network: Network, backgrounds: Pixels, composites: Pixels) -> list[Maps]:
    """Predict pictures (B, S, S, 3); the maps are (S, S)."""
    device = network.mean.device
    pictures = (torch.from_numpy(kind).to(device).permute(0, 3, 1, 2) / 255 for kind in (backgrounds, composites))
    prediction = network(*pictures)
    mask_probs, depths = prediction.mask_logits.sigmoid()[:, 0], prediction.depth[:, 0]
    return [Maps(*maps) for maps in zip(mask_probs.cpu().numpy(), depths.cpu().numpy(), strict=True)]


def _resize_maps(maps: Maps, width: int, height: int) -> Maps:
    # A mask is thresholded afterwards: its outline would otherwise show the network's coarse pixels as steps.
    return Maps(*(_resize(values, width, height).clip(0, 1) for values in maps))


def _resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize (H, W) or (H, W, 3) pixels with antialiasing, as the pictures of training were."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _write_results(paths: dict[str, Path], pair: tuple[Decoded, Decoded], maps: Maps, threshold: float) -> None:
    """Write each file that `name_results` names."""
    _, composite = pair
    mask_prob, depth = _resize_maps(maps, composite.width, composite.height)
    write_png(paths["mask"], np.where(mask_prob > threshold, 255, 0).astype(np.uint8))
    write_png(paths["depth"], (depth * _DEEPEST).round().astype(np.uint16))
    if "probability" in paths:
        write_png(paths["probability"], (mask_prob * 255).round().astype(np.uint8))
    write_png(paths["picture"], _draw(pair, maps, threshold))


def _draw(pair: tuple[Decoded, Decoded], maps: Maps, threshold: float) -> Pixels:
    """Put side by side background, composite, composite with all but the object dimmed, and depth: (H, W, 3)."""
    from torchvision.utils import make_grid

    longest = max(pair[1].width, pair[1].height)
    width, height = (max(1, round(side * SHOWN_SIDE / longest)) for side in (pair[1].width, pair[1].height))
    background, composite = (_resize(picture.shown, width, height) for picture in pair)
    mask_prob, depth = _resize_maps(maps, width, height)
    object_alone = np.where(mask_prob[..., None] > threshold, composite, composite // 4)
    grey = Image.fromarray((depth * 255).round().astype(np.uint8))
    coloured = np.asarray(ImageOps.colorize(grey, _NEAR, _FAR, _MIDDLE))
    parts = np.stack([background, composite, object_alone, coloured])
    grid = make_grid(torch.from_numpy(parts).permute(0, 3, 1, 2), len(parts), _GAP, pad_value=_WHITE)
    drawn: Pixels = grid[:, _GAP:-_GAP, _GAP:-_GAP].permute(1, 2, 0).numpy()  # white between them, not around
    return drawn


def _say_result(outcomes: Sequence[Outcome], folder: Path, strict: bool) -> None:
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    if failed and (strict or len(failed) == len(outcomes)):
        raise ValueError(
            f"{len(failed):,} of {len(outcomes):,} pairs failed, such as {failed[0].name}: {failed[0].reason}"
        )
    for outcome in failed[:_MOST_WARNINGS]:
        warn(f"{outcome.name}: {outcome.reason}")
    doubtful = [outcome for outcome in outcomes if outcome.status == PREDICTED and NO_FIT in outcome.reason]
    for outcome in doubtful[:_MOST_WARNINGS]:
        warn(f"{outcome.name}: {outcome.reason}")
    if len(outcomes) == 1 and not failed and not doubtful and outcomes[0].reason:
        say(f"predict: {outcomes[0].name}: {outcomes[0].reason}")
    say(f"predict: {len(outcomes) - len(failed):,} predicted, {len(failed):,} failed; results in {folder}")
