"""All that is to be measured on a CUDA device, in six minutes: each section adds its line to a file as it ends.

It needs torch, pandas and what the stages import; git, DVC, MLflow and kornia may be missing. The pictures repeat, but
every sample has its own place in memory. `--quick` runs the same code on small numbers, on the CPU where there is no
device: it shows that it runs, and its numbers mean nothing.

    OUT=somewhere python benchmarks/on_gpu.py
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from support.drawn import ARRAY_SIZE, build, list_rows, make_arrays
from support.shipped import SHIPPED_PARAMS
from support.timing import Options, describe_machine
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batches, StreamedPictures
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.device import choose_device, set_deterministic, set_threads
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import Params, load_params
from maskdepth.sweeping.sharing import sharing
from maskdepth.training.fit import Epoch, Pause, Step, TrainState, fit
from maskdepth.training.judging import compile_judge
from maskdepth.training.writer import writing_states

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

_EPOCH = 400_000
_PICTURES = 4000  # that differ
_INPUTS = {"dsunet": "background+composite+difference", "mshilpaa": "background+composite"}
_EAGER = "the benchmark asks for it"
# No section begins after so many seconds, so that the last one ends within six minutes.
_LAST_START = 300
_TEST_SECONDS = 90
_ASIDE_SECONDS = 5


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    samples: int
    batch_sizes: tuple[int, ...]
    steps: int
    rounds: int
    compared_steps: int
    product_side: int
    copied_bytes: int


_FULL = Sizes(_EPOCH, (16, 128, 512, 1024), 60, 3, 20, 8192, 2**30)
_QUICK = Sizes(16, (2,), 1, 1, 2, 64, 2**16)


@dataclass(frozen=True)
class Bench:
    """What all sections share."""

    device: torch.device
    sizes: Sizes
    params: Params
    arrays: Arrays
    folder: Path

    def batches(self, batch_size: int, samples: int | None = None, device: torch.device | None = None) -> Batches:
        rows = list_rows(self.arrays)
        return Batches(self.arrays, rows if samples is None else rows.head(samples), batch_size, device or self.device)

    def begin(
        self, name: str, train: Batches, val: Batches, why_eager: str = "", **changes: object
    ) -> tuple[TrainState, Iterator[Step | Pause | Epoch]]:
        """Start a training that would go on for very long."""
        many = {"batch_size": train.batch_size, "epochs": 1_000_000, "schedule": "constant"}
        settings = self.params.train.model_copy(update=many | changes)
        state = TrainState(build(name, _INPUTS[name]).to(train.device), settings, len(train))
        state.why_eager = why_eager
        return state, fit(state, train, val, build_criterion(self.params.loss), settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds; its numbers mean nothing")
    quick = parser.parse_args().quick
    device = choose_device()
    if device.type != "cuda" and not quick:
        print("on_gpu: no CUDA device here, so nothing was measured; --quick shows that it runs")
        return
    set_deterministic(device)
    sizes = _QUICK if quick else _FULL
    folder = Path(os.environ.get("OUT", Path(__file__).parent / "results"))
    folder.mkdir(parents=True, exist_ok=True)
    arrays = make_arrays(sizes.samples, min(sizes.samples, _PICTURES), ARRAY_SIZE)
    bench = Bench(device, sizes, load_params(SHIPPED_PARAMS), arrays, folder)
    began = time.monotonic()
    for section in _SECTIONS:
        if time.monotonic() - began > _LAST_START:
            write(bench, section.__name__, 0.0, {"not measured": "the time was up"})
            continue
        started = time.monotonic()
        try:
            told = section(bench)
        except (RuntimeError, MemoryError, OSError) as error:  # the other sections are worth their time all the same
            told = {"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}
        write(bench, section.__name__, time.monotonic() - started, told)


def write(bench: Bench, section: str, seconds: float, told: dict[str, Any]) -> None:
    """Add the line of a section to the file, and print it."""
    line = json.dumps({"section": section, "quick": bench.sizes is _QUICK, "seconds": round(seconds, 1)} | told)
    with (bench.folder / "on_gpu.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def machine(bench: Bench) -> dict[str, Any]:
    """Say where this is, and how fast the device copies and multiplies at best."""
    side, count = bench.sizes.product_side, bench.sizes.copied_bytes
    matrix = torch.ones(side, side, dtype=torch.bfloat16, device=bench.device)
    source = torch.zeros(count, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    multiplying = median_seconds(bench, lambda: matrix @ matrix)
    copying = median_seconds(bench, lambda: target.copy_(source))
    return describe_machine(Options(bench.sizes is _QUICK, False, os.getloadavg())) | {
        "device": name_device(bench.device),
        "cuda": torch.version.cuda,
        "bf16 TFLOP/s": 2 * side**3 / multiplying / 1e12,
        "copy TB/s, read and written": 2 * count / copying / 1e12,
    }


def equality(bench: Bench) -> dict[str, Any]:
    """Compare the losses of the same steps: replayed with eager ones, and float32 here with the CPU."""
    size, steps = 16 if bench.sizes is _FULL else 2, bench.sizes.compared_steps
    samples = size * steps

    def losses(device: torch.device, why_eager: str, precision: str) -> tuple[list[float], str]:
        batches = bench.batches(size, samples, device)
        # Chance is of the device: without it the two see the same pictures.
        changes: dict[str, object] = {"precision": precision, "augment": []}
        state, events = bench.begin("dsunet", batches, batches, why_eager, learning_rate=0.001, **changes)
        totals = [0.0]
        for _ in range(steps):
            next(events)
            totals.append(state.sums["loss"].item())
        return [(after - before) / size for before, after in pairwise(totals)], state.why_eager

    replayed, why = losses(bench.device, "", "bf16")
    eager, _ = losses(bench.device, _EAGER, "bf16")
    here, _ = losses(bench.device, _EAGER, "fp32")
    there, _ = losses(torch.device("cpu"), "", "fp32")
    return {
        "why not replayed": why,
        "replayed / eager - 1, bf16, at most": farthest(replayed, eager),
        "device / CPU - 1, fp32, at most": farthest(here, there),
    }


def throughput(bench: Bench) -> dict[str, Any]:
    """Give the seconds of an epoch of 400,000 samples, by network, batch size and way."""
    told: dict[str, Any] = {}
    for batch_size in bench.sizes.batch_sizes:
        batches = bench.batches(batch_size, min(bench.sizes.samples, 200 * batch_size))
        for name, why_eager in product(_INPUTS, ("", _EAGER)):
            state, events = bench.begin(name, batches, batches, why_eager)
            steps = min(bench.sizes.steps, len(batches) // (bench.sizes.rounds + 1)) or 1
            updates = (event for event in events if isinstance(event, Step))
            seconds = [time_steps(bench, updates, steps) for _ in range(1 + bench.sizes.rounds)][1:]
            way = "eager" if state.why_eager else "replayed"
            each = statistics.median(seconds) / (steps * batch_size)
            told[f"{name}, {batch_size}, {'' if why_eager else 'wanted replayed, '}{way}"] = _EPOCH * each
    return {"seconds of an epoch": told}


def epoch(bench: Bench) -> dict[str, Any]:
    """Train one whole epoch of our network, with its validation and a checkpoint."""
    batch_size = 512 if bench.sizes is _FULL else 2
    train, val = bench.batches(batch_size), bench.batches(batch_size, max(2, bench.sizes.samples // 7))
    state, events = bench.begin("dsunet", train, val)
    began = time.perf_counter()
    told = next(event for event in events if isinstance(event, Epoch))
    trained = time.perf_counter()
    with writing_states(bench.folder) as write:
        write(state.state_dict(), state.progress)
        handed = time.perf_counter()
    saved = time.perf_counter()
    for path in bench.folder.glob("state-*.pt"):
        path.unlink()
    return {
        "samples": len(train.sample_ids),
        "validated": len(val.sample_ids),
        "wall": trained - began,
        "parts": told.seconds,
        "checkpoint, the training waits": handed - trained,
        "checkpoint, on the disk": saved - trained,
        "why not replayed": state.why_eager,
    }


def busy(bench: Bench) -> dict[str, Any]:
    """Give the share of the time in which the device works, and the kernels that take most of it."""
    if bench.device.type != "cuda":
        return {"not measured": "no CUDA device"}
    told: dict[str, Any] = {}
    for name, batch_size in product(_INPUTS, (16, 512)):
        batches = bench.batches(batch_size, 100 * batch_size)
        _, events = bench.begin(name, batches, batches)
        updates = (event for event in events if isinstance(event, Step))
        time_steps(bench, updates, 10)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            time_steps(bench, updates, 20)
        told[f"{name}, {batch_size}"] = describe_work(profiler)
    return told


def describe_work(profiler: torch.profiler.profile) -> dict[str, Any]:
    recorded = profiler.events()  # type: ignore[no-untyped-call]
    events = [event for event in recorded if event.device_type.name == "CUDA"]
    if not events:
        return {"not measured": "the profiler saw no kernel"}
    began, ended = min(event.time_range.start for event in events), max(event.time_range.end for event in events)
    # Copies run beside kernels: what overlaps counts once.
    worked, reached, kernels = 0.0, began, Counter[str]()
    for event in sorted(events, key=lambda event: event.time_range.start):
        worked += max(0.0, event.time_range.end - max(reached, event.time_range.start))
        reached = max(reached, event.time_range.end)
        kernels[event.name[:100]] += event.time_range.end - event.time_range.start
    top = {name: round(time_ / (ended - began), 3) for name, time_ in kernels.most_common(10)}
    return {"busy": worked / (ended - began), "kernels": len(events), "shares": top}


def together(bench: Bench) -> dict[str, Any]:
    """Train several networks in one process in turns, each on a stream of its own, as those of a sweep might."""
    batches = bench.batches(16 if bench.sizes is _FULL else 2, min(bench.sizes.samples, 6400))
    seconds: dict[int, float] = {}
    for count in (1, 4, 8) if bench.sizes is _FULL else (1, 2):
        events = [bench.begin("dsunet", batches, batches, seed=seed)[1] for seed in range(count)]
        on_cuda = bench.device.type == "cuda"
        streams = [torch.cuda.Stream(bench.device) if on_cuda else None for _ in events]  # type: ignore[no-untyped-call]
        turns = take_turns(list(zip(events, streams, strict=True)))
        time_steps(bench, turns, min(5, bench.sizes.steps))
        seconds[count] = time_steps(bench, turns, bench.sizes.steps) / (bench.sizes.steps * count)
    return {"seconds of a step": seconds, "throughput": {count: seconds[1] / each for count, each in seconds.items()}}


def take_turns(trainings: Sequence[tuple[Iterator[object], torch.cuda.Stream | None]]) -> Iterator[None]:
    """Let each training do a step; None is the stream that there is."""
    while True:
        for events, stream in trainings:
            with torch.cuda.stream(stream):
                next(events)
        yield


def side_by_side(bench: Bench) -> dict[str, Any]:
    """Train a network in each of several processes, which take turns on the device or are served by MPS."""
    count = 8 if bench.sizes is _FULL else 2
    rates = {"one process": count_steps([{}], bench.sizes)}
    rates[f"{count} in turns"] = count_steps([{}] * count, bench.sizes)
    with sharing(count) as places:
        rates[f"{count}, as a sweep shares"] = count_steps(places, bench.sizes)
    return {
        "served by MPS": any("CUDA_MPS_PIPE_DIRECTORY" in place for place in places),
        "steps a second": rates,
        "throughput": {name: rate / rates["one process"] for name, rate in rates.items()},
    }


def count_steps(places: Sequence[Mapping[str, str]], sizes: Sizes) -> float:
    """Train in as many processes as there are places, at one time; give the steps of all in a second."""
    context = multiprocessing.get_context("spawn")  # what has met CUDA cannot be forked
    ready, counts = context.Barrier(len(places)), context.Queue()
    workers = [context.Process(target=train_aside, args=(place, sizes, ready, counts)) for place in places]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := sum(bool(worker.exitcode) for worker in workers):
        raise RuntimeError(f"{failed} of {len(workers)} processes failed")
    steps: int = sum(counts.get() for _ in workers)
    return steps / _ASIDE_SECONDS


def train_aside(place: Mapping[str, str], sizes: Sizes, ready: "Barrier", counts: "Queue[int]") -> None:
    """Count the steps that a training does while all others do theirs."""
    os.environ.update(place)
    device = choose_device()
    set_threads()
    set_deterministic(device)
    arrays = make_arrays(*((6400, _PICTURES) if sizes is _FULL else (16, 16)), ARRAY_SIZE)
    bench = Bench(device, sizes, load_params(SHIPPED_PARAMS), arrays, Path())
    batches = bench.batches(16 if sizes is _FULL else 2)
    updates = (event for event in bench.begin("dsunet", batches, batches)[1] if isinstance(event, Step))
    time_steps(bench, updates, min(20, sizes.steps))
    try:
        ready.wait(_TEST_SECONDS)
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < _ASIDE_SECONDS:
            time_steps(bench, updates, sizes.rounds)
            count += sizes.rounds
    except BaseException:
        ready.abort()
        raise
    counts.put(count)


def streaming(bench: Bench) -> dict[str, Any]:
    """Compare pictures that are read for each batch with those held on the device."""
    batch_size = 512 if bench.sizes is _FULL else 2
    held, streamed = (bench.batches(batch_size, min(bench.sizes.samples, 200 * batch_size)) for _ in range(2))
    rows = list_rows(bench.arrays)
    wanted = [rows[f"{kind}_row"].to_numpy(np.int64) for kind in PICTURE_KINDS]
    pictures = [getattr(bench.arrays, kind) for kind in PICTURE_KINDS]
    streamed._pictures = StreamedPictures(pictures, wanted, bench.device)
    seconds = {}
    for name, batches in {"held": held, "streamed": streamed}.items():
        _, events = bench.begin("dsunet", batches, batches)
        updates = (event for event in events if isinstance(event, Step))
        time_steps(bench, updates, min(5, bench.sizes.steps))
        seconds[name] = time_steps(bench, updates, min(50, bench.sizes.steps))
    return seconds | {"streamed / held": seconds["streamed"] / seconds["held"]}


def alternatives(bench: Bench) -> dict[str, Any]:
    """Time parts of our network beside other ways to compute the same: forward and backward, bf16, as in a step."""
    count, side = (512, 64) if bench.sizes is _FULL else (2, 8)
    channels, wide = 24, 16
    rand = partial(torch.rand, dtype=torch.bfloat16, device=bench.device)
    small = rand(count, channels, side // 2, side // 2).contiguous(memory_format=torch.channels_last)
    pictures = rand(count, 9, side, side).contiguous(memory_format=torch.channels_last)
    padded = torch.nn.functional.pad(pictures, (0, 0, 0, 0, 0, wide - 9))
    narrow_weight, wide_weight = (rand(channels, depth, 3, 3, requires_grad=True) for depth in (9, wide))
    ways: dict[str, Callable[[], Tensor]] = {
        "enlarging, torch's": lambda: interpolate(small, scale_factor=2.0, mode="bilinear"),
        "enlarging, from shifted copies": lambda: double_rows(double_rows(small).mT).mT,
        "first convolution, 9 channels": lambda: conv2d(pictures, narrow_weight, padding=1),
        "first convolution, padded to 16": lambda: conv2d(padded, wide_weight, padding=1),
    }
    small.requires_grad_()
    plain, shifted = (ways[f"enlarging, {name}"]() for name in ("torch's", "from shifted copies"))
    seconds = {name: median_seconds(bench, lambda way=way: way().sum().backward()) for name, way in ways.items()}  # type: ignore[misc]
    return {"seconds": seconds, "enlarging, farthest apart": (plain - shifted).abs().max().item()}


def double_rows(maps: Tensor) -> Tensor:
    """Enlarge (B, C, H, W) to (B, C, 2 H, W) as bilinear interpolation does: each row lies between two of before."""
    above = torch.cat([maps[:, :, :1], maps[:, :, :-1]], 2)
    below = torch.cat([maps[:, :, 1:], maps[:, :, -1:]], 2)
    return torch.stack([torch.lerp(maps, above, 0.25), torch.lerp(maps, below, 0.25)], 3).flatten(2, 3)


def gpu_tests(bench: Bench) -> dict[str, Any]:
    """Run the tests that need a device; the last, as they say the least where they fail."""
    if importlib.util.find_spec("pytest") is None or bench.device.type != "cuda":
        return {"not measured": "no pytest" if bench.device.type == "cuda" else "no CUDA device"}
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/training", "tests/data/batches"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=_TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return {"not measured": f"not done after {_TEST_SECONDS} s"}
    return {"exit code": done.returncode, "tail": done.stdout.splitlines()[-15:]}


def compiled(bench: Bench) -> dict[str, Any]:
    """Compare each network as it is with what the compiler makes of it; last, as compiling may take minutes."""
    on_cuda = bench.device.type == "cuda"
    backend, batch_size = ("inductor", 512) if on_cuda else ("aot_eager", 2)
    told: dict[str, Any] = {}
    for name in _INPUTS if on_cuda else ("dsunet",):
        batches = bench.batches(batch_size, min(bench.sizes.samples, 100 * batch_size))
        seconds: dict[str, float] = {}
        losses = []
        for way in ("as it is", "compiled"):
            state, events = bench.begin(name, batches, batches)
            began = time.perf_counter()
            if way == "compiled":
                criterion, precision = build_criterion(bench.params.loss), bench.params.train.precision
                batch = next(batches.in_order())
                state.judging.judge = compile_judge(state.network.train(), criterion, precision, batch, backend)
                seconds["compiling"] = time.perf_counter() - began
            updates = (event for event in events if isinstance(event, Step))
            time_steps(bench, updates, min(5, bench.sizes.steps))
            seconds[way] = _EPOCH * time_steps(bench, updates, bench.sizes.steps) / (bench.sizes.steps * batch_size)
            losses.append(state.sums["loss"].item())
        apart = losses[1] / losses[0] - 1
        told[name] = {"seconds of an epoch": seconds, "sums of losses, compiled / as it is - 1": apart}
    return told


def time_steps(bench: Bench, updates: Iterator[Step | None], steps: int) -> float:
    """Do so many steps, to the end of the device's work; give the seconds."""
    synchronise(bench)
    began = time.perf_counter()
    for _ in range(steps):
        next(updates)
    synchronise(bench)
    return time.perf_counter() - began


def median_seconds(bench: Bench, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(12):
        synchronise(bench)
        began = time.perf_counter()
        work()
        synchronise(bench)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def synchronise(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)


def farthest(ones: list[float], others: list[float]) -> float:
    return max(abs(one / other - 1) for one, other in zip(ones, others, strict=True))


def name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU: these numbers mean nothing"


_SECTIONS: tuple[Callable[[Bench], dict[str, Any]], ...] = (
    machine,
    equality,
    throughput,
    epoch,
    busy,
    together,
    side_by_side,
    streaming,
    alternatives,
    gpu_tests,
    compiled,
)

if __name__ == "__main__":
    main()
