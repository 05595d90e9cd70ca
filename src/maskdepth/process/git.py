"""What git says of a repository, where there is one."""

import subprocess
from pathlib import Path

_GIT_SECONDS = 30.0


def ask_git(*arguments: str, folder: Path | None = None) -> str:
    """Ask git, in `folder` or here; "" where there is no repository, no commit, no git, or no answer in time."""
    command = ["git", *arguments]
    try:
        asked = subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False,
            timeout=_GIT_SECONDS,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
