"""Work done on other machines, by the cluster that MASKDEPTH_EXECUTOR names; without it there is none.

All machines see the folders of the repository under the same paths, and have its environment.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")

_VARIABLE = "MASKDEPTH_EXECUTOR"
_HERE = "processes"
_ADDRESS = re.compile(r"(?:dask:(?:tcp|tls)://|ray:)(?P<host>[\w.-]+|\[[\da-f:.]+\]):(?P<port>\d+)", re.IGNORECASE)
_CONNECT_SECONDS = 5.0
# What lets a scheduler speak that is there: Dask's does by itself, Ray's is greeted in HTTP/2 with empty settings. One
# behind TLS would have to be met as its own library does.
_GREETINGS = {"dask:tcp:": b"", "ray:": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"}


@dataclass(frozen=True)
class Cluster:
    """A cluster that work can be given to.

    Attributes:
        name: As the variable names it.
        executor: Takes the work; whatever runs on a machine that dies is done again on another one.
        lost: What is raised where it cannot do the work.
    """

    name: str
    executor: Executor
    lost: tuple[type[BaseException], ...]

    def result(self, future: "Future[Result]", item: str) -> Result:
        """Wait for work, and say which it was where the cluster has lost it.

        Raises:
            ChildProcessError: Machines died whenever they were at it, or the cluster itself is gone.
        """
        try:
            return future.result()
        except self.lost as error:
            raise ChildProcessError(
                f"{self.name} did not end its work at {item} ({type(error).__name__}): its machines died each time, "
                "perhaps for lack of memory, or the cluster is gone; run again"
            ) from error


@contextmanager
def open_cluster() -> Iterator[Cluster | None]:
    """Connect to the cluster that the environment names.

    Yields:
        The cluster; None where the environment names none.

    Raises:
        ValueError: It names something else, a library that is not installed, or a cluster that is away.
    """
    name = os.environ.get(_VARIABLE, "").strip() or _HERE
    if name == _HERE:
        yield None
        return
    address = _ADDRESS.fullmatch(name)
    if address is None:  # not repeated: it may hold a login
        raise ValueError(
            f"{_VARIABLE} takes {_HERE} (default), dask:tcp://HOST:PORT or ray:HOST:PORT, and nothing else"
        )
    try:
        place = address["host"].strip("[]"), int(address["port"])
        with socket.create_connection(place, _CONNECT_SECONDS) as asked:
            # The library waits for minutes, or for ever, for one that says nothing.
            for greeting in (_GREETINGS[kind] for kind in _GREETINGS if name.lower().startswith(kind)):
                asked.sendall(greeting)
                with suppress(ConnectionResetError):  # an answer, too
                    asked.recv(1)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"the cluster {name} is away ({error}); start it, or unset {_VARIABLE} to work here alone"
        ) from error
    library, _, where = name.partition(":")
    try:
        with {"dask": _dask, "ray": _ray}[library.lower()](name, where) as cluster:
            yield cluster
    except ModuleNotFoundError as error:
        raise ValueError(f"{_VARIABLE} is {name}, and the Python module {error.name} is not installed") from error


@contextmanager
def _dask(name: str, place: str) -> Iterator[Cluster]:
    from distributed import Client
    from distributed.scheduler import KilledWorker

    try:
        client = Client(place, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ValueError(f"what answers at {place} is no Dask scheduler of this version: {error}") from error
    with client:
        executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        yield Cluster(name, executor, (KilledWorker, CancelledError))


@contextmanager
def _ray(name: str, place: str) -> Iterator[Cluster]:
    import ray

    class RayExecutor(Executor):
        def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
            done: Future[Result] = ray.remote(function).remote(*args, **kwargs).future()
            return done

    ray.init(address=place, log_to_driver=False, logging_level="ERROR")
    try:
        yield Cluster(name, RayExecutor(), (ray.exceptions.RaySystemError, ray.exceptions.WorkerCrashedError))
    finally:
        ray.shutdown()
