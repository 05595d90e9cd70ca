"""The container file does what it says: its steps run one after the other in an empty folder, without an engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SMALL_DATA = ".venv/bin/maskdepth sample data/raw --backgrounds 24 --foregrounds 6 --composites 144 --size 64"


class Step(NamedTuple):
    """One line of the file."""

    instruction: str
    rest: str


def read_steps() -> list[Step]:
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Step(*line.split(maxsplit=1)) for line in lines]


def rests(instruction: str) -> list[str]:
    return [step.rest for step in read_steps() if step.instruction == instruction]


def test_the_steps_are_those_that_the_nightly_test_runs():
    assert {step.instruction for step in read_steps()} == {"FROM", "RUN", "WORKDIR", "COPY", "CMD"}
    assert read_steps()[0].instruction == "FROM"
    assert read_steps()[-1] == Step("CMD", '["make", "repro"]')


def test_its_python_is_one_that_the_package_takes():
    (image,) = rests("FROM")
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert int(re.fullmatch(r"python:3\.(\d+)-slim", image)[1]) >= int(oldest)


def test_what_is_copied_is_in_git():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sources = {source for rest in rests("COPY") for source in rest.split()[:-1]}
    assert sources - {".git"} <= set(tracked)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_its_steps_end_in_a_result(tmp_path):
    """Make the environment for real, which takes gigabytes; the data is small, and given as a volume would be."""
    context, inside = tmp_path / "context", tmp_path / "inside"
    subprocess.run(["git", "clone", "--quiet", ROOT, context], check=True)
    who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "MASKDEPTH_"))}
    try:
        for instruction, rest in read_steps():
            if instruction == "WORKDIR":
                inside = inside / rest.strip("/")
                inside.mkdir(parents=True)
            elif instruction == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    copy = shutil.copytree if (context / source).is_dir() else shutil.copy2
                    copy(context / source, inside / target / (source if target == "./" else ""))
            elif instruction == "RUN" and rest.startswith("apt-get"):  # of the image, and not of this machine
                assert all(map(shutil.which, re.findall(r"(?<= )(?:git|make)(?= )", rest)))
            elif instruction != "FROM":
                command = f"{SMALL_DATA} && {shlex.join(json.loads(rest))}" if instruction == "CMD" else rest
                subprocess.run(["sh", "-c", command], cwd=inside, env=kept | who, check=True)
        assert 0 < json.loads((inside / "metrics" / "test.json").read_text())["mask_iou"] <= 1
    finally:
        shutil.rmtree(inside, ignore_errors=True)
