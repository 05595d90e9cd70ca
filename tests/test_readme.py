"""The README tells the truth: its commands exist, its settings are valid, its tree is the tree."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from maskdepth.cli import app
from maskdepth.data.layouts.layout import layout_from_patterns
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import describe_models
from maskdepth.params import LossParams, Params

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Give the fenced blocks of a language, "" for those that name none."""
    fenced = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", README, re.DOTALL | re.MULTILINE)
    return [body for _, named, body in fenced if named == language]


def commands() -> list[str]:
    """Give every command of the README: the lines of its shell blocks, and what stands in the text in backticks."""
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    quoted = re.findall(r"`((?:make|dvc|mlflow|maskdepth) [^`]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    return [part.strip() for line in lines + quoted for part in line.split("&&") if part.strip()]


TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SUBCOMMANDS = set(get_command(app).commands)


def test_the_readme_shows_commands():
    assert {"make repro", "make test", "dvc repro", "mlflow ui"} <= set(commands())


@pytest.mark.parametrize("command", commands())
def test_every_command_exists(command):
    program, *arguments = shlex.split(command)
    if program == "make":
        assert arguments[0] in TARGETS
    elif program == "maskdepth":
        assert arguments[0] in SUBCOMMANDS | {"--help"}
    elif program == "dvc":
        from dvc.cli.parser import get_main_parser

        get_main_parser().parse_args(arguments)
    else:
        assert program in {"mlflow", "git", "source", "pip"}, f"{command}: not known to this test"


@pytest.mark.parametrize("override", re.findall(r"-S '?([a-z_.]+=[^'\s`]+)'?", README))
def test_every_override_is_a_valid_setting(override):
    key, values = override.split("=")
    section, name = key.split(".")
    shipped = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert name in shipped[section], f"params.yaml has no {key}"
    for value in values.split(","):
        params = Params.model_validate(shipped | {section: shipped[section] | {name: YAML(typ="safe").load(value)}})
        if isinstance(getattr(params, section), LossParams) and value != "l1+yours":
            build_criterion(params.loss)


def test_the_layout_of_ones_own_is_valid():
    (block,) = (block for block in blocks("yaml") if "layout:" in block)
    layout = layout_from_patterns(YAML(typ="safe").load(block)["data"]["layout"])
    recognised = layout.recognise("mine/pictures/3_17_2.jpg")
    assert recognised is not None
    assert recognised.kind == "composite"


@pytest.mark.parametrize(
    ("title", "metric"),
    [
        ("mask IoU", "mask_iou"),
        ("boundary IoU", "mask_boundary_iou"),
        ("depth SSIM at 64 px", "depth_ssim"),
        ("depth error, scale and shift aligned", "depth_ssi_mae"),
        ("depth error on the object", "depth_mae_foreground"),
    ],
)
def test_the_results_are_those_of_the_recorded_run(title, metric):
    numbers = json.loads((ROOT / "docs" / "sample_results.json").read_text())
    shown = [f"{numbers[name]:.3f}" for name in (metric, f"{metric}_low", f"{metric}_high", f"{metric}_baseline")]
    assert "| {} | {} | {} .. {} | {} |".format(title, *shown) in README


def students_table() -> list[str]:
    """Write the table of the comparison with the students as the README shows it."""
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "students_cpu_2026-11-21.csv")
    seen, new = (table[table["split"] == split].set_index("system") for split in ("sample", "both"))
    titles = ["parameters", "multiply-adds", "time", "updates"]
    titles += ["mask IoU, seen", "depth SSIM, seen", "mask IoU, new", "depth SSIM, new"]
    lines = [["", *titles], ["---", *["---:"] * len(titles)]]
    for system, row in seen.iterrows():
        cost = [""] * 4
        if system != "learned nothing":
            cost = [f"{row['parameters']:,.0f}", f"{row['multiply_adds_64px'] / 1e6:,.0f} M"]
            cost += [f"{row['time']:.1f} x", f"{row['steps']:,.0f}"]
        cells = [f"{row[metric]:.3f}" for metric in ("mask_iou", "depth_ssim")]
        for metric in ("mask_iou", "depth_ssim"):
            value, low, high = (new.at[system, f"{metric}{end}"] for end in ("", "_low", "_high"))
            cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
        lines.append([str(system), *cost, *cells])
    return [" ".join(f"| {' | '.join(cells)} |".split()) for cells in lines]


@pytest.mark.parametrize("line", students_table())
def test_the_comparison_with_the_students_is_the_filed_one(line):
    assert line in README.splitlines()


def test_parameter_counts_are_those_of_the_networks():
    counted = {row["name"]: row["parameters"] for row in describe_models()}
    shown = dict(re.findall(r"`([a-z0-9-]+)` \(([\d,]+)", README))
    assert shown == counted


def test_the_tree_is_the_tree():
    (block,) = (block for block in blocks("") if "src/maskdepth/" in block)
    folder = ROOT
    for line in block.splitlines():
        name = re.sub(r"^[│├└─ ]+", "", line).split()[0]
        if line.startswith(("├", "└")):
            folder = ROOT
        assert (folder / name).exists(), line
        if name == "src/maskdepth/":
            folder = ROOT / name


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
