"""Where and how to compute, decided once by a stage: device, threads, seed, determinism, memory.

Facts of the machine come from the environment and not from params.yaml: a new machine must not re-run the pipeline.
"""

import ctypes
import os
import random
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch


# How the libraries put it; on a CPU torch raises a plain RuntimeError, and cuDNN and cuBLAS have words of their own.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, whatever its class.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


DEVICE_VARIABLE = "MASKDEPTH_DEVICE"
THREADS_VARIABLE = "MASKDEPTH_THREADS"

_MEGABYTE = 1e6

# What is asked of glibc's `mallopt`, by its numbers (malloc.h), and the most bytes that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_BYTES = -1, -3, 2**31 - 1


def choose_device() -> "torch.device":
    """Choose where to compute: what MASKDEPTH_DEVICE says, else the first CUDA device, else the CPU.

    Several processes that a launcher started on one machine take a CUDA device each: that of their LOCAL_RANK.

    Raises:
        ValueError: MASKDEPTH_DEVICE names no device, or one that this machine lacks.
    """
    import torch

    name = os.environ.get(DEVICE_VARIABLE, "") or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
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
