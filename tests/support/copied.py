"""A copy of the code that tests may change."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_code(folder: Path) -> Path:
    """Copy dvc.yaml, `src` and `stages` into a folder, without what tools leave behind; return the folder."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder
