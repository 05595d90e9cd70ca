"""A training step by two processes of one thread, beside one process of two threads and of one.

All three do the same work: dsunet as shipped, batches of 16 in parts of 8, which the processes share. A second series
is done while other processes keep the cores busy, as another training does: threads that share a step wait for each
other at each of its operations, processes once a step.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from support.drawn import build, list_rows, make_arrays
from support.shipped import SHIPPED_PARAMS
from support.timing import Case, Ratio, Times, measure, parse_options, report, speedup
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from maskdepth.data.batches.batches import Batches
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import load_params
from maskdepth.process.memory import keep_freed_memory
from maskdepth.training.fit import Step, TrainState, fit
from maskdepth.training.preparation import fit_precision
from maskdepth.training.ranks import join_ranks

_CPU = torch.device("cpu")
_SAMPLES, _SIZE = 320, 64
_STEPS = 4
_BURNERS = 4  # processes that keep the cores busy
_PATIENCE = 600.0
_ONE, _THREADS, _RANKS = "one process, one thread", "one process, two threads", "two processes, one thread each"


def main() -> None:
    options = parse_options(__doc__)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the stages do
    steps = 1 if options.quick else _STEPS
    with ExitStack() as stack:
        ways = {_ONE: (1, 1), _THREADS: (1, 2), _RANKS: (2, 1)}
        step = {name: stack.enter_context(open_training(*way, options.quick)) for name, way in ways.items()}
        cases = {name: Case(partial(do, steps), steps) for name, do in step.items()}
        times = measure(cases, quick=options.quick)
        with burning(1 if options.quick else _BURNERS):
            busy = measure(cases, quick=options.quick)
    times |= {f"busy: {name}": seconds for name, seconds in busy.items()}
    ratios = [*compare(times, ""), *compare(times, "busy: ")]
    data = f"batches of 16 in parts of 8, {_SIZE} px, dsunet; busy: beside {_BURNERS} processes; units are steps"
    report("ranks", data, options, times, ratios, {"OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"]})


def compare(times: Times, how: str) -> list[Ratio]:
    return [speedup(times, how + slow, how + _RANKS) for slow in (_THREADS, _ONE)]


@contextmanager
def open_training(size: int, threads: int, quick: bool) -> Iterator[Callable[[int], None]]:
    """Start a training that waits; give what makes it do so many steps."""
    context = get_context("spawn")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipes = [context.Pipe() for _ in range(size)]
    processes = [
        context.Process(target=serve, args=(pipe, rank, size, threads, store.port, quick), daemon=True)
        for rank, (_, pipe) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ours = [pipe for pipe, _ in pipes]
    for pipe in ours:
        pipe.recv()

    def do(steps: int) -> None:
        for pipe in ours:
            pipe.send(steps)
        for pipe in ours:
            pipe.recv()

    yield do
    for process in processes:
        process.terminate()
        process.join()


def serve(pipe: "Connection[Any, Any]", rank: int, size: int, threads: int, port: int, quick: bool) -> None:
    """Do as many steps as one is told, again and again."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    params = load_params(SHIPPED_PARAMS)
    few = {"micro_batch": 8, "epochs": 1_000_000, "schedule": "constant", "learning_rate": 1e-4}
    settings = fit_precision(params.train.model_copy(update=few), _CPU)
    arrays = make_arrays(_SAMPLES, _SAMPLES, 32 if quick else _SIZE)
    train = Batches(arrays, list_rows(arrays), settings.batch_size, _CPU)
    val = Batches(arrays, list_rows(arrays).head(2), settings.batch_size, _CPU)
    torch.manual_seed(0)
    state = TrainState(build("dsunet", "background+composite+difference"), settings, len(train))
    state.ranks = join_ranks(rank, size, "0", _CPU, _PATIENCE)
    events = fit(state, train, val, build_criterion(params.loss), settings)
    updates = (event for event in events if isinstance(event, Step))
    pipe.send(None)
    while True:
        for _ in range(pipe.recv()):
            next(updates)
        pipe.send(None)


@contextmanager
def burning(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    processes = [get_context("spawn").Process(target=_burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.kill()
        process.join()


def _burn() -> None:
    while True:
        sum(range(1_000_000))


if __name__ == "__main__":
    main()
