"""One thin script per DVC stage, run as `python -m stages.<name>`; what each reads and writes is in dvc.yaml.

DVC runs `--temp` and queued experiments in a copy of the repository. An editable install would still import the code
of the main workspace there, so the stages put the `src` beside themselves first.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

# The folder of dvc.yaml, `src` and `stages`: of the code that runs.
ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "src"))


def _stop_loading(number: int, frame: FrameType | None) -> None:
    print("stopped before it began", file=sys.stderr, flush=True)
    os._exit(128 + number)


# `python -m` is still looking for the stage here; in any other program that imports one, nothing of it is ours.
if sys.argv[0] == "-m":
    # Threads that wait for the next piece of work sleep: spinning takes the cores from whatever else runs, and from the
    # other threads of this very training. Read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Loading the libraries takes seconds, in which Ctrl-C would end in a traceback of theirs. `python -m` is still looking
# for the stage here; in any other program that imports one, Ctrl-C is not ours.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop_loading)
