"""The tutorial leads where it says: each of its commands, typed one after the other in a clone, to a served model.

With MASKDEPTH_SCREENSHOTS set to `docs`, its pictures and the seconds of its commands are made again there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from faults.doors import free_port, wait_for_health
from PIL import Image
from support.browser import draw_page, require_browser

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs" / "TUTORIAL.md").read_text()
SECONDS = ROOT / "docs" / "tutorial_seconds.json"
SERVING = (ROOT / "docs" / "SERVING.md").read_text()


def typed() -> Iterator[tuple[str, str, str]]:
    """Give the language of each block and its text; of shell blocks each command with what is said of its time."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE):
        if language == "bash":
            for line in block.splitlines():
                command, _, said = line.partition("  # ")
                yield language, command.strip(), said
        else:
            yield language, block, ""


COMMANDS = {command: said for language, command, said in typed() if language == "bash"}


def test_it_takes_fifteen_commands_at_most():
    assert len(COMMANDS) <= 15
    for program in ("maskdepth sweep", "maskdepth compare", "maskdepth promote"):
        assert any(command.startswith(program) for command in COMMANDS)


def test_the_seconds_are_those_that_were_measured():
    measured = json.loads(SECONDS.read_text())
    told = {command: said for command, said in COMMANDS.items() if re.fullmatch(r"\d+ s", said)}
    assert told == {command: f"{seconds} s" for command, seconds in measured["seconds"].items()}
    assert measured["commands"] == len(COMMANDS)


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", TUTORIAL))
def test_its_pictures_are_small(picture):
    assert (ROOT / "docs" / picture).stat().st_size < 200_000


class Clone:
    """A clone of what is committed, in which commands run as they are typed, with the environment of the tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "clone", "--quiet", ROOT, path], check=True)
        (path / ".venv").symlink_to(sys.prefix)
        for name in ("requirements.lock", "pyproject.toml"):  # so that the environment is not made again
            os.utime(path / name, (0, 0))
        with (path / ".git" / "info" / "exclude").open("a") as exclude:
            exclude.write("/.venv\n")  # a link is no folder, which is what .gitignore has
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "MASKDEPTH_"))
        }
        who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        bin_dir = f"{path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = kept | who | {"PATH": bin_dir, "PYTHONPATH": str(path / "src")}

    def run(self, command: str, given: str = "") -> str:
        """Run a command; it prints to a file, as what it leaves in the background would keep a pipe open."""
        log = self.path.parent / "log.txt"
        with log.open("w") as file:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.path, env=self.environment, stdout=file, stderr=file,
                input=given, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{command}: {log.read_text()[-3000:]}"
        return log.read_text()

    @contextmanager
    def serve(self, command: str, port: int) -> Iterator[None]:
        """Run a server until the end."""
        with (self.path.parent / "server.txt").open("w") as log:
            server = subprocess.Popen(
                ["bash", "-c", command], cwd=self.path, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_for_health(port, server, seconds=600)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Iterator[Clone]:
    """A clone in which everything was typed, with what each command printed and the seconds that it took."""
    clone = Clone(tmp_path_factory.mktemp("tutorial") / "clone")
    clone.printed, clone.seconds = {}, {}
    port = free_port()
    with ExitStack() as servers:
        for language, text, said in typed():
            begun = time.monotonic()
            if language == "diff":
                clone.run("git apply -", given=text)
                continue
            if text.startswith("python client.py"):
                (client,) = (
                    block for block in re.findall(r"```python\n(.*?)```", SERVING, re.DOTALL) if "urllib" in block
                )
                (clone.path / "client.py").write_text(client.replace("5001", str(port)))
            if " serve " in text:
                servers.enter_context(clone.serve(text.replace("5001", str(port)), port))
            else:
                clone.printed[text] = clone.run(text)
            if re.fullmatch(r"\d+ s", said):
                clone.seconds[text] = round(time.monotonic() - begun)
        yield clone


def printed_by(clone: Clone, program: str) -> str:
    return next(printed for command, printed in clone.printed.items() if command.startswith(program))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_it_ends_with_a_cut_out_of_the_promoted_model(followed):
    assert "layout" in printed_by(followed, "maskdepth layouts")
    assert "log_l1+ssim" in printed_by(followed, "maskdepth compare")
    assert "it is champion" in printed_by(followed, "maskdepth promote")
    assert re.search(r"64 x 64 px, [\d.]+% object", printed_by(followed, "python client.py"))
    with Image.open(followed.path / "cutout.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (64, 64))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_its_pictures_and_seconds_are_made(followed):
    if "MASKDEPTH_SCREENSHOTS" not in os.environ:
        pytest.skip("wants MASKDEPTH_SCREENSHOTS=docs")
    require_browser()
    folder = ROOT / os.environ["MASKDEPTH_SCREENSHOTS"]
    seconds = {"commands": len(COMMANDS), "minutes": sum(followed.seconds.values()) / 60, "seconds": followed.seconds}
    (folder / SECONDS.name).write_text(json.dumps(seconds, indent=2) + "\n")
    draw_page((followed.path / "answer.html").as_uri(), folder / "tutorial_answer.png", 1100, 900)
    with Image.open(folder / "tutorial_answer.png") as picture:  # few colours are enough for a page
        picture.convert("RGB").quantize(64).save(folder / "tutorial_answer.png", optimize=True)
    shutil.copy(next((followed.path / "predictions").glob("*_panel.jpg")), folder / "tutorial_panel.jpg")
