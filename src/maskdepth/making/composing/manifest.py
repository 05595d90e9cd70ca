"""What a folder of composed archives holds, written beside them: never two compositions in one folder."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maskdepth.making.composing.composition import Composition
from maskdepth.process.files import replace_text

# Readers of data sets pass over hidden folders.
STATE_FOLDER = ".compose"
MANIFEST_FILE = "manifest.json"

_LIBRARIES = ("maskdepth", "numpy", "pillow")
_MOST_DIFFERENCES = 3


def describe(composition: Composition, inputs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Say all that the bytes of the archives depend on."""
    return {
        "settings": composition.settings,
        "versions": {name: version(name) for name in _LIBRARIES},
        **inputs,
    }


def claim_folder(out: Path, content: dict[str, Any]) -> None:
    """Note what a folder is going to hold.

    Raises:
        ValueError: It holds something else.
    """
    path = out / STATE_FOLDER / MANIFEST_FILE
    shown = sorted(found.name for found in out.iterdir() if not found.name.startswith("."))
    if shown and path.is_file():
        _check_same(out, _read_manifest(path), content)
        return
    if shown:
        raise ValueError(f"{out} is not empty (it has {shown[0]}); name a new folder, or empty this one")
    # Nothing was made yet, or all of it was taken away: what was noted of it does not hold any more.
    for folder in path.parent.glob("*/"):
        shutil.rmtree(folder)
    write_manifest(out, content | {"finished": False})


def write_manifest(out: Path, content: dict[str, Any]) -> None:
    """Write what a folder holds."""
    replace_text(out / STATE_FOLDER / MANIFEST_FILE, json.dumps(content, indent=2) + "\n")


def _check_same(out: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    before, now = _flatten(there), _flatten(here)
    different = [
        f"{name} {before.get(name, 'none')} there and {now.get(name, 'none')} here"
        for name in dict.fromkeys([*now, *before])
        if before.get(name) != now.get(name)
    ]
    if different:
        shown = ", ".join(different[:_MOST_DIFFERENCES])
        more = f", and {len(different) - _MOST_DIFFERENCES} more" if len(different) > _MOST_DIFFERENCES else ""
        raise ValueError(f"{out} holds another composition: {shown}{more}; name a new folder, or remove this one")


def _flatten(content: dict[str, Any]) -> dict[str, str]:
    """Name every thing that must be the same, such as `seed` or `foreground 3`."""
    flat = {name: str(value) for part in ("settings", "versions") for name, value in content[part].items()}
    for kind in ("foregrounds", "backgrounds", "depths"):
        for entry in content.get(kind, ()):
            text = f"{entry['file']} (SHA-256 {entry['sha256'][:8]}...)"
            flat[f"{kind.removesuffix('s')} {entry['number']}"] = text
    return flat


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _flatten(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read: {error!r}; name a new folder, or remove this one") from error
    return content
