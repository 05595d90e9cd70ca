"""The settings as they are shipped. params.yaml and places.csv at the root belong to the user, who changes them."""

import shutil
from pathlib import Path

SHIPPED_PARAMS = Path(__file__).parents[2] / "src" / "maskdepth" / "shipped_params.yaml"


def copy_params(folder: Path) -> Path:
    """Put the shipped params.yaml into a folder; return its path."""
    return Path(shutil.copy(SHIPPED_PARAMS, folder / "params.yaml"))


def write_places(folder: Path) -> Path:
    """Put a places.csv into a folder that names no place, as it is shipped; return its path."""
    path = folder / "places.csv"
    path.write_text("background,place\n")
    return path
