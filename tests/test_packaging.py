"""The wheel holds all that the package reads: modules, layouts, colour tables. Licence and citation agree with it."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    project = tmp_path / "project"
    # A copy: setuptools builds in place and would pack what an earlier build has left there.
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*wheel, str(tmp_path), str(project)], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        packed = {name for name in archive.namelist() if name.startswith("maskdepth/")}
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "maskdepth").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted


def test_the_licence_and_the_citation_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"] == "MIT"
    assert citation["authors"] == project["authors"]
    assert citation["abstract"] == project["description"]
    title, copyright_line = (ROOT / "LICENSE").read_text().split("\n\n")[:2]
    assert title == f"{project['license']} License"
    assert copyright_line.endswith(project["authors"][0]["name"])
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{project['version']}] - {citation['date-released']}" in changes
