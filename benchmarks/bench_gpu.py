"""An epoch of 400,000 samples on a CUDA device: mshilpaa's network and ours, held on the device and streamed from disk.

A part of the epoch is trained and its time multiplied. The pictures repeat, but every sample has its own place in
memory and on disk, so that caches help no more than with real ones. `--quick` runs on the CPU where there is no CUDA
device, to show that it runs; without it and without one there is nothing to measure.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from support.drawn import ARRAY_SIZE, build, list_rows, make_arrays, scratch
from support.timing import Case, Ratio, Times, measure, parse_options, report, summarise

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.batches.batches import Batches, _streaming_gather
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.device import choose_device, set_deterministic
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import Params, load_params
from maskdepth.training.fit import Step, TrainState, fit

_EPOCH = 400_000
_SAMPLES, _QUICK_SAMPLES = 64_000, 64
_PICTURES = 4000
_BATCH_SIZE, _QUICK_BATCH_SIZE = 512, 8
_STEPS, _QUICK_STEPS = 100, 1
_DIFFERENCE = "background+composite+difference"
_THEIRS, _OURS, _STREAMED = "mshilpaa, resident", "dsunet as shipped, resident", "dsunet as shipped, from mapped files"


def main() -> None:
    options = parse_options(__doc__)
    device = choose_device()
    if device.type != "cuda" and not options.quick:
        print("gpu: no CUDA device here, so nothing was measured")
        return
    set_deterministic(device)
    samples, batch_size, steps = _SAMPLES, _BATCH_SIZE, _STEPS
    if options.quick:
        samples, batch_size, steps = _QUICK_SAMPLES, _QUICK_BATCH_SIZE, _QUICK_STEPS
    params = load_params()
    many = {"batch_size": batch_size, "epochs": 1_000_000, "schedule": "constant"}
    params = params.model_copy(update={"train": params.train.model_copy(update=many)})
    arrays = make_arrays(samples, min(samples, _PICTURES), ARRAY_SIZE)
    with scratch() as folder:
        held, mapped = (Batches(arrays, list_rows(arrays), batch_size, device) for _ in range(2))
        stream(mapped, map_to(folder, arrays), arrays)
        cases = {
            _THEIRS: step_case(params, held, "mshilpaa", "background+composite", steps),
            _OURS: step_case(params, held, "dsunet", _DIFFERENCE, steps),
            _STREAMED: step_case(params, mapped, "dsunet", _DIFFERENCE, steps),
        }
        times = measure(cases, quick=options.quick)
        ratios = [
            epoch_seconds(times, _THEIRS, "<= 60"),
            epoch_seconds(times, _OURS, "<= 10"),
            epoch_seconds(times, _STREAMED),
        ]
        if device.type == "cuda":
            ratios += [busy_share(name, case) for name, case in cases.items()]
    data = (
        f"{samples:,} samples of {ARRAY_SIZE} px, batches of {batch_size}, {params.train.precision}; units are samples"
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU: these numbers mean nothing"
    report("gpu", data, options, times, ratios, {"device": name, "steps of a round": steps})


def map_to(folder: Path, arrays: Arrays) -> list[ShardedArray]:
    """Write the pictures of each kind to a file and map it, as the stages do."""
    pictures = []
    for kind in PICTURE_KINDS:
        path = folder / f"{kind}.npy"
        np.save(path, np.concatenate(getattr(arrays, kind).parts))
        pictures.append(ShardedArray([np.load(path, mmap_mode="r")]))
    return pictures


def stream(batches: Batches, pictures: list[ShardedArray], arrays: Arrays) -> None:
    """Let batches read these pictures each time, as if they were too many for the device."""
    rows = list_rows(arrays)
    wanted = [rows[f"{kind}_row"].to_numpy(np.int64) for kind in PICTURE_KINDS]
    batches._gather = _streaming_gather(pictures, wanted, batches.device)


def step_case(params: Params, batches: Batches, name: str, inputs: str, steps: int) -> Case:
    """Train on where the last round ended, so many steps a round, to the end of the device's work."""
    state = TrainState(build(name, inputs).to(batches.device), params.train, len(batches))
    events = fit(state, batches, batches, build_criterion(params.loss), params.train)
    updates = (event for event in events if isinstance(event, Step))
    return Case(partial(take, updates, steps, batches.device), steps * batches.batch_size)


def take(updates: Iterator[Step], steps: int, device: torch.device) -> None:
    for _ in range(steps):
        next(updates)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def epoch_seconds(times: Times, name: str, goal: str = "") -> Ratio:
    return summarise(f"seconds of an epoch of {_EPOCH:,}: {name}", [_EPOCH * each for each in times[name]], goal)


def busy_share(name: str, case: Case) -> Ratio:
    """Give the share of the time in which the device computed or copied, by its own record of one round."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        case.run()
    events = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    began, ended = min(event.time_range.start for event in events), max(event.time_range.end for event in events)
    # Copies run beside kernels: what overlaps counts once.
    busy, reached = 0.0, began
    for event in sorted(events, key=lambda event: event.time_range.start):
        busy += max(0.0, event.time_range.end - max(reached, event.time_range.start))
        reached = max(reached, event.time_range.end)
    return summarise(f"share of the time in which the device works: {name}", [busy / (ended - began)], ">= 0.95")


if __name__ == "__main__":
    main()
