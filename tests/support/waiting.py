"""Waiting for what another process does, with the patience that a crowded machine needs."""

import os
import time


def wait_until(look, seconds=300):
    """Look again and again until something is there, and give it; fail when it does not come in time [s]."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)
    return found


def patience(seconds):
    """Give the time [s] that something may take on this machine now which takes at most so long on a quiet one."""
    return seconds * max(1, os.getloadavg()[0] / os.cpu_count())


def is_anybody_left(group: int) -> bool:
    """Say whether a process of the group still lives."""
    try:
        os.killpg(group, 0)  # sends nothing
    except ProcessLookupError:
        return False
    return True
