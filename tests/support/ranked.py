"""Trainings of several ranks, each a process of its own, on a handful of drawn samples."""

import os
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from copy import deepcopy
from multiprocessing import get_context

import numpy as np
import torch
import torch.distributed as dist
from support.tiny import CPU, LOSS, SPEC, Tiny, change, make_arrays, make_batches
from support.waiting import wait_until

from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec
from maskdepth.training.fit import Step, TrainState, fit
from maskdepth.training.ranks import Ranks, join_ranks

# [s] a rank waits for another: for as long as a crowded machine may need, where no test is about it.
PATIENCE = 240.0


@contextmanager
def open_ranks(most):
    """Give what calls a function in several ranks; the processes stay for the next call."""
    with ProcessPoolExecutor(most, get_context("spawn")) as pool:

        def call(size, function, *arguments, patience=PATIENCE):
            """Call `function(ranks, *arguments)` in so many ranks; give what each of them returns or raises."""
            store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            futures = [
                pool.submit(_call, rank, size, store.port, patience, function, arguments) for rank in range(size)
            ]
            wait(futures)
            return [future.exception() or future.result() for future in futures]

        yield call


def _call(rank, size, port, patience, function, arguments):
    torch.set_num_threads(1)
    # As torch's launcher does, which holds the place where the ranks meet.
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    try:
        return function(join_ranks(rank, size, "0", CPU, patience), *arguments)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def train(ranks, settings, samples, steps=None, state=None, asked=None, name="tiny"):
    """Train from a state, or from the start, to the end or over so many steps; give the state that is reached.

    Args:
        ranks: Who trains.
        settings: What differs from the tests' own.
        samples: How many there are.
        steps: After how many to leave.
        state: To go on from.
        asked: A rank, and after which of its steps it is asked to stop.
        name: Of the network.
    """
    settings = change(batch_size=16, schedule="one_cycle", **settings)
    arrays = make_arrays()
    batches, val = (make_batches(arrays, 16, np.arange(count) % 8) for count in (samples, 40))
    torch.manual_seed(0)
    spec = NetworkSpec(name, SPEC.inputs, SPEC.normalisation, 32)
    network = Network(Tiny(), spec) if name == "tiny" else build_network(spec)
    training = TrainState(network, settings, len(batches))
    training.ranks = ranks
    if state is not None:
        training.load_state_dict(deepcopy(state))  # that of another process lies in memory that is shared with it
    done = 0
    if asked and asked[0] == ranks.rank:
        ranks.asked = lambda: 15 if done >= asked[1] else 0
    for event in fit(training, batches, val, build_criterion(LOSS), settings):
        done += isinstance(event, Step)
        if ranks.stop or done == steps:
            break
    return training.state_dict()


def alone(*arguments, **more):
    """Train in this very process."""
    return train(Ranks(), *arguments, **more)


def give_state(ranks):
    """Tell the others what the first has."""
    return ranks.of_first({"epoch": 7, "weights": {"a": torch.arange(3)}} if ranks.rank == 0 else {})


def compare(ranks, *trainings):
    """Compare with the others what each is about to train."""
    ranks.require_same(trainings[ranks.rank])


def die(ranks, folder, how):
    """Be two ranks of which the second does not come to where the first waits for it; give what that one is told."""
    if ranks.rank == 0:
        try:
            ranks.of_first({"epoch": 0})
            ranks.leave()
        except ChildProcessError as error:
            (folder / "told").touch()
            return str(error)
    elif how == "ends":
        dist.destroy_process_group()
    else:
        wait_until((folder / "told").exists)
    return ""
