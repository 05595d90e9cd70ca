"""Waiting for what another process does, with the patience that a crowded machine needs."""

import time


def wait_until(look, seconds=300):
    """Look again and again until something is there, and give it; fail when it does not come in time [s]."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)
    return found
