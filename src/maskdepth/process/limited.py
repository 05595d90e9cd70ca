"""Work that may never end, done by a process of its own, which is ended when its time is over."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from maskdepth.process.secrets import hiding_secrets
from maskdepth.process.workers import prepare_worker

Item = TypeVar("Item")

# [s] without an item after which the one who waits is told so.
_BEAT_SECONDS = 10.0


def items_within(seconds: float, function: Callable[..., Iterable[Item]], *arguments: Any) -> Iterator[Item | None]:
    """Yield the items of `function(*arguments)` as they come from another process.

    A limit within a process holds only as long as every library in it keeps to it; the end of a process always does.

    Args:
        seconds: When the process is ended [s].
        function: What to call, by its module and name.
        arguments: What to call it with.

    Yields:
        Each item, and None after every ten seconds in which none came.

    Raises:
        TimeoutError: The time is over.
        ChildProcessError: The process died.
        OSError, ValueError: As the function raised them.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_items, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            if not ours.poll(min(left, _BEAT_SECONDS)):
                yield None
                continue
            items, error = ours.recv()
            if error:
                raise error
            if not items:
                return
            yield from items
        raise TimeoutError(f"no end after {seconds:.0f} s")
    except EOFError:
        raise ChildProcessError("the process that should do it has died") from None
    finally:
        process.kill()
        process.join()
        ours.close()


def _send_items(
    there: "Connection[tuple[list[Any], Exception | None], Any]",
    function: Callable[..., Iterable[Any]],
    arguments: tuple[Any, ...],
) -> None:
    """Send each item in a list of its own, an empty list at the end."""
    prepare_worker()
    with hiding_secrets():
        try:
            for item in function(*arguments):
                there.send(([item], None))
            there.send(([], None))
        except (OSError, ValueError) as error:
            there.send(([], error))
