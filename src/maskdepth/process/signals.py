"""Signals that ask a stage to stop: noted, and heeded when its work is saved."""

import signal
from types import FrameType, TracebackType


class StopSignals:
    """Within this context SIGTERM, SIGINT and SIGHUP only leave a note; a second signal ends the process at once.

    A loop looks at `received` after each step, saves, and exits with `exit_code`. SIGINT is heard even where it is
    ignored on entry, as in a shell's background jobs; an ignored SIGHUP stays ignored, which is what `nohup` is for.

    Attributes:
        received: Number of the signal that came, 0 while none did.
    """

    def __init__(self) -> None:
        self.received = 0
        self._signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells count: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.received

    def __enter__(self) -> "StopSignals":
        under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = [number for number in self._signals if not (under_nohup and number == signal.SIGHUP)]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
