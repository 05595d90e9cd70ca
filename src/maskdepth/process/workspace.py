"""The repository around a process: its root, its working state, folders that can be written."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

_STATE_FOLDER = Path(".dvc/tmp/maskdepth")
# What a folder of another's, a file in the way, or a place like /proc raises.
_UNWRITABLE = (PermissionError, FileExistsError, FileNotFoundError, NotADirectoryError)


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
