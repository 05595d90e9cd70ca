"""Proves that a signal is noted, and a second one heeded at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskdepth.process.signals import StopSignals

SOURCE = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_noted_and_nothing_else_happens(number, code):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop.received
        signal.raise_signal(number)
        assert (stop.received, stop.exit_code) == (number, code)
    assert signal.getsignal(number) is before


def run_with_signals(*names):
    code = "import signal\nfrom maskdepth.process.signals import StopSignals\nwith StopSignals():\n"
    code += "".join(f"    signal.raise_signal(signal.{name})\n" for name in names) + "print('alive')"
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


def test_a_second_signal_ends_the_process_at_once():
    assert run_with_signals("SIGTERM").stdout == "alive\n"
    done = run_with_signals("SIGTERM", "SIGINT")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
