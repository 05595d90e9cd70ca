"""The settings as they are shipped: what is measured must not depend on those that the workspace has at the moment."""

import shutil
from pathlib import Path

SHIPPED_PARAMS = Path(__file__).resolve().parents[2] / "src" / "maskdepth" / "shipped_params.yaml"


def write_shipped(folder: Path) -> None:
    """Put the shipped params.yaml into a folder, and a places.csv that names no place."""
    shutil.copy(SHIPPED_PARAMS, folder / "params.yaml")
    (folder / "places.csv").write_text("background,place\n")
