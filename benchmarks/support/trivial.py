"""A git and DVC repository with one stage that takes no time, whose parameter `a` says how it is to behave."""

import subprocess
import sys
from pathlib import Path

_PIPELINE = """
stages:
  s:
    cmd: python stage.py
    params: [a]
    deps: [stage.py]
    metrics:
      - m.json: {cache: false}
"""


def make_repository(folder: Path, stage: str, ignored: str) -> None:
    """Make the repository, and commit it.

    Args:
        folder: Where; it is there, and empty.
        stage: Text of the stage, which reads `a` from params.yaml and writes m.json.
        ignored: Text of .gitignore.
    """
    files = {"dvc.yaml": _PIPELINE, "stage.py": stage, "params.yaml": "a: 1\n", ".gitignore": ignored}
    for name, text in files.items():
        (folder / name).write_text(text)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.email", "a@b"],
        ["git", "config", "user.name", "a"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
