"""What the experiments of a sweep share: the cores of a machine, and its CUDA devices.

Processes on one CUDA device take turns unless NVIDIA's Multi-Process Service (MPS) lets their kernels run side by side,
which small networks leave room for. It comes with the driver and needs no rights; a sweep starts it for its own runs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle, islice

from maskdepth.device import DEVICE_VARIABLE, RESIDENT_VARIABLE, THREADS_VARIABLE, list_devices, share_for_pictures
from maskdepth.process.console import warn
from maskdepth.process.workers import usable_cores
from maskdepth.sweeping.experiments import logs_dir

_CONTROL = "nvidia-cuda-mps-control"
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
# Trainings that one CUDA device bears in turns, and side by side.
_IN_TURNS, _SIDE_BY_SIDE = 2, 8
# That a process is given a device by MPS shows only when one asks for it.
_PROBE = "import torch; torch.zeros(1, device='cuda').item()"
_PATIENCE = 60.0  # [s]


def choose_jobs() -> int:
    """Choose how many experiments run at a time: one for each core, and no more than the CUDA devices bear."""
    devices = list_devices()
    if devices[0].type != "cuda":
        return usable_cores()
    each = _SIDE_BY_SIDE if _is_shared() or shutil.which(_CONTROL) else _IN_TURNS
    return min(usable_cores(), each * len(devices))


@contextmanager
def sharing(jobs: int) -> Iterator[list[Mapping[str, str]]]:
    """Let so many experiments share this machine.

    Args:
        jobs: How many run at a time.

    Yields:
        For each of them the environment of what runs in its place: several trainings on all cores each would mostly
        wait for one another, and CUDA devices bear as many each.
    """
    devices = list_devices()
    threads = {THREADS_VARIABLE: str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
    if devices[0].type != "cuda" or jobs == 1:
        yield [threads] * jobs
        return
    together = -(-jobs // len(devices))
    memory = {RESIDENT_VARIABLE: f"{share_for_pictures() / together:.3f}"}
    with _serving(together) as service:
        here = [str(device) for device in islice(cycle(devices), jobs)]
        yield [threads | memory | service | {DEVICE_VARIABLE: device} for device in here]


def _is_shared() -> bool:
    """Tell whether who started the sweep has seen to MPS already."""
    return _PIPES in os.environ


@contextmanager
def _serving(together: int) -> Iterator[dict[str, str]]:
    """Have MPS serve the processes that get the environment, so many on a device; where it cannot, say so."""
    if together == 1 or _is_shared() or not (control := shutil.which(_CONTROL)):
        yield {}
        return
    folder = logs_dir() / "mps"
    folder.mkdir(parents=True, exist_ok=True)
    # The same folder each time: a daemon that a killed sweep left is taken over.
    service = dict.fromkeys((_PIPES, _LOGS), str(folder.resolve()))
    # The daemon would number the devices anew, and its clients once more.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | service
    try:
        started = _run([control, "-d"], environment)
        failure = _run([sys.executable, "-c", _PROBE], dict(os.environ) | service)
        if failure:
            warn(f"trainings take turns on a CUDA device, as MPS does not serve them: {started or failure}")
        yield {} if failure else service
    finally:
        _run([control], environment, "quit\n")


def _run(command: list[str], environment: Mapping[str, str], typed: str = "") -> str:
    """Run a command to its end; give the last line that says why it failed, "" where it did not."""
    # Into a file, as a daemon may hold a pipe open for as long as it lives.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            done = subprocess.run(
                command,
                env=environment,
                input=typed,
                stdout=log,
                stderr=log,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        log.seek(0)
        lines = log.read().strip().splitlines()
    return (lines or [f"exit code {done.returncode}"])[-1] if done.returncode else ""
