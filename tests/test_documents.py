"""README and docs tell the truth: its commands exist, its settings are valid, its tree is the tree.

Their numbers are those of `test_claims.py`.
"""

import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.settings import SHIPPED_PARAMS
from typer import BadParameter
from typer.main import get_command

from maskdepth.cli.program import app
from maskdepth.data.layouts.layout import layout_from_patterns
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import LossParams, Params

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ((ROOT / f"{name}.md").read_text() for name in ("README", "CONTRIBUTING"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
YOUR_OWN = (ROOT / "docs" / "YOUR_OWN.md").read_text()


def blocks(language: str, text: str) -> list[str]:
    """Give the fenced blocks of a language, "" for those that name none."""
    fenced = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [body for _, named, body in fenced if named == language]


def shell_blocks(text: str) -> list[str]:
    """Give the blocks of shell commands, each command on one line."""
    return [re.sub(r"\\\n *", "", block) for block in blocks("bash", text)]


def commands() -> list[str]:
    """Give every command of README and docs: the lines of shell blocks, and what stands in the text in backticks."""
    found = []
    for text in map(Path.read_text, DOCUMENTS):
        lines = [line.split("#")[0].strip() for block in shell_blocks(text) for line in block.splitlines()]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        lines += re.findall(r"`((?:make|dvc|mlflow|maskdepth) [^`]+)`", prose)
        found += [part.strip() for line in lines for part in line.split("&&") if part.strip()]
    return list(dict.fromkeys(found))


TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SUBCOMMANDS = get_command(app).commands


def parse_ours(arguments):
    """Parse a command of ours; in a text it may stand without what it needs."""
    if arguments[0].startswith("-"):
        assert arguments in (["--help"], ["--install-completion"])
        return
    try:
        SUBCOMMANDS[arguments[0]].make_context(arguments[0], arguments[1:])
    except BadParameter as error:
        if type(error).__name__ != "MissingParameter":
            raise


def test_the_readme_shows_commands():
    assert {"make repro", "make test", "dvc repro", "mlflow ui"} <= set(commands())


@pytest.mark.parametrize("command", commands())
def test_every_command_exists(command):
    program, *arguments = shlex.split(re.sub(r"^[A-Z_]+=\S+ ", "", command))
    if program == "make":
        assert arguments[0] in TARGETS
    elif program == "maskdepth":
        parse_ours(arguments)
    elif program == "dvc":
        from dvc.cli.parser import get_main_parser

        get_main_parser().parse_args(arguments)
    else:
        # The second four stand in SERVER.md, all of whose commands a test runs; so does one with those of the tutorial.
        known = {"mlflow", "git", "source", "pip", "export", "python"} | {"createdb", "pg_dump", "openssl", "umask"}
        assert program in known, f"{command}: not known to this test"


OVERRIDES = {
    found for text in map(Path.read_text, DOCUMENTS) for found in re.findall(r"-S '?([a-z_.]+=[^'\s`]+)'?", text)
}


@pytest.mark.parametrize("override", sorted(OVERRIDES))
def test_every_override_is_a_valid_setting(override):
    key, values = override.split("=")
    section, name = key.split(".")
    shipped = YAML(typ="safe").load(SHIPPED_PARAMS.read_text())
    assert name in shipped[section], f"params.yaml has no {key}"
    for value in values.split(","):
        params = Params.model_validate(shipped | {section: shipped[section] | {name: YAML(typ="safe").load(value)}})
        if isinstance(getattr(params, section), LossParams) and value != "l1+yours":
            build_criterion(params.loss)


def test_the_layout_of_ones_own_is_valid():
    (block,) = (block for block in blocks("yaml", YOUR_OWN) if "layout:" in block)
    layout = layout_from_patterns(YAML(typ="safe").load(block)["data"]["layout"])
    recognised = layout.recognise("mine/pictures/3_17_2.jpg")
    assert recognised is not None
    assert recognised.kind == "composite"


def test_the_tree_is_the_tree():
    (block,) = (block for block in blocks("", CONTRIBUTING) if "src/maskdepth/" in block)
    folder = ROOT
    for line in block.splitlines():
        name = re.sub(r"^[│├└─ ]+", "", line).split()[0]
        if line.startswith(("├", "└")):
            folder = ROOT
        assert (folder / name).exists(), line
        if name == "src/maskdepth/":
            folder = ROOT / name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]
