"""The command line: every command explains itself, does what it says, and ends a mistake in one line."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.settings import copy_params
from typer.main import get_command
from typer.testing import CliRunner

from maskdepth.cli.program import app, main
from maskdepth.models.catalogue import MODELS, build_network
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.models.saved import save_network
from maskdepth.params import load_params

ROOT = Path(__file__).parents[2]
HALF = (0.5, 0.5, 0.5)

COMMANDS = get_command(app).commands


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, result.output
    return result.output


def fail(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Run the whole program, as a shell does; return its exit code and what it wrote on stderr."""
    monkeypatch.setattr(sys, "argv", ["maskdepth", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0), capsys.readouterr().err


def test_there_are_commands_to_explain_themselves():
    assert {"sample", "sweep", "predict", "doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    assert "Usage" in run(command, "--help")


def test_the_help_has_every_command_under_a_heading_of_its_group():
    assert {command.rich_help_panel for command in COMMANDS.values()} == {
        "Data", "Which losses are best", "A trained network", "The repository",
    }  # fmt: skip


def test_units_stand_in_the_help():
    assert "[px]" in run("sample", "--help")


def test_the_version_is_that_of_the_package():
    assert run("--version") == f"maskdepth {version('maskdepth')}\n"


def test_the_sample_is_drawn_and_its_layout_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no params.yaml says how to read it
    raw = str(tmp_path / "raw")
    run("sample", raw, "--backgrounds", "3", "--foregrounds", "2", "--composites", "6", "--size", "48")
    explained = run("layouts", raw)
    assert "sudhakarmlal" in explained
    assert "composite" in explained


def test_a_full_folder_is_not_drawn_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.zip").touch()
    code, said = fail(monkeypatch, capsys, "sample", str(tmp_path))
    assert code == 2
    assert "is not empty" in said


def test_networks_layouts_losses_and_recipes_are_listed():
    shown = run("models")
    assert all(name in shown for name in MODELS)
    assert "sumankanukollu" in run("layouts")
    assert "lovasz" in run("losses")
    assert "sqrt" in run("losses", "mask") and "berhu" not in run("losses", "mask")
    assert "mshilpaa" in run("recipe")


def test_the_names_of_a_heads_losses_stand_alone_a_line_each():
    names = run("losses", "depth", "--names").splitlines()
    assert {"l1", "ssim", "midas"} <= set(names)
    assert all(name.isidentifier() for name in names)


def test_a_recipe_is_written(tmp_path):
    path = copy_params(tmp_path)
    run("recipe", "mshilpaa", "--params", str(path))
    assert load_params(path).model.name == "mshilpaa"


def test_results_stand_beside_what_learned_nothing(tmp_path):
    numbers = {"score": 0.9, "mask_iou": 0.9, "mask_iou_low": 0.8, "mask_iou_high": 0.95, "difference_mask_iou": 0.7}
    (tmp_path / "test.json").write_text(json.dumps(numbers | {"depth_mae_foreground": 0.2}))
    (tmp_path / "details.json").write_text(json.dumps({"mean_map_depth_mae_foreground": 0.1}))
    shown = run("results", "--metrics", str(tmp_path), "--reports", str(tmp_path))
    lines = [line.split() for line in shown.splitlines()]
    assert ["score", "\u2191", "0.900"] in lines
    assert ["mask_iou", "\u2191", "0.900", "0.800", "..", "0.950", "0.700", "difference"] in lines
    assert ["depth_mae_foreground", "\u2193", "0.200", "0.100", "mean", "map", "worse"] in lines


def test_results_that_are_not_there_say_what_makes_them(tmp_path, monkeypatch, capsys):
    code, said = fail(monkeypatch, capsys, "results", "--metrics", str(tmp_path))
    assert code == 2
    assert said.startswith("error: ")
    assert "`dvc repro` writes it" in said


def test_a_pair_is_predicted_at_its_own_size(tmp_path):
    torch.manual_seed(0)
    spec = NetworkSpec("dsunet", "background+composite", Normalisation(HALF, HALF, HALF, HALF), 32)
    save_network(build_network(spec), tmp_path / "model.safetensors")
    room = np.full((40, 60, 3), 90, np.uint8)
    visitor = room.copy()
    visitor[10:30, 20:30] = 200
    for name, pixels in (("room.png", room), ("visitor.png", visitor)):
        Image.fromarray(pixels).save(tmp_path / name)
    pair = [str(tmp_path / "room.png"), str(tmp_path / "visitor.png")]
    how = ["--out", str(tmp_path / "out"), "--model", str(tmp_path / "model.safetensors")]
    run("predict", *pair, *how)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "visitor_mask.png",
        "visitor_depth.png",
        "visitor_panel.jpg",
    }
    with Image.open(tmp_path / "out" / "visitor_mask.png") as mask:
        assert mask.size == (60, 40)
    run("predict", *pair, *how, "--write", "cutout,probability", "--write", "depth-colour", "--onto", pair[0])
    with Image.open(tmp_path / "out" / "visitor_cutout.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (60, 40))
    assert len(list((tmp_path / "out").iterdir())) == 7


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("none.png visitor.png", "none.png is missing; expected a JPEG or PNG picture, or a folder of such"),
        ("room.png none.png", "none.png is missing; expected a JPEG or PNG picture, or a folder of such"),
        ("room.png", "room.png is one picture; name the one with the object behind it"),
        ("pairs.csv", "pairs.csv lacks the column composite; expected background,composite, found background"),
        ("room.png visitor.png --model none.safetensors", "none.safetensors is missing; `dvc repro train` makes it"),
        ("room.png visitor.png --write mosk", "--write mosk: did you mean mask? known: mask"),
    ],
)
def test_what_is_wrong_with_a_prediction_is_told_before_anything_is_loaded(tmp_path, arguments, told):
    for name in ("room.png", "visitor.png", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "pairs.csv").write_text("background\n")
    code = (
        "import sys; from maskdepth.cli import program\n"
        f"sys.argv[1:] = 'predict --out out --model model.safetensors {arguments}'.split()\n"
        "try: program.main()\n"
        "finally: print({'torch', 'mlflow', 'pandas'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "set()\n")
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1


def test_a_network_that_is_no_file_is_looked_for_in_the_store(tmp_path, monkeypatch, capsys):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("room.png", "visitor.png"):
        (tmp_path / name).touch()
    pair = [str(tmp_path / "room.png"), str(tmp_path / "visitor.png"), "--out", str(tmp_path / "out")]
    code, said = fail(monkeypatch, capsys, "predict", *pair, "--model", "bce|l1-s0")
    assert code == 2
    last = said.splitlines()[-1]  # on a busy machine a line before it says that one waits for the store
    assert last.startswith(f"error: bce|l1-s0: {tmp_path / 'mlflow.db'}: no store here, so no runs; `dvc repro`")


def test_composing_without_cutouts_is_refused(tmp_path, monkeypatch, capsys):
    folders = ["--foregrounds", str(tmp_path / "none"), "--backgrounds", str(tmp_path), "--out", str(tmp_path / "out")]
    code, said = fail(monkeypatch, capsys, "compose", *folders)
    assert code == 2
    assert "none" in said


def test_outside_a_repository_the_doctor_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    code, said = fail(monkeypatch, capsys, "doctor")
    assert code == 2
    assert "no .dvc folder" in said


def test_the_doctor_finds_missing_data(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 2
    assert "maskdepth sample data/raw" in result.output
