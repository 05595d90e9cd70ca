"""Where and how to compute, decided once by a stage: device, threads, seed, determinism, load.

Facts of the machine come from the environment and not from params.yaml: a new machine must not re-run the pipeline.
"""

import os
import random
import re
import warnings
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

# How the libraries put it; on a CPU torch raises a plain RuntimeError, and cuDNN and cuBLAS have words of their own.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")

# And what a kernel, or the device itself, ends with.
_DEVICE_FAILED = re.compile(r"(?:CUDA|CUDA driver|cuDNN) error: (.+)")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, whatever its class.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def name_device_failure(error: BaseException) -> str:
    """Say what a CUDA device failed with, "" for any other error; this process cannot use the device any more.

    >>> name_device_failure(RuntimeError("CUDA error: an illegal memory access was encountered\\nAdvice."))
    'an illegal memory access was encountered'
    """
    found = _DEVICE_FAILED.match(str(error))
    return found[1] if found and isinstance(error, RuntimeError) and not is_out_of_memory(error) else ""


DEVICE_VARIABLE = "MASKDEPTH_DEVICE"
THREADS_VARIABLE = "MASKDEPTH_THREADS"
RESIDENT_VARIABLE = "MASKDEPTH_RESIDENT"

_MEGABYTE = 1e6


def choose_device() -> "torch.device":
    """Choose where to compute: what MASKDEPTH_DEVICE says, else the first CUDA device, else the CPU.

    Several processes that a launcher started on one machine take a CUDA device each: that of their LOCAL_RANK.

    Raises:
        ValueError: MASKDEPTH_DEVICE names no device, or one that this machine lacks.
    """
    import torch

    name = os.environ.get(DEVICE_VARIABLE, "") or ("cuda" if _find_cuda()[0] else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"{DEVICE_VARIABLE}={name}: expected cpu, cuda or cuda:<number>") from None
    count, reason = _find_cuda() if device.type == "cuda" else (0, "")
    if device.type == "cuda" and (device.index or 0) >= count:
        because = f" ({reason})" if reason else ""
        raise ValueError(f"{DEVICE_VARIABLE}={name}: this machine has {count} CUDA devices{because}; use cpu")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{DEVICE_VARIABLE}={name}: expected cpu, cuda or cuda:<number>")
    return device


def list_devices() -> list["torch.device"]:
    """List where processes of their own may compute: the device that MASKDEPTH_DEVICE names, else every CUDA device.

    Raises:
        ValueError: As of `choose_device`.
    """
    import torch

    chosen = choose_device()
    if os.environ.get(DEVICE_VARIABLE) or chosen.type != "cuda":
        return [chosen]
    return [torch.device("cuda", number) for number in range(_find_cuda()[0])]


def why_no_cuda() -> str:
    """Say why torch cannot use a CUDA device that is here, as with an old driver; "" where nobody would miss it."""
    return "" if os.environ.get(DEVICE_VARIABLE) else _find_cuda()[1]


def _find_cuda() -> tuple[int, str]:
    """Count the CUDA devices that can be used; where there is none, say what torch says about it, if anything."""
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # What follows the first sentence is advice and places in torch's source.
    reasons = [str(each.message).removeprefix("CUDA initialization: ").partition(". ")[0] for each in told]
    return count, "" if count else " ".join(reasons)


def share_for_pictures() -> float:
    """Give the share of a CUDA device's free memory that pictures may take, [0, 1]: the network needs the rest.

    Raises:
        ValueError: MASKDEPTH_RESIDENT is no such number.
    """
    text = os.environ.get(RESIDENT_VARIABLE, "") or "0.5"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(
            f"{RESIDENT_VARIABLE}={text}: expected the share of a CUDA device's free memory that pictures may take, "
            "from 0 to 1"
        )
    return share


def read_count(variable: str, unit: str) -> int | None:
    """Read a whole number, 1 or more.

    Args:
        variable: Its name.
        unit: What is counted, for the error.

    Returns:
        The number; None where the variable is not set, or is empty.

    Raises:
        ValueError: It is no such number.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{variable}={text}: expected a whole number of {unit}, 1 or more")
    return int(text)


def set_threads() -> int:
    """Use as many threads as MASKDEPTH_THREADS says, else torch's own choice; return how many.

    Another number of threads adds in another order and gives other last bits, hence the variable.

    Raises:
        ValueError: MASKDEPTH_THREADS is not a positive whole number.
    """
    import torch

    if threads := read_count(THREADS_VARIABLE, "threads"):
        torch.set_num_threads(threads)
    return torch.get_num_threads()


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


def is_recording() -> bool:
    """Tell whether work that is started now is only recorded, to be replayed later."""
    import torch

    is_used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return is_used and torch.cuda.is_current_stream_capturing()


def has_bf16(device: "torch.device") -> bool:
    """Tell whether the device computes in bfloat16 itself; a CPU that imitates it is slower than in float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class Load:
    """How busy the machine is between two looks, under the names by which MLflow shows it beside a run's curves."""

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        psutil.cpu_percent()  # the first look has nothing to compare with

    def measure(self) -> dict[str, float]:
        """Give the share of all cores that was in use since the last look [%], and memory in use now [MB]."""
        import torch

        memory = psutil.virtual_memory()
        found = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/process_memory_usage_megabytes": psutil.Process().memory_info().rss / _MEGABYTE,
        }
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            found["system/gpu_0_memory_usage_megabytes"] = (total - free) / _MEGABYTE
        return found
