"""How much time goes into each part of a loop, also on a device that is only told what to do."""

import time
from itertools import pairwise
from typing import Any

import torch

from maskdepth.device import is_recording


class Stopwatch:
    """Tells how much time went into each part of a loop.

    On CUDA, where this process only starts work, the device notes the times as it comes by; they are read at the end,
    so that nothing waits before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.start()

    def start(self) -> None:
        """Begin anew: what was before does not count."""
        self._laps = [("", self._now())]

    def __call__(self, part: str) -> None:
        """Count the time since the last call to a part; while a step is recorded, no time passes."""
        if is_recording():
            return
        self._laps.append((part, self._now()))

    def add_up(self) -> dict[str, float]:
        """Give the time of each part [s], when the device has done all that was begun."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = dict.fromkeys(("load", "forward", "backward", "other"), 0.0)
        for (_, began), (part, ended) in pairwise(self._laps):
            seconds[part] += ended - began if isinstance(ended, float) else began.elapsed_time(ended) / 1000
        return seconds

    def _now(self) -> Any:
        """Give the time [s], or on CUDA an event that gets it."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
