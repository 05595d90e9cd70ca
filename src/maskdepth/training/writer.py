"""States written beside the training: a copy is taken between two steps, and a thread writes it during the next."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from maskdepth.training.states import save_state


@contextmanager
def writing_states(folder: Path) -> Iterator[Callable[[dict[str, Any], int], None]]:
    """Give what `save_state` does, but return before the disk has it; when the block ends, the disk has all.

    Args:
        folder: As of `save_state`.

    Yields:
        A function of a state and its progress. It waits for the state before: no more than one is on its way.

    Raises:
        OSError: A state could not be written; at the next one, or at the end. An error of the block itself goes first.
    """
    under_way: Future[None] | None = None

    def write(state: dict[str, Any], progress: int) -> None:
        nonlocal under_way
        if under_way:
            under_way.result()
        under_way = thread.submit(save_state, folder, _copy(state), progress)

    with ThreadPoolExecutor(max_workers=1) as thread:
        yield write
        if under_way:
            under_way.result()


def _copy(values: Any) -> Any:
    """Copy nested values to the host: training goes on to change the tensors in their places."""
    if isinstance(values, Tensor):
        return values.detach().to("cpu", copy=True)
    if isinstance(values, dict):
        return {name: _copy(value) for name, value in values.items()}
    return [_copy(value) for value in values] if isinstance(values, list) else values
