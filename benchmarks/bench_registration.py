"""Registration before prediction: how exact, how fast, what it saves of the masks, and where it ends.

Backgrounds are disturbed by known motions and lights. Measured are the motion found, at the corner where it is worst;
the mask by thresholded difference; and, if MASKDEPTH_MODEL names a trained network, its mask and depth: with the
background as disturbed, as registered, and as it lies under the composite ("clean"). Photographs are those of
MASKDEPTH_REAL_DATA; without it scenes are drawn. One thread.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from support.aligners import ALIGNERS, Aligner
from support.disturbed import (
    ALL_AT_ONCE,
    DISTURBANCES,
    HARD,
    MARGIN,
    SIZE,
    Disturbance,
    Disturbed,
    Pair,
    corner_error,
    disturb,
    on_a_wall,
    read_pairs,
    with_object,
    without_object,
)
from support.timing import Case, Ratio, measure, parse_options, report, summarise

from maskdepth.data.registration import Registration, register
from maskdepth.evaluation.baseline import DIFFERENCE_THRESHOLD, clean_masks
from maskdepth.losses.ssim import ssim
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.serving.predict import predict_arrays

Pixels = NDArray[np.uint8]

_SIDE = SIZE - 2 * MARGIN
_LARGE = 1920, 1080
# kornia's takes seconds a pair, and gets few.
_SLOW, _FEW = "kornia", 5


class Outcome(NamedTuple):
    """What became of one pair; scores are of the background as disturbed, as registered, and clean.

    Attributes:
        place: Of the pair.
        verdict: Of the registration.
        error: Of the motion at the worst corner [px].
        difference: IoU of the mask by difference.
        mask: IoU of the network's mask; empty without a network.
        depth: SSIM of the network's depth; empty without a network.
        false: Share of the picture that difference and network take for an object, after registration.
    """

    place: str
    verdict: str
    error: float
    difference: list[float]
    mask: list[float]
    depth: list[float]
    false: list[float]


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    pairs = read_pairs(1 if options.quick else 2)[: 3 if options.quick else None]
    path = os.environ.get("MASKDEPTH_MODEL")
    network = load_network(Path(path)) if path else None
    easy = {name: pairs_of(pairs, how) for name, how in DISTURBANCES.items()}
    hard = {name: pairs_of(pairs, how) for name, how in HARD.items()} | hard_objects(pairs)
    ratios = []
    for title, cases in (("", easy), ("hard: ", hard)):
        print(f"{title}{len(pairs)} pairs: as disturbed -> registered (clean)")
        for name, case in islice(cases.items(), 4 if options.quick else None):
            outcomes = [judge(pair.place, each, network) for pair, each in zip(pairs, case, strict=True)]
            print(tell(name, outcomes))
            ratios += conclude(title + name, outcomes, has_goals=not title)
    ratios += empty_scenes(pairs, network)
    ratios.append(strangers(pairs))
    aligned, times = stand_beside(pairs, quick=options.quick)
    facts = {"pairs": len(pairs), "photographs": "MASKDEPTH_REAL_DATA" in os.environ, "network": str(path), **aligned}
    data = f"{len(pairs)} pairs of {_SIDE} x {_SIDE} px; 1080p are those enlarged; units are pairs"
    report("registration", data, options, times, [*ratios, *durations(times)], facts)


def pairs_of(pairs: Iterable[Pair], how: Disturbance) -> list[Disturbed]:
    rng = np.random.default_rng(1)
    return [disturb(pair, how, rng) for pair in pairs]


def hard_objects(pairs: Sequence[Pair]) -> dict[str, list[Disturbed]]:
    """Make objects that hide a large part, and walls that show nothing, under everything at once."""
    rng = np.random.default_rng(2)
    cases = {
        f"object over {share:.0%}": pairs_of([with_object(pair, share) for pair in pairs], ALL_AT_ONCE)
        for share in (0.2, 0.3, 0.4, 0.5)
    }
    walls = [on_a_wall(pair, rng) for pair in pairs]
    return cases | {
        "bare wall as it is": pairs_of(walls, Disturbance()),
        "bare wall, all at once": pairs_of(walls, ALL_AT_ONCE),
    }


def judge(place: str, case: Disturbed, network: Network | None) -> Outcome:
    registered = register(case.background, case.composite)
    backgrounds = case.background, registered.background, case.clean
    differences = [difference_mask(background, case.composite) for background in backgrounds]
    masks, depths = [], []
    for background in backgrounds:
        if network is None:
            break
        prob, depth = predict_arrays(network, background, case.composite)
        masks.append(prob > 0.5)
        depths.append(similarity(depth, case.depth))
    return Outcome(
        place,
        registered.verdict,
        corner_error(registered.matrix, case.matrix, _SIDE),
        [overlap(mask, case.mask) for mask in differences],
        [overlap(mask, case.mask) for mask in masks],
        depths,
        [float(each[1].mean()) for each in (differences, masks) if each],
    )


def difference_mask(background: Pixels, composite: Pixels) -> NDArray[np.bool_]:
    """The mask of the baseline that has learned nothing."""
    difference = np.abs(composite.astype(np.float32) - background).max(2) / 255
    mask: NDArray[np.bool_] = clean_masks(difference[None] > DIFFERENCE_THRESHOLD)[0]
    return mask


def overlap(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    union = (pred | truth).sum()
    return float((pred & truth).sum() / union) if union else 1.0


def similarity(pred: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return ssim(*(torch.from_numpy(np.ascontiguousarray(each))[None, None] for each in (pred, truth))).item()


def tell(name: str, outcomes: Sequence[Outcome]) -> str:
    """Write a row of the table: errors in the middle, at nine in ten and worst; then the means."""
    errors = np.array([outcome.error for outcome in outcomes])
    parts = [f"{name:<26}{np.median(errors):6.3f} {np.quantile(errors, 0.9):6.3f} {errors.max():6.2f} px"]
    for kind in ("difference", "mask", "depth"):
        scores = np.array([getattr(outcome, kind) for outcome in outcomes])
        if scores.size:
            before, after, clean = scores.mean(0)
            parts.append(f"{kind} {before:.3f} -> {after:.3f} ({clean:.3f})")
    verdicts = [outcome.verdict for outcome in outcomes]
    counts = (f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    return "  ".join([*parts, ", ".join(counts)])


def conclude(name: str, outcomes: Sequence[Outcome], *, has_goals: bool) -> list[Ratio]:
    """Compare with clean pairs: all together and, as those of one place are alike, place by place."""
    goals = {"difference": "", "mask": ">= 0.98", "depth": ">= 0.97"} if has_goals else {}
    ratios = [summarise(f"corner error [px], {name}", [outcome.error for outcome in outcomes])]
    for kind in ("difference", "mask", "depth"):
        scores = np.array([getattr(outcome, kind) for outcome in outcomes])
        if not scores.size or scores[:, 2].sum() <= 0:
            continue
        title = f"{kind} of clean, {name}"
        ratios.append(summarise(title, [max(0.0, float(scores[:, 1].sum() / scores[:, 2].sum()))], goals.get(kind, "")))
        owners = np.array([outcome.place for outcome in outcomes])
        by_place = (scores[owners == place].sum(0) for place in sorted(set(owners)))
        ratios.append(
            summarise(
                f"{title}, by place", [max(0.0, float(after / clean)) for _, after, clean in by_place if clean > 0]
            )
        )
    if name == "as it is":
        changed = [float(outcome.verdict != "left as it was") for outcome in outcomes]
        ratios.append(summarise("share of clean pairs that are changed", [float(np.mean(changed))], "<= 0"))
    return ratios


def empty_scenes(pairs: Iterable[Pair], network: Network | None) -> list[Ratio]:
    """Measure what is taken for an object where there is none."""
    rng = np.random.default_rng(3)
    empty = [without_object(pair, rng) for pair in pairs]
    outcomes = [judge(pair.place, disturb(pair, ALL_AT_ONCE, rng), network) for pair in empty]
    shares = zip(*(outcome.false for outcome in outcomes), strict=True)
    return [
        summarise(f"false mask on empty scenes, {kind}", [float(np.mean(share))], "<= 0.001")
        for kind, share in zip(("difference", "mask"), shares, strict=False)
    ]


def strangers(pairs: Sequence[Pair]) -> Ratio:
    """Measure how often two pictures of different places are told from two of one."""
    fits = [
        register(one.background, other.composite).verdict != "does not fit"
        for one in pairs[::2]
        for other in pairs[::2]
        if one.place != other.place
    ]
    return summarise("share of pictures of different places that pass as one", [float(np.mean(fits))], "<= 0.01")


def stand_beside(pairs: Sequence[Pair], *, quick: bool) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Give exactness and time of ours and of the others on the same pairs."""
    names = ("shift 2 %", "turn 2 degrees", "zoom 2 %", "all at once")
    chosen = pairs[:: 1 if quick else 4]
    cases = {name: pairs_of(chosen, DISTURBANCES[name]) for name in names}
    cases["object over 30%, all at once"] = pairs_of([with_object(pair, 0.3) for pair in chosen], ALL_AT_ONCE)
    aligners: Mapping[str, Aligner] = {"ours": lambda *pair: register(*pair).matrix, **ALIGNERS}
    facts = {}
    for name, case in cases.items():
        for aligner, align in aligners.items():
            if not (quick and _SLOW in aligner):
                facts[f"{name}: {aligner}"] = tell_errors(align, case[: _FEW if _SLOW in aligner else None])
    full = [disturb_whole(pair) for pair in chosen]
    large = [[np.asarray(Image.fromarray(each).resize(_LARGE)) for each in pair] for pair in full[: 1 if quick else 6]]
    timed = {"ours, 160 px": partial(run, register, full), "ours, 1080p": partial(run, register, large)}
    timed |= {f"{name}, 160 px": partial(run, align, full) for name, align in ALIGNERS.items() if _SLOW not in name}
    timed |= {f"{name}, 160 px": partial(run, align, full[:1]) for name, align in ALIGNERS.items() if _SLOW in name}
    sizes = {"ours, 1080p": len(large)} | {f"{name}, 160 px": 1 for name in ALIGNERS if _SLOW in name}
    jobs = {name: Case(job, sizes.get(name, len(full))) for name, job in timed.items()}
    facts |= {f"{name}: processor time": f"{time_of_processor(job):.1f} ms" for name, job in jobs.items()}
    return facts, measure(jobs, quick=quick)


