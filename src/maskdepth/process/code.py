"""The code that a stage's results depend on: what dvc.yaml declares, and no list of our own beside it."""

import hashlib
from pathlib import Path

from ruamel.yaml import YAML

_PIPELINE_FILE = "dvc.yaml"
# Below these lies code; what else a stage depends on is data.
_CODE_FOLDERS = ("src", "stages")


def list_code(root: Path, stage: str) -> list[Path]:
    """List the files of code and of constants that a stage declares among its `deps`.

    Args:
        root: The folder of dvc.yaml, `src` and `stages` of the code that runs; it need not be the current one.
        stage: Name of the stage.

    Returns:
        Paths below `root`, in order; folders are given file by file, without what Python compiles beside them.

    Raises:
        FileNotFoundError: There is no dvc.yaml, or it declares what is not there.
    """
    pipeline = root / _PIPELINE_FILE
    if not pipeline.is_file():
        raise FileNotFoundError(f"{pipeline} is missing; the stages run from a clone of the repository")
    deps = YAML(typ="safe", pure=True).load(pipeline.read_text(encoding="utf-8"))["stages"][stage]["deps"]
    code = [root / dep for dep in deps if Path(dep).parts[0] in _CODE_FOLDERS]
    for path in code:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing, which {pipeline} names as a dependency of {stage}")
    files = {file for path in code for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}
    return sorted(file for file in files if "__pycache__" not in file.parts)


def digest_code(root: Path, stage: str) -> str:
    """Give the SHA-256 of the code that `list_code` lists, by path below `root` and content."""
    digest = hashlib.sha256()
    for file in list_code(root, stage):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
