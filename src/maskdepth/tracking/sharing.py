"""What DVC remembers of runs, given to others: which runs there were, and what each of them made.

`dvc push --run-cache` gives all names of runs and only those outputs that the workspace holds; `dvc exp push` asks the
commit of each experiment for the remote, and where that does not know it, gives nothing and says nothing. In both cases
whoever wants the same result trains again.
"""

import logging
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import NamedTuple

from maskdepth.tracking.address import redact

# Below these DVC tells, file by file, why it could not be given.
_TELLERS = ("dvc", "dvc_data", "dvc_objects")


class Shared(NamedTuple):
    """What was given.

    Attributes:
        runs: Runs of stages that the remote now knows of.
        files: How many it did not have.
        remote: Its name.
    """

    runs: int
    files: int
    remote: str


def share_runs(root: Path) -> Shared:
    """Push what the workspace holds, every run that DVC remembers here, and all that these made.

    Args:
        root: The repository.

    Raises:
        ValueError: There is no remote, or it does not take everything; says why. What was pushed stays there, and
            everything stays here.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    # DVC reads the paths that a run made from the folder in which it is asked.
    with chdir(root), Repo() as repo, _listening() as told:
        try:
            remote = repo.cloud.get_remote(command="push").name
            files = repo.push()
            runs = [path.parts[-2:] for path in Path(repo.stage_cache.cache_dir).glob("??/*/*")]
            for made in repo.stage_cache.get_used_objs(runs).values():
                pushed = repo.cloud.push(made)
                files += len(pushed.transferred)
                if pushed.failed:
                    raise ValueError(f"{len(pushed.failed)} files failed to upload")
            # The names at the end: a run that is known and of which nothing is there hides others that are whole.
            repo.stage_cache.push(None)
        except (DvcException, OSError, ValueError) as error:
            said = " ".join(redact(" - ".join([str(error), *told[:1]])).split())
            raise ValueError(f"not everything is shared: {said}; mend that, and the same command goes on") from error
    return Shared(len(runs), files, remote)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what DVC would print of errors, a line for each file."""
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reason = record.exc_info[1] if record.exc_info else record.getMessage()
            told.append(str(reason))

    loggers = [logging.getLogger(name) for name in _TELLERS]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [Listener(logging.ERROR)]
    try:
        yield told
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers
