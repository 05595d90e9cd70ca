"""Run the quick tests with each Python that is found and the locked packages, and with the oldest allowed packages.

Each environment is made in a folder of its own and deleted afterwards; torch makes it several gigabytes. What is given
goes to pytest. Ends with 1 where tests fail; a Python that is not found is named, and is no failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
LOCKED: tuple[str, ...] = ("--no-deps", "--requirement", "requirements.lock")
OLDEST = ("--resolution", "lowest-direct", "--requirement", "pyproject.toml", "--all-extras")
# What is old warns of what is new, and what is new of what is old.
PYTEST = (
    "-m",
    "pytest",
    "--quiet",
    "--numprocesses",
    "2",
    "--dist",
    "loadfile",
    "-W",
    "default",
    "-p",
    "no:cacheprovider",
)


def main(arguments: list[str]) -> int:
    """Test every version, and say of each what came of it."""
    told = {}
    with tempfile.TemporaryDirectory(prefix="maskdepth-versions-") as scratch:
        uv = _install_uv(Path(scratch))
        pythons = {version: _find_python(uv, version) for version in PYTHONS}
        tried = {f"Python {version}, locked packages": (version, LOCKED) for version in PYTHONS}
        tried[f"Python {PYTHONS[0]}, oldest packages"] = (PYTHONS[0], OLDEST)
        for name, (version, packages) in tried.items():
            python = pythons[version]
            told[name] = _test(uv, python, packages, Path(scratch) / "tried", arguments) if python else "not found here"
            print(f"== {name}: {told[name]}", flush=True)
    print(*(f"{name}: {outcome}" for name, outcome in told.items()), sep="\n")
    return int(any(outcome == "failed" for outcome in told.values()))


def _install_uv(folder: Path) -> Path:
    """Install uv, which alone knows how to resolve to the oldest versions, where nothing else has to bear with it."""
    venv.create(folder / "uv", with_pip=True)
    bin_dir = folder / "uv" / "bin"
    subprocess.run([bin_dir / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return bin_dir / "uv"


def _find_python(uv: Path, version: str) -> str:
    environment = dict(os.environ)
    if shutil.which("pyenv"):  # its commands refuse what it has unless they are told to take it
        has = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True)
        environment["PYENV_VERSION"] = ":".join(has.stdout.split())
    find = [str(uv), "python", "find", "--system", "--no-python-downloads", version]
    return subprocess.run(find, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def _test(uv: Path, python: str, packages: tuple[str, ...], folder: Path, arguments: list[str]) -> str:
    bin_dir = folder / "bin"
    environment = os.environ | {"VIRTUAL_ENV": str(folder), "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}"}

    def run(*command: str | Path) -> int:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    install = (uv, "pip", "install", "--quiet", "--no-cache")
    try:
        made = (
            run(python, "-m", "venv", folder)
            or run(*install, *packages, "setuptools>=77")
            or run(*install, "--no-deps", "--no-build-isolation", "--editable", ".")
        )
        return "failed" if made or run(bin_dir / "python", *PYTEST, *arguments) else "passed"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