def time_of_processor(job: Case) -> float:
    """Say how long it keeps the processor [ms a unit], which says more than the clock where others work as well."""
    began = time.process_time()
    job.run()
    return 1e3 * (time.process_time() - began) / job.units


def disturb_whole(pair: Pair) -> tuple[Pixels, Pixels]:
    """Bring what a disturbance leaves of a pair back to 160 px, for the clock alone."""
    case = disturb(pair, ALL_AT_ONCE, np.random.default_rng(4))
    background, composite = (Image.fromarray(each).resize((SIZE, SIZE)) for each in (case.background, case.composite))
    return np.asarray(background), np.asarray(composite)


def run(
    align: Callable[[Pixels, Pixels], Registration | NDArray[np.float64] | None], pairs: Iterable[Sequence[Pixels]]
) -> None:
    for pair in pairs:
        align(*pair)


def tell_errors(align: Aligner, cases: Iterable[Disturbed]) -> str:
    errors = []
    for case in cases:
        found = align(case.background, case.composite)
        errors.append(np.inf if found is None else corner_error(found, case.matrix, _SIDE))
    middle, most = np.median(errors), np.quantile(errors, 0.9, method="higher")
    return f"{middle:.2f} px, nine in ten within {most:.2f}, {np.mean(np.array(errors) > 1):.0%} off by over 1"


def durations(times: dict[str, list[float]]) -> list[Ratio]:
    goals = {"ours, 160 px": "<= 15", "ours, 1080p": "<= 100"}
    return [summarise(f"milliseconds, {name}", [1e3 * each for each in times[name]], goals[name]) for name in goals]


if __name__ == "__main__":
    main()
