"""Clusters on this machine: Dask's scheduler with two workers, and Ray's two nodes on addresses of their own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from faults.doors import free_port
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
# Ray takes one machine for several only where this says so; the rest keeps it from asking and from telling others.
FOR_RAY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_MEMORY_MONITOR": "1"}
ENVIRONMENT = os.environ | FOR_RAY | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path[1:]])}
HEAD, SECOND = "127.0.0.2", "127.0.0.3"

Process = subprocess.Popen[bytes]


def is_open(host: str, port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((host, port)) == 0


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, Process]]:
    """Start a scheduler and two workers of one thread; give its address and one of the workers."""
    port = free_port()
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(_started("distributed.cli.dask_scheduler", *here, "--port", str(port)))
        wait_until(lambda: is_open("127.0.0.1", port))
        for number in range(2):
            options = [*here, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder / f"worker{number}")]
            worker = stack.enter_context(_started("distributed.cli.dask_worker", f"127.0.0.1:{port}", *options))
        yield f"dask:tcp://127.0.0.1:{port}", worker


@contextmanager
def ray_cluster() -> Iterator[tuple[str, Process]]:
    """Start a head and a second node of one processor; give its address and the second node."""
    port = free_port(HEAD)
    with tempfile.TemporaryDirectory(prefix="ray") as folder, ExitStack() as stack:  # its sockets want a short path
        same = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=80000000", "--block"]
        head = [f"--port={port}", f"--node-ip-address={HEAD}", "--include-dashboard=false", f"--temp-dir={folder}"]
        workers = ["--min-worker-port=20100", "--max-worker-port=20199"]
        stack.enter_context(_started("ray.scripts.scripts", "start", "--head", *head, *same, *workers))
        wait_until(lambda: is_open(HEAD, port))
        workers = ["--min-worker-port=20200", "--max-worker-port=20299"]
        second = [f"--address={HEAD}:{port}", f"--node-ip-address={SECOND}", *same, *workers]
        yield f"ray:{HEAD}:{port}", stack.enter_context(_started("ray.scripts.scripts", "start", *second))


@contextmanager
def _started(module: str, *options: str) -> Iterator[Process]:
    """Run a program in a group of its own, of which nothing is left behind."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd="/",
            env=ENVIRONMENT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: Process) -> None:
    """Kill a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
