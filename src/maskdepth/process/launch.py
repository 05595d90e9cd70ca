"""Several processes of one stage, the ranks: whether this is one of them, and how they are started here.

How many is a fact of the machine, as the device is. A launcher tells each rank its number by the variables that torch
has named: RANK, LOCAL_RANK, WORLD_SIZE.
"""

import logging
import os
import sys
import threading
import time

from maskdepth.device import read_count
from maskdepth.process.workers import usable_cores

RANKS_VARIABLE = "MASKDEPTH_RANKS"
PATIENCE_VARIABLE = "MASKDEPTH_RANKS_PATIENCE"

# Tells a rank which process of ours has started it.
_STARTER_VARIABLE = "MASKDEPTH_RANKS_STARTER"
# [s] a rank waits for another, which may be about to save a state, or be reading from a slow disk.
_PATIENCE = 300.0
_LOOK_SECONDS = 0.2


def find_rank() -> tuple[int, int]:
    """Give the number of this process among the ranks, and how many there are: (0, 1) where nobody launched any."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def find_attempt() -> str:
    """Say how many times the ranks were started again before."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def is_started_by_us() -> bool:
    """Tell whether this rank was started by `launch`, whose process holds what one process may hold at a time."""
    return "RANK" in os.environ and _STARTER_VARIABLE in os.environ


def wanted_ranks() -> int:
    """Say how many ranks are to be started here; 1 in a process that is one itself.

    Raises:
        ValueError: MASKDEPTH_RANKS is not a positive whole number.
    """
    return 1 if "RANK" in os.environ else read_count(RANKS_VARIABLE, "processes") or 1


def patience() -> float:
    """Say how long a rank waits for another [s]: MASKDEPTH_RANKS_PATIENCE, else five minutes.

    Raises:
        ValueError: MASKDEPTH_RANKS_PATIENCE is not a positive whole number.
    """
    return read_count(PATIENCE_VARIABLE, "seconds") or _PATIENCE


def launch(count: int, module: str) -> None:
    """Do the rest of this program in so many ranks, with its options, under the launcher of torch.

    Its own variables hold here as well: PET_MAX_RESTARTS=2 lets all start again, twice, when one of them has died.

    Args:
        count: How many.
        module: What each of them runs, as `python -m` takes it.

    Raises:
        ChildProcessError: One of them was killed, or crashed.
        SystemExit: They ended by a signal or an error, of which they have told; with the code that says which.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    # What it would log of a rank that ends, that rank has said in a sentence, or is said below.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ[_STARTER_VARIABLE] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    # By its number: what the machine calls itself may lead nowhere.
    place = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    config, program, options = config_from_args(
        parse_args(  # type: ignore[no-untyped-call]
            [*place, f"--nproc-per-node={count}", "--module", module, *sys.argv[1:]]
        )
    )
    try:
        elastic_launch(config, program)(*options)
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        _end_as(rank, failure.exitcode)


def _end_as(rank: int, code: int) -> None:
    """End as the rank did that was the first to end; negative codes are signals."""
    import signal

    if code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        sys.exit(128 - code)
    if code > 1:
        sys.exit(code)
    told, again = f"rank {rank} crashed", "run again to go on from the last saved state"
    if code < 0:
        told = f"rank {rank} was killed by signal {-code}"
    if code == -signal.SIGKILL:  # what a system does whose memory is used up
        told += ", perhaps for lack of memory"
        again += f"; fewer processes ({RANKS_VARIABLE}) take less memory, and give the same result"
    raise ChildProcessError(f"{told}, which ended the others; {again}")


def end_with_starter() -> None:
    """Let this process end when the one that started it does, however that ends; it alone hears of signals."""
    if is_started_by_us():
        threading.Thread(target=_watch, args=(int(os.environ[_STARTER_VARIABLE]),), daemon=True).start()


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
