"""Process-wide facts and switches, decided once by a stage: device, threads, seed, precision, signals, state folder.

Facts of the machine come from the environment and not from params.yaml: a new machine must not re-run the pipeline.
"""

import ctypes
import os
import random
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "MASKDEPTH_DEVICE"
THREADS_VARIABLE = "MASKDEPTH_THREADS"

# What is asked of glibc's `mallopt`, by its numbers (malloc.h), and the most bytes that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_BYTES = -1, -3, 2**31 - 1

_STATE_FOLDER = Path(".dvc/tmp/maskdepth")
# What a folder of another's, a file in the way, or a place like /proc raises.
_UNWRITABLE = (PermissionError, FileExistsError, FileNotFoundError, NotADirectoryError)


def choose_device() -> "torch.device":
    """Choose where to compute: what MASKDEPTH_DEVICE says, else the first CUDA device, else the CPU.

    Raises:
        ValueError: MASKDEPTH_DEVICE names no device, or one that this machine lacks.
    """
    import torch

    name = os.environ.get(DEVICE_VARIABLE, "")
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"{DEVICE_VARIABLE}={name}: expected cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"{DEVICE_VARIABLE}={name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{DEVICE_VARIABLE}={name}: expected cpu, cuda or cuda:<number>")
    return device


def set_threads() -> int:
    """Use as many threads as MASKDEPTH_THREADS says, else torch's own choice; return how many.

    Another number of threads adds in another order and gives other last bits, hence the variable.

    Raises:
        ValueError: MASKDEPTH_THREADS is not a positive whole number.
    """
    import torch

    text = os.environ.get(THREADS_VARIABLE, "")
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"{THREADS_VARIABLE}={text}: expected a whole number of threads, 1 or more")
        torch.set_num_threads(int(text))
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Let the memory of tensors that are gone serve the next ones; results do not depend on it.

    glibc gives large pieces back to the system and has every new page of the next batch zeroed again: with batches of
    a few MB this decides, from process to process, whether normalising them takes four times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:  # other C libraries have none
        mallopt(_MMAP_THRESHOLD, _MOST_BYTES)
        mallopt(_TRIM_THRESHOLD, _MOST_BYTES)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_deterministic(device: "torch.device") -> None:
    """Make repeated runs equal bit for bit on the CPU; on CUDA take the fastest kernels, which differ in last bits."""
    import torch
    from torch.utils import deterministic

    on_cpu = device.type == "cpu"
    torch.use_deterministic_algorithms(on_cpu)
    # Filling fresh memory guards against reading it too early; the networks here never do, and it costs time.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not on_cpu:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def has_bf16(device: "torch.device") -> bool:
    """Tell whether the device computes in bfloat16 itself; a CPU that imitates it is slower than in float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


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


def require_writable(folders: Iterable[Path]) -> None:
    """Make folders and write a file without a name into each: better now than after hours of work.

    Raises:
        ValueError: One cannot be made, or may not be written to; names it.
        OSError: There is no room in one; names it.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except _UNWRITABLE as error:
            raise ValueError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
        except OSError as error:
            error.filename = str(folder)
            raise


def repository_root() -> Path:
    """Find the folder that holds `.dvc`, of the main repository also from within a temporary DVC workspace.

    Raises:
        FileNotFoundError: No folder from here upwards is a DVC repository.
    """
    announced = os.environ.get("DVC_ROOT", "")
    if announced and (Path(announced) / ".dvc").is_dir():
        return Path(announced).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        # DVC's temporary workspaces lie below the main repository's .dvc and are deleted when their run ends.
        if (folder / ".dvc").is_dir() and ".dvc" not in folder.parts:
            return folder
    raise FileNotFoundError(f"no .dvc folder in {here} or above; run from the repository, or make one with `dvc init`")


def state_dir() -> Path:
    """Give the folder for working state that is no output (checkpoints, waiting records); git and DVC ignore it."""
    return repository_root() / _STATE_FOLDER
