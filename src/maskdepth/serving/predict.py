"""Pictures in, masks and depth out: a trained network on one pair or on whole data sets, of any size and shape.

Pictures are decoded and resized as for training; results come back at the size of the composite, the mask drawn along
what differs there. Threads read and write while the network is at work.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskdepth.data.batches.batches import ESTIMATED_DEPTH, GIVEN_DEPTH, UNKNOWN_DEPTH
from maskdepth.data.files import File
from maskdepth.data.pictures.decoding import MAX_PIXELS, Picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.registration import check_pixels, register
from maskdepth.device import choose_device, set_threads
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.process.console import printable, progress, say, warn
from maskdepth.process.workspace import require_writable
from maskdepth.serving.doubts import doubt_background_depth, doubt_object, doubt_picture, doubt_shape, refuse_same
from maskdepth.serving.drawing import colour_depth, cut_out, draw_panel, fit_scene, paste_onto
from maskdepth.serving.files import (
    DOUBTFUL,
    FAILED,
    PREDICTED,
    Decoded,
    Outcome,
    Pair,
    check_shapes,
    name_results,
    read_background_depth,
    read_picture,
    write_picture,
    write_report,
)
from maskdepth.serving.planning import Plan
from maskdepth.serving.refinement import refine_mask

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

# As many pixels as the decoder takes at most have 120 MB as RGB without any compression.
MAX_BYTES = 128 * 2**20
BATCH_SIZE = 16

_DEEPEST = 65535
_MOST_WARNINGS = 5
# Pairs come sorted by background: one was met a few pairs ago, or never.
_REMEMBERED = 2


class Maps(NamedTuple):
    """What a network says about one pair of pictures.

    Attributes:
        mask_prob: (H, W) probability that a pixel belongs to the object, [0, 1].
        depth: (H, W) relative depth, [0, 1], 0 near and 1 far.
    """

    mask_prob: Map
    depth: Map


class Prepared(NamedTuple):
    """A pair that the network can be shown.

    Attributes:
        pair: Which.
        background: As it lies under the composite.
        composite: The other one, of the same size.
        background_depth: (S, S) as it lies under the composite, 0 near; None where it is not known.
        note: What was done to the background.
        doubts: What is wrong with the pictures, a line each.
    """

    pair: Pair
    background: Decoded
    composite: Decoded
    background_depth: Pixels | None
    note: str
    doubts: list[str]


def predict(
    plan: Plan,
    model: Path,
    *,
    threshold: float = 0.5,
    strict: bool = False,
    registers: bool = True,
    depth_is_estimated: bool = False,
    batch_size: int = BATCH_SIZE,
    max_bytes: int = MAX_BYTES,
) -> list[Outcome]:
    """Predict all pairs of a plan, and write what it names.

    Args:
        plan: The pairs, and where which results go.
        model: What `dvc repro` trained.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        strict: Fail if any pair failed, once all others are done.
        registers: Lay each background over its composite first, as `register` does: the camera may have moved a little,
            and the light changed.
        depth_is_estimated: Whether depth maps of backgrounds are less exact than those of the training data.
        batch_size: Pairs that the network sees at once.
        max_bytes: Size above which a file is refused [bytes].

    Returns:
        One outcome per pair, by name.

    Raises:
        FileNotFoundError: The model is missing.
        ValueError: The model is not ours, or a result cannot be written. Or no pair could be predicted, or with
            `strict` not all.
    """
    if not 0 < threshold < 1 or batch_size < 1:
        raise ValueError(f"found threshold {threshold:g} and batch size {batch_size}; expected (0, 1) and 1 or more")
    network = load_network(model).to(choose_device())
    if any(pair.background_depth for pair in plan.pairs) and not network.sees_background_depth:
        raise ValueError(
            f"{model} has not learned to look at the depth of the background; leave --background-depth out, or train "
            "with model.inputs: background+composite+difference+background_depth"
        )
    require_writable([plan.out])
    read = partial(read_picture, network.spec.image_size, max_bytes)
    read_background = lru_cache(_REMEMBERED)(read)
    read_depth = lru_cache(_REMEMBERED)(partial(read_background_depth, network.spec.image_size, max_bytes))
    prepare = partial(_prepare, network, read_background, read, read_depth, registers)
    scene_of = lru_cache(maxsize=1)(partial(fit_scene, plan.scene)) if plan.scene else None
    finish = partial(_finish, plan, threshold, scene_of)
    known = ESTIMATED_DEPTH if depth_is_estimated else GIVEN_DEPTH
    outcomes = list(plan.left_over)
    threads = set_threads()
    with ThreadPoolExecutor(threads) as pool:
        prepared = progress(_map_ahead(pool, prepare, plan.pairs, 2 * threads), "predict", len(plan.pairs))
        for batch in _cut_batches(prepared, batch_size, outcomes):
            outcomes += pool.map(finish, *_show(network, batch, known))
    outcomes.sort(key=lambda outcome: outcome.name)
    if plan.report:
        write_report(plan.report, outcomes)
    _say_result(plan, outcomes, strict)
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
    seen = [np.stack([_resize(picture, side, side)]) for picture in (background, composite)]
    maps = _run(network, *seen)[-1][0]
    mask_prob = refine_mask(maps.mask_prob, _resize(background, width, height), composite)
    return Maps(mask_prob, _resize(maps.depth, width, height).clip(0, 1))


def _prepare(
    network: Network,
    read_background: Callable[[File], Decoded],
    read_composite: Callable[[File], Decoded],
    read_depth: Callable[[File], Picture],
    registers: bool,
    pair: Pair,
) -> Prepared | Outcome:
    """Read a pair and lay its background over its composite; say why where that cannot be."""
    try:
        background, composite = read_background(pair.background), read_composite(pair.composite)
        height, width = composite.whole.shape[:2]
        check_shapes((background.whole.shape[1], background.whole.shape[0]), (width, height))
        background = background._replace(whole=_resize(background.whole, width, height))
        refuse_same(background.whole, composite.whole)
        depth = None
        if pair.background_depth:
            picture = read_depth(pair.background_depth)
            check_shapes((picture.width, picture.height), (width, height), "its depth map")
            depth = picture.pixels
    except RefusedError as error:
        where = error.where or f"{pair.background} and {pair.composite}"
        refused = RefusedError(error.reason, error.cure, where)
        return Outcome(pair.name, FAILED, None, printable(str(refused)))
    doubts = list(_doubt(network, pair, background, composite))
    if not registers:
        return Prepared(pair, background, composite, depth, "", doubts)
    found = register(background.whole, composite.whole)
    if found.verdict == "does not fit":
        cure = "photograph both from one place, and name the two that belong together"
        return Prepared(pair, background, composite, depth, "", [f"{found.describe()}; {cure}", *doubts])
    if found.verdict == "registered":
        side = network.spec.image_size
        background = Decoded(_resize(found.background, side, side), found.background)
        depth = None if depth is None else found.move(depth)
    return Prepared(pair, background, composite, depth, found.describe(), doubts)


def _doubt(network: Network, pair: Pair, background: Decoded, composite: Decoded) -> Iterator[str]:
    """Say what is wrong with the pictures of a pair, each by itself."""
    moments = network.spec.normalisation
    for file, picture, *training in (
        (pair.background, background, moments.background_mean, moments.background_std),
        (pair.composite, composite, moments.composite_mean, moments.composite_std),
    ):
        yield from doubt_picture(printable(str(file)), picture.seen, *map(np.array, training))
    height, width = composite.whole.shape[:2]
    yield from doubt_shape(printable(str(pair.composite)), width, height)


def _map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield `function(item)` of every item in order; so many are under way or wait, as results are large."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _cut_batches(
    prepared: Iterable[Prepared | Outcome], batch_size: int, failed: list[Outcome]
) -> Iterator[list[Prepared]]:
    """Gather pairs to show at once, fewer where they are large; add those that failed to the list."""
    batch: list[Prepared] = []
    for one in prepared:
        if isinstance(one, Outcome):
            failed.append(one)
            continue
        batch.append(one)
        num_pixels = sum(each.composite.whole.shape[0] * each.composite.whole.shape[1] for each in batch)
        if len(batch) == batch_size or num_pixels > MAX_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _show(network: Network, batch: Sequence[Prepared], known: int) -> tuple[Sequence[Prepared], list[Maps]]:
    """Predict pairs, and hold the depth maps, `known` so well, against what the pictures alone tell."""
    pictures = _stack(batch)
    if all(one.background_depth is None for one in batch):
        return batch, _run(network, *pictures)[-1]
    unknown = np.full(pictures[0].shape[1:3], UNKNOWN_DEPTH, np.uint8)
    levels = [unknown if one.background_depth is None else one.background_depth for one in batch]
    how = [np.full_like(unknown, UNKNOWN_DEPTH if one.background_depth is None else known) for one in batch]
    alone, told = _run(network, *pictures, np.stack([levels, how], 1))
    doubted = [
        one._replace(doubts=[*one.doubts, *_doubt_depth(one, maps)]) for one, maps in zip(batch, alone, strict=True)
    ]
    return doubted, told


def _doubt_depth(prepared: Prepared, alone: Maps) -> Iterator[str]:
    if prepared.background_depth is not None:
        name = printable(str(prepared.pair.background_depth))
        yield from doubt_background_depth(name, prepared.background_depth, alone.depth, alone.mask_prob)


def _stack(batch: Sequence[Prepared]) -> tuple[Pixels, Pixels]:
    """Stack what the network sees of backgrounds and composites, (B, S, S, 3) each."""
    return np.stack([one.background.seen for one in batch]), np.stack([one.composite.seen for one in batch])


@torch.inference_mode()
def _run(
    network: Network, backgrounds: Pixels, composites: Pixels, background_depths: Pixels | None = None
) -> list[list[Maps]]:
    """Predict pictures (B, S, S, 3) alone, and with depth maps of the backgrounds (B, 2, S, S) too; maps are (S, S)."""
    device = network.mean.device
    pictures = [torch.from_numpy(kind).to(device).permute(0, 3, 1, 2) / 255 for kind in (backgrounds, composites)]
    if background_depths is not None:
        pictures.append(torch.from_numpy(background_depths).to(device) / 255)
    shown = []
    for prediction in network.predict_each(*pictures):
        mask_probs, depths = prediction.mask_logits.sigmoid()[:, 0], prediction.depth[:, 0]
        shown.append([Maps(*maps) for maps in zip(mask_probs.cpu().numpy(), depths.cpu().numpy(), strict=True)])
    return shown


def _finish(
    plan: Plan,
    threshold: float,
    scene_of: Callable[[int, int], Image.Image] | None,
    prepared: Prepared,
    maps: Maps,
) -> Outcome:
    """Write what was asked for of one pair."""
    pair, background, composite, doubts = prepared.pair, prepared.background, prepared.composite, prepared.doubts
    if not all(np.isfinite(values).all() for values in maps):  # weights may be finite, and too large
        return Outcome(pair.name, FAILED, None, "the network answers with no numbers; train it again")
    mask_prob = refine_mask(maps.mask_prob, background.whole, composite.whole)
    mask = mask_prob > threshold
    height, width = mask.shape
    depth = cache(lambda: _resize(maps.depth, width, height).clip(0, 1))
    draw: dict[str, Callable[[], NDArray[Any]]] = {
        "mask": lambda: np.where(mask, 255, 0).astype(np.uint8),
        "depth": lambda: (depth() * _DEEPEST).round().astype(np.uint16),
        "panel": lambda: draw_panel(background.whole, composite.whole, mask, maps.depth),
        "cutout": lambda: cut_out(composite.whole, mask_prob),
        "depth-colour": lambda: colour_depth(depth()),
        "probability": lambda: (mask_prob * 255).round().astype(np.uint8),
    }
    if scene_of:
        draw["onto"] = lambda: paste_onto(scene_of(width, height), composite.whole, mask_prob)
    for kind, path in name_results(plan.out, pair.name, plan.kinds).items():
        write_picture(path, draw[kind]())
    if not doubts:  # one cause is enough
        names = printable(str(pair.background)), printable(str(pair.composite))
        doubts = list(doubt_object(names, background.seen, composite.seen, maps.mask_prob))
    told = "; ".join(filter(None, [prepared.note, *doubts]))
    return Outcome(pair.name, DOUBTFUL if doubts else PREDICTED, float(mask.mean()), told)


def _resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize (H, W) or (H, W, 3) pixels with antialiasing, as the pictures of training were."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _say_result(plan: Plan, outcomes: Sequence[Outcome], strict: bool) -> None:
    """Say what became of the pairs: first what is wrong, then what was written, and how large the objects are."""
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    if len(outcomes) == 1 and failed:
        raise ValueError(failed[0].note)
    if failed and (strict or len(failed) == len(outcomes)):
        raise ValueError(
            f"{len(failed):,} of {len(outcomes):,} pairs failed, such as {failed[0].name}: {failed[0].note}"
        )
    for bad in (failed, [outcome for outcome in outcomes if outcome.status == DOUBTFUL]):
        for outcome in bad[:_MOST_WARNINGS]:
            warn(f"{outcome.name}: {outcome.note}")
        if len(bad) > _MOST_WARNINGS:
            warn(f"and {len(bad) - _MOST_WARNINGS:,} more that are {bad[0].status}, in {plan.report}")
    shares = [outcome.share for outcome in outcomes if outcome.share is not None]
    if plan.report is None:
        files = ", ".join(path.name for path in name_results(plan.out, outcomes[0].name, plan.kinds).values())
        note = f"; {outcomes[0].note}" if outcomes[0].note and outcomes[0].status == PREDICTED else ""
        say(f"predict: {outcomes[0].name}: object {100 * shares[0]:.1f} % of the picture{note}")
        say(f"predict: wrote {files} in {plan.out}")
        return
    say(
        f"predict: {len(shares):,} predicted, {len(failed):,} failed; object {100 * median(shares):.1f} % of the "
        f"picture in the middle, {100 * min(shares):.1f} to {100 * max(shares):.1f} %"
    )
    say(f"predict: wrote {', '.join(plan.kinds)} of each in {plan.out}, and a row of each in {plan.report}")
