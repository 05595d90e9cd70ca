"""The wheel holds all that the package reads: modules, layouts, colour tables. Licence, citation and the bill of
materials agree with it.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from packageurl import PackageURL
from ruamel.yaml import YAML

from tools.sbom import write_sbom

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


@pytest.fixture
def materials(tmp_path):
    path = tmp_path / "sbom.json"
    write_sbom(ROOT / "requirements.lock", path)
    return path.read_text()


def test_the_bill_of_materials_lists_all_that_is_locked(materials):
    bom = Bom.from_json(json.loads(materials))
    assert (bom.metadata.component.name, bom.metadata.component.version) == ("maskdepth", version("maskdepth"))
    listed = {(component.name, component.version) for component in bom.components}
    lock = (ROOT / "requirements.lock").read_text()
    assert listed == set(re.findall(r"^([\w-]+)==(\S+)", lock, re.MULTILINE))


def test_the_bill_of_materials_says_where_a_package_that_is_locked_twice_is_meant(materials):
    bom = Bom.from_json(json.loads(materials))
    markers = {next(iter(one.properties)).value for one in bom.components if one.name == "numpy"}
    assert markers == {'python_full_version < "3.12"', 'python_full_version >= "3.12"'}


def test_the_bill_of_materials_says_what_is_wanted_directly(materials):
    bom = Bom.from_json(json.loads(materials))
    (direct,) = [one.dependencies for one in bom.dependencies if one.ref == bom.metadata.component.bom_ref]
    names = {PackageURL.from_string(one.ref.value).name for one in direct}
    assert {"torch", "dvc", "mlflow", "ruamel-yaml", "psycopg"} <= names
    assert "sympy" not in names  # torch's


def test_the_bill_of_materials_has_no_address_but_that_of_its_schema(materials):
    assert set(re.findall(r"https?://[^/]+", materials)) == {"http://cyclonedx.org"}
