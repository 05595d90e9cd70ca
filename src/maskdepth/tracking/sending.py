"""A tracking store is spoken to from a process of its own, which is ended when its time is over.

The limits that a library sets are per read: a server that gives a byte now and then outlives them all.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from maskdepth.process.console import mention
from maskdepth.process.limited import items_within
from maskdepth.tracking.mirror import Sent, mirror_rows, row_waits
from maskdepth.tracking.outbox import waiting_rows

# [s] for that process to load its libraries, and to end by itself.
_GRACE_SECONDS = 10.0


def send_outbox(budget: float, own: Collection[str]) -> dict[str, Sent]:
    """Send waiting rows, saying now and then how far it is.

    Args:
        budget: When to give up [s].
        own: As for `mirror_rows`.

    Returns:
        What became of each row, by the name of its folder.
    """
    folders = waiting_rows(own)
    sent: dict[str, Sent] = {}
    reason = ""
    began = time.monotonic()
    try:
        for row in items_within(budget + _GRACE_SECONDS, mirror_rows, budget, own):
            if row is None:
                mention(f"report: sending, {len(sent)} rows done after {time.monotonic() - began:.0f} s")
            else:
                sent[row[0]] = row[1]
    except (TimeoutError, ChildProcessError) as error:
        reason = f"the tracking store did not answer in time ({error})"
    return {folder.name: row_waits(folder, reason) for folder in folders} | sent


def ask_store(seconds: float, question: Callable[..., Iterable[str]], *arguments: Any) -> Iterator[str]:
    """Give the lines of a question about the store as they come; the last says so where there was no answer in time.

    Args:
        seconds: When to give up [s].
        question: As `maskdepth.tracking.repair.sync`.
        arguments: What to call it with.
    """
    began = time.monotonic()
    try:
        for line in items_within(seconds + _GRACE_SECONDS, question, *arguments):
            if line is None:
                mention(f"waiting for the tracking store, {time.monotonic() - began:.0f} s")
            else:
                yield line
    except (TimeoutError, ChildProcessError) as error:
        yield f"the tracking store did not answer in time ({error}); what is left is sent by `maskdepth sync`"
