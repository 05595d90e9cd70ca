"""A real browser that opens one page and is closed: what it shows as text, or as a picture."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_SECONDS = 180


def require_browser():
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium: apt-get install chromium")


def read_page(url: str, width: int, height: int, milliseconds: int = 30_000) -> str:
    """Give the page as it stands when so much of its time [ms] has passed; what is out of sight may not be drawn."""
    return _open(url, milliseconds, f"--window-size={width},{height}", "--dump-dom").stdout


def draw_page(url: str, path: Path, width: int, height: int, milliseconds: int = 30_000) -> None:
    """Save a picture of the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _open(url, milliseconds, f"--window-size={width},{height}", f"--screenshot={path}")


def _open(url: str, milliseconds: int, *options: str) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", f"--virtual-time-budget={milliseconds}"]
        return subprocess.run([*command, *options, url], capture_output=True, text=True, check=True, timeout=_SECONDS)
