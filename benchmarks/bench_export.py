"""The exported network in ONNX Runtime beside torch, one thread and two; a pair at a time, and a batch.

The network is the shipped one with fresh weights, which cost as much as any. Torch runs it as `maskdepth predict` does,
channels last, and as the exported program that a served model holds.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from support.drawn import ARRAY_SIZE, build, scratch
from support.timing import Case, cost, measure, parse_options, report, speedup

from maskdepth.models.network import Network
from maskdepth.serving.exporting import Exported, Pictures, Runner, export_network, run_onnx, write_onnx

_THREADS = (1, 2)
_BATCHES = (1, 16)
# Passes of one round, so that it takes some tenths of a second.
_PASSES = {1: 40, 16: 4}
_LIBRARIES = ("onnxruntime", "onnx", "onnxscript")

Pair = tuple[Pictures, Pictures]


def main() -> None:
    options = parse_options(__doc__)
    network = build("dsunet", "background+composite+difference").eval()
    exported = export_network(network)
    with scratch() as folder:
        write_onnx(exported, folder / "network.onnx")
        size = (folder / "network.onnx").stat().st_size
        cases = {}
        for threads in _THREADS:
            for name, runner in list_runners(network, exported, folder / "network.onnx", threads).items():
                for batch in _BATCHES:
                    passes = 1 if options.quick else _PASSES[batch]
                    job = partial(run, runner, draw(batch), passes, threads)
                    cases[title(name, batch, threads)] = Case(job, passes * batch)
        times = measure(cases, quick=options.quick)
    ratios = [
        speedup(times, title("torch", batch, threads), title(name, batch, threads), goal)
        for batch in _BATCHES
        for threads in _THREADS
        for name, goal in (("ONNX Runtime", ">= 1"), ("exported program", ""))
    ]
    ratios += [cost(times, title("ONNX Runtime", 16, 2), title("ONNX Runtime", 16, 1))]
    data = f"pairs of {ARRAY_SIZE} px, noise in memory; units are pairs"
    facts = {name: version(name) for name in _LIBRARIES} | {"MB of the ONNX file": f"{size / 2**20:.1f}"}
    report("export", data, options, times, ratios, facts)


def title(name: str, batch: int, threads: int) -> str:
    return f"{name}, batch of {batch}, {threads} thread{'s' if threads > 1 else ''}"


def list_runners(network: Network, exported: Exported, path: Path, threads: int) -> dict[str, Runner]:
    """Give what is compared, by name; all take and give arrays."""
    program = exported.program.module()
    return {
        "torch": partial(run_torch, network),
        "exported program": partial(run_torch, program),
        "ONNX Runtime": run_onnx(path, threads),
    }


@torch.inference_mode()
def run_torch(forward: Callable[..., tuple[torch.Tensor, ...]], *pictures: Pictures) -> list[Pictures]:
    return [maps.numpy() for maps in forward(*map(torch.from_numpy, pictures))]


def draw(batch: int) -> Pair:
    background, composite = np.random.default_rng(0).random((2, batch, 3, ARRAY_SIZE, ARRAY_SIZE), dtype=np.float32)
    return background, composite


def run(runner: Runner, pair: Pair, passes: int, threads: int) -> None:
    torch.set_num_threads(threads)
    for _ in range(passes):
        runner(*pair)


if __name__ == "__main__":
    main()
